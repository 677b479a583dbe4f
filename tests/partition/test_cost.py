"""Counting against brute force: one count per multiplication of a loop over every output element."""

import json
from itertools import product

import numpy as np
import pytest

from edgemtl.partition import common_cost, cost_of, inspect_model, partition
from edgemtl.partition.macs import macs
from edgemtl.partition.parts import PARTS, Parts
from tests.partition.handmade import DIM, EXPERTS, HIDDEN, TOKENS, Builder, as_multi_task, two_tasks

GATES, HEAD, PATCH = TOKENS * DIM * EXPERTS, 4 * 4 * (DIM * 9 + 2), TOKENS * DIM * 3 * 16
MIXTURE = TOKENS * 2 * 2 * DIM * HIDDEN


def _last_node(make, **options):
    b = Builder()
    model = b.graph({make(b, **options): None})
    return next(node for node in reversed(model.graph) if node.op_type not in ("Reshape", "Transpose"))


def _conv_by_loops(options, filters, image=(3, 8, 8)):
    """Multiplications a padded convolution makes, zeros of the padding included, as is the custom."""
    stride, group = options.get("strides", [1, 1]), options.get("group", 1)
    top, left, bottom, right = options.get("pads", [0, 0, 0, 0])
    outputs, per_group, height, width = filters
    ys = range(0, image[1] + top + bottom - height + 1, stride[0])
    xs = range(0, image[2] + left + right - width + 1, stride[1])
    assert per_group * group == image[0]
    return sum(1 for _ in product(range(outputs), ys, xs, range(per_group), range(height), range(width)))


@pytest.mark.parametrize("options", [{}, {"group": 3}, {"strides": [2, 3], "pads": [1, 0, 2, 1]}])
def test_convolutions(options):
    filters = (6, 3 // options.get("group", 1), 3, 2)
    node = _last_node(lambda b: b.node("Conv", "image", b.weight(*filters), **options))
    assert macs(node) == _conv_by_loops(options, filters)


def test_transposed_convolutions_spread_each_input():
    node = _last_node(lambda b: b.node("ConvTranspose", "image", b.weight(3, 5, 2, 2), strides=[2, 2]))
    assert macs(node) == 3 * 8 * 8 * 5 * 2 * 2


def test_products_of_matrices():
    assert macs(_last_node(lambda b: b.node("MatMul", "image", b.weight(8, 5)))) == 3 * 8 * 8 * 5
    assert macs(_last_node(lambda b: b.node("MatMul", "image", "image"))) == 3 * 8 * 8 * 8
    assert macs(_last_node(lambda b: b.node("MatMul", b.weight(7, 8), "image"))) == 3 * 7 * 8 * 8
    rows = ("Reshape", "image", np.array([12, 16]))

    def gemm(b, **options):
        return b.node("Gemm", b.node(*rows[:2], b.const(rows[2])), b.weight(*options.pop("shape")), **options)

    assert macs(_last_node(gemm, shape=(16, 5))) == 12 * 16 * 5
    assert macs(_last_node(gemm, shape=(12, 5), transA=1)) == 12 * 16 * 5
    assert macs(_last_node(gemm, shape=(5, 16), transB=1)) == 12 * 16 * 5


def test_einsum():
    node = _last_node(lambda b: b.node("Einsum", "image", b.weight(8, 5), equation="bchw, wo -> bcho"))
    assert macs(node) == 3 * 8 * 8 * 5
    assert macs(_last_node(lambda b: b.node("Einsum", "image", equation="bchw->bcwh"))) == 0


def test_what_does_not_multiply():
    assert macs(_last_node(lambda b: b.node("Softmax", "image"))) == 0
    assert macs(_last_node(lambda b: b.norm("image", 3))) == 0


def test_a_task_is_the_sum_of_its_parts():
    (task, _) = partition(two_tasks("multi"), ["t0", "t1"], "exact")
    cost = cost_of(task.ir)
    expected = {"patch": PATCH, "gates": GATES, "experts": MIXTURE, "head": HEAD}
    assert dict(cost.parts) == {**dict.fromkeys(PARTS, 0), **expected}
    assert cost.macs == PATCH + GATES + MIXTURE + HEAD
    assert (cost.head_macs, cost.encoder_macs) == (HEAD, cost.macs - HEAD)
    stacks = EXPERTS * (2 * DIM * HIDDEN + DIM + HIDDEN)
    head = 4 * DIM * 9 + 4 + 4 * 2 + 2
    assert cost.weight_bytes == 4 * (DIM * 49 + DIM * EXPERTS + stacks + head)


def test_the_whole_model_counts_what_is_shared_once():
    found = inspect_model(two_tasks("multi"))
    assert found.full.macs == PATCH + 2 * (GATES + MIXTURE + HEAD)
    assert found.common.macs == PATCH
    assert dict(found.common.parts)["patch"] == PATCH
    stacks = EXPERTS * (2 * DIM * HIDDEN + DIM + HIDDEN)
    assert found.common.weight_bytes == 4 * (DIM * 49 + stacks)
    assert [task.task.name for task in found.tasks] == ["t0", "t1"]
    assert [task.moe[0].experts for task in found.tasks] == [tuple(range(8))] * 2
    assert len(found.layers) == 2
    assert found.inputs[0].shape == (1, 3, 8, 8)


def test_an_inspection_is_json():
    found = inspect_model(two_tasks("window"))
    read = json.loads(json.dumps(found.to_json()))
    assert read["inputs"][0]["shape"] == [1, 3, 8, 8]
    assert [(task["name"], task["macs"]) for task in read["tasks"]] == [
        (task.task.name, task.cost.macs) for task in found.tasks
    ]
    assert read["tasks"][1]["moe"][0]["experts"] == [4, 5, 6, 7]
    assert read["full"]["parts"]["patch"] == read["common"]["encoder_macs"] == PATCH
    assert [layer["experts"] for layer in read["moe_layers"]] == [8, 8]


def test_windows_share_no_experts():
    found = inspect_model(two_tasks("window"))
    stacks = EXPERTS * (2 * DIM * HIDDEN + DIM + HIDDEN)
    assert found.common.weight_bytes == 4 * DIM * 49
    assert [task.moe[0].experts for task in found.tasks] == [(0, 1, 2, 3), (4, 5, 6, 7)]
    head = 4 * DIM * 9 + 4 + 4 * 2 + 2
    assert found.tasks[0].cost.weight_bytes == 4 * (DIM * 49 + DIM * 4 + stacks // 2 + head)
    assert dict(found.tasks[0].cost.parts)["gates"] == GATES // 2


def test_tasks_of_a_dense_network_share_all_but_the_head():
    model = two_tasks("none")
    made = partition(model, ["t0", "t1"], "exact")
    assert common_cost([task.ir for task in made]).macs == PATCH
    assert dict(cost_of(model.ir).parts) == {**dict.fromkeys(PARTS, 0), "other": PATCH + 2 * HEAD}


def _transformer(b, x, name, hidden=7):
    """A block with one head of attention and a dense FFN; x [TOKENS, DIM]."""
    origin = len(b.nodes)
    q, k, v = (b.node("Add", b.node("MatMul", x, b.weight(DIM, DIM)), b.weight(DIM)) for _ in range(3))
    scores = b.node("Softmax", b.node("MatMul", q, b.node("Transpose", k, perm=[1, 0])))
    x = b.node("Add", x, b.node("MatMul", b.node("MatMul", scores, v), b.weight(DIM, DIM)))
    _set_origin(b, origin, f"{name}.attn")
    origin = len(b.nodes)
    y = b.node("MatMul", b.node("Gelu", b.node("MatMul", x, b.weight(DIM, hidden))), b.weight(hidden, DIM))
    x = b.node("Add", x, y)
    _set_origin(b, origin, f"{name}.mlp")
    return x


def _set_origin(b, first, origin):
    for node in b.nodes[first:]:
        node.metadata_props.add(key="edgemtl.origin", value=origin)


def _dense_network(origins):
    b = Builder()
    x = b.node("Conv", "image", b.weight(5, 3, 2, 2), strides=[2, 2])
    x = b.node("Conv", x, b.weight(DIM, 5, 2, 2), strides=[2, 2])
    x = b.node("Transpose", b.node("Reshape", x, b.const(np.array([DIM, TOKENS]))), perm=[1, 0])
    for block in range(2):
        x = _transformer(b, x, f"net.trunk.blocks.{block}")
    first = len(b.nodes)
    y = b.node("MatMul", x, b.weight(DIM, 3))
    b.node("Reshape", y, b.const(np.array([1, 3, 2, 2])), out="t0")
    _set_origin(b, first, "net.heads.t0")
    if not origins:
        for node in b.nodes:
            del node.metadata_props[:]
    return b.graph({"t0": (1, 3, 2, 2)})


PATCHES = 16 * 5 * 12 + 4 * DIM * 20
ATTENTION = 4 * TOKENS * DIM * DIM + 2 * TOKENS * TOKENS * DIM
FFN = 2 * TOKENS * DIM * 7


def test_attention_ffn_and_patches_are_told_apart():
    parts = dict(cost_of(_dense_network(origins=True)).parts)
    assert parts == {
        "patch": PATCHES,
        "attention": 2 * ATTENTION,
        "ffn": 2 * FFN,
        "gates": 0,
        "experts": 0,
        "head": TOKENS * DIM * 3,
        "other": 0,
    }


def test_without_origins_a_last_dense_block_counts_to_the_head():
    parts = dict(cost_of(_dense_network(origins=False)).parts)
    assert (parts["ffn"], parts["head"]) == (FFN, FFN + TOKENS * DIM * 3)


def test_every_multiplying_node_has_a_part():
    model = two_tasks("embedded").ir
    parts = Parts(model.graph)
    assert {parts.part(node) for node in model.graph if macs(node)} <= set(PARTS)


def test_equal_nodes_of_different_tasks_are_common_whatever_their_names():
    model = as_multi_task(_twins())
    made = partition(model, ["a", "b"], "exact")
    assert common_cost([task.ir for task in made]).macs == 64 * 3 * 4


def _twins():
    b = Builder()
    filters = np.arange(12, dtype=np.float32).reshape(4, 3, 1, 1)
    for name, last in (("a", "Relu"), ("b", "Tanh")):
        b.node(last, b.node("Conv", "image", b.const(filters)), out=name)
    return b.graph({"a": None, "b": None})
