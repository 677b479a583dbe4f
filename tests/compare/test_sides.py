"""The five sides against each other on a model that is right, and on one with a fault of which the place is known."""

from __future__ import annotations

import copy
import math
from dataclasses import replace

import numpy as np
import pytest
import torch as pytorch

from edgemtl.compare import Limits, make_integers, make_side, tasks_needed
from edgemtl.errors import InputError, UsageError
from edgemtl.frontend.model import ORIGIN
from edgemtl.lowering.ir import Constant
from edgemtl.options import CompareOptions
from edgemtl.quantize import write_parameters
from tests.compare.conftest import TASK


@pytest.mark.parametrize(("a", "b"), [("onnx", "fp32"), ("torch", "onnx"), ("torch", "fp32")])
def test_float_sides_agree_in_every_layer(lab, sides, a, b):
    found = lab.compare(sides[a], sides[b])
    assert min(layer.sqnr_db for layer in found.layers) > 90
    assert [router.agreement for router in found.routers] == [1, 1]
    assert found.layers[-1].name == "depth/decoders.depth/Resize_2"
    assert len(found.layers) >= 12


def test_int8_is_the_law_bit_for_bit(lab, sides):
    found = lab.compare(sides["int8"], sides["functional"])
    assert {layer.sqnr_db for layer in found.layers} == {math.inf}
    assert {layer.max_abs for layer in found.layers} == {0.0}
    assert [(r.agreement, r.weighted) for r in found.routers] == [(1, 1), (1, 1)]
    assert found.only_a == found.only_b == ()


@pytest.mark.parametrize("a", ["onnx", "fp32", "torch"])
def test_integers_mean_what_the_float_layers_hold(lab, sides, a):
    """A scale, a fold or a layout that is read wrongly leaves a few decibels at most, and cosines far from 1."""
    found = lab.compare(sides[a], sides["functional"])
    assert min(layer.sqnr_db for layer in found.layers) > 12
    assert len(found.layers) >= 12


def test_layers_keep_their_names_through_fusion(lab, sides):
    order = [node.name for node in lab.task.ir.graph]
    for a in ("fp32", "int8"):
        names = [layer.name for layer in lab.compare(sides["onnx"], sides[a]).layers]
        assert set(names) <= set(order)
        assert names == sorted(names, key=order.index)
        assert {"depth/decoders.depth/Relu", "backbone.blocks.0.mlp/Gelu"} <= set(names)


def test_experts_are_compared_where_both_chose_them(lab, sides):
    found = lab.compare(sides["fp32"], sides["functional"])
    halves = [layer for layer in found.layers if "MoE:" in layer.name]
    assert [layer.name.partition(":")[2] for layer in halves] == ["up", "down"] * 2
    agreed = [round(r.agreement * r.choices) for r in found.routers]
    assert [layer.elements for layer in halves[::2]] == [20 * count for count in agreed]


def test_what_one_side_alone_has_is_listed(lab, sides):
    found = lab.compare(sides["onnx"], sides["fp32"])
    assert "backbone.blocks.0.attn/Softmax" in found.only_a
    assert "depth/backbone.blocks.1.mlp/MoE:up" in found.only_b


def test_routers_stand_where_their_layer_is(lab, sides):
    found = lab.compare(sides["onnx"], sides["fp32"])
    for router in found.routers:
        assert found.layers[router.behind - 1].name.endswith("/MatMul")


@pytest.mark.parametrize(
    ("weight", "layer"),
    [
        ("backbone.blocks.0.attn.qkv.weight", "backbone.blocks.0.attn.qkv/Add"),
        ("backbone.blocks.1.norm1.bias", "backbone.blocks.1.norm1/LayerNormalization"),
        ("decoders.depth.conv_3.weight", "depth/decoders.depth.conv_3/Conv"),
    ],
)
def test_a_damaged_torch_weight_is_found_by_name(lab, sides, weight, layer):
    damaged = copy.deepcopy(lab.torch)
    with pytorch.no_grad():
        damaged.get_parameter(weight).mul_(1.3)
    found = lab.compare(sides["fp32"], lab.side("torch", damaged), Limits(40.0))
    assert found.first is not None
    assert found.first.name == layer
    assert found.failed


def test_a_gate_with_its_experts_swapped_shows_in_its_router(lab, sides):
    damaged = copy.deepcopy(lab.torch)
    with pytorch.no_grad():
        gate = damaged.get_parameter("backbone.blocks.1.mlp.gate.1.w_gate")
        gate.copy_(gate.flip(1))
    found = lab.compare(sides["onnx"], lab.side("torch", damaged), Limits(None, 0.97))
    assert found.first_router is not None
    assert found.first_router.name == "depth/backbone.blocks.1.mlp/MoE"


@pytest.mark.parametrize("layer", ["backbone.blocks.0.mlp/Gelu", "depth/backbone.blocks.2.mlp/MoE:down"])
def test_a_damaged_integer_is_found_by_name(lab, sides, layer):
    name, _, part = layer.partition(":")
    integers = lab.quantised.integers[TASK]
    steps = list(integers.steps)
    at = [i for i, step in enumerate(steps) if step.origin[0] == name and step.constants][-1 if part else 0]
    held = steps[at].constants[1]
    other = Constant(held.name, held.array + np.int32(4000))
    steps[at] = replace(steps[at], constants=(steps[at].constants[0], other, *steps[at].constants[2:]))
    side = make_side("functional", lab.task, lab.target, replace(integers, steps=tuple(steps)), None)
    found = lab.compare(sides["int8"], side, Limits(60.0))
    assert found.first is not None
    assert found.first.name == layer


def test_parameters_from_a_file_give_the_same_integers(lab, sides, tmp_path):
    path = tmp_path / "parameters.json"
    write_parameters(path, lab.quantised.parameters, lab.quantised.floats)
    options = CompareOptions("int8", "functional", TASK, (path,), parameters=path)
    assert tasks_needed(options) == ("semseg", "depth")
    made = make_integers(lab.model, lab.tasks, lab.target, options, {})
    side = make_side("functional", lab.task, lab.target, made.integers[TASK], None)
    assert {layer.sqnr_db for layer in lab.compare(sides["functional"], side).layers} == {math.inf}
    elsewhere = tuple(replace(task, pathway="window") for task in lab.tasks)
    with pytest.raises(UsageError, match=r"--pathway must be exact, which .* was made with, not window"):
        make_integers(lab.model, elsewhere, lab.target, options, {})
    with pytest.raises(UsageError, match=r"--task must be one of semseg, depth in .*, not 'normals'"):
        tasks_needed(replace(options, task="normals"))


def test_sides_without_a_common_layer_are_refused(lab, sides):
    bare = lab.task.ir.clone()
    for node in bare.graph:
        node.metadata_props.pop(ORIGIN, None)
    foreign = make_side("torch", replace(lab.task, ir=bare), lab.target, None, lambda image: ({}, {}))
    with pytest.raises(InputError, match="a and b must have a layer in common, and have none; export the model with"):
        lab.compare(foreign, sides["onnx"])
