import itertools
import math

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import helper

from edgemtl.errors import ModelError
from edgemtl.frontend.moe_node import DOMAIN, MoEAttributes, attach_functions, function_proto
from tests.support.run import run_onnx

T, D, H, E = 11, 7, 5, 6
ACTIVATIONS = {
    "gelu": lambda v: 0.5 * v * (1 + math.erf(v / math.sqrt(2))),
    "gelu_tanh": lambda v: 0.5 * v * (1 + math.tanh(math.sqrt(2 / math.pi) * (v + 0.044715 * v**3))),
    "identity": lambda v: v,
    "relu": lambda v: max(v, 0.0),
    "silu": lambda v: v / (1 + math.exp(-v)),
}


def arrays(experts: int = E, seed: int = 0) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    shapes = {"x": (T, D), "logits": (T, E), "w1": (experts, D, H), "b1": (experts, H)}
    shapes |= {"w2": (experts, H, D), "b2": (experts, D)}
    return {name: rng.standard_normal(shape).astype(np.float32) for name, shape in shapes.items()}


def loops(a: dict[str, np.ndarray], m: MoEAttributes) -> np.ndarray:
    """The definition, one token and one expert at a time, in double precision."""
    y = np.zeros((T, D))
    first, size = m.window or (0, E)
    candidates = list(m.experts) if m.experts is not None else list(range(first, first + size))
    for t in range(T):
        exps = {c: math.exp(a["logits"][t, c]) for c in range(first, first + size)}
        p = {c: exps[c] / sum(exps.values()) for c in candidates}
        chosen = sorted(candidates, key=lambda c: (-p[c], c))[: m.k]
        total = sum(p[c] for c in chosen) if m.normalize else 1.0
        for c in chosen:
            share = p[c] / total
            e = candidates.index(c) if m.experts is not None else c
            hidden = a["x"][t].astype(float) @ a["w1"][e] + a["b1"][e]
            hidden = np.array([ACTIVATIONS[m.activation](v) for v in hidden])
            y[t] += (share if share >= m.threshold else 0.0) * (hidden @ a["w2"][e] + a["b2"][e])
    return y


def node_model(m: MoEAttributes, a: dict[str, np.ndarray]) -> onnx.ModelProto:
    node = helper.make_node("MoE", list(a), ["y"], name="moe", domain=DOMAIN, **m.to_dict())
    inputs = [helper.make_tensor_value_info(name, 1, array.shape) for name, array in a.items()]
    graph = helper.make_graph([node], "g", inputs, [helper.make_tensor_value_info("y", 1, [T, D])])
    imports = [helper.make_opsetid("", 20), helper.make_opsetid(DOMAIN, 1)]
    model = ir.from_proto(helper.make_model(graph, opset_imports=imports, ir_version=10))
    attach_functions(model)
    proto = ir.to_proto(model)
    onnx.checker.check_model(proto, full_check=True)
    return proto


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("k", [1, 3, E])
def test_body_is_the_definition(activation: str, k: int) -> None:
    for normalize, threshold in itertools.product((False, True), (0.0, 0.3)):
        m, a = MoEAttributes(k, activation, normalize, threshold), arrays(seed=k)
        np.testing.assert_allclose(run_onnx(node_model(m, a), a)["y"], loops(a, m), atol=2e-6)


@pytest.mark.parametrize("normalize", [False, True])
def test_window_softmax_sees_its_columns_only(normalize: bool) -> None:
    m, a = MoEAttributes(2, "gelu", normalize, 0.2, window=(1, 4)), arrays()
    np.testing.assert_allclose(run_onnx(node_model(m, a), a)["y"], loops(a, m), atol=2e-6)


@pytest.mark.parametrize("window", [None, (1, 5)])
def test_kept_experts_mask_the_selection_but_not_the_softmax(window: tuple[int, int] | None) -> None:
    m, a = MoEAttributes(2, "silu", window=window, experts=(1, 3, 5)), arrays(experts=3)
    np.testing.assert_allclose(run_onnx(node_model(m, a), a)["y"], loops(a, m), atol=2e-6)


def test_dropping_an_expert_no_token_picks_changes_no_bit() -> None:
    a = arrays()
    a["logits"][:, 2] = -9
    whole = run_onnx(node_model(MoEAttributes(2), a), a)["y"]
    kept = [0, 1, 3, 4, 5]
    b = {name: array[kept] if name[0] in "wb" else array for name, array in a.items()}
    np.testing.assert_array_equal(run_onnx(node_model(MoEAttributes(2, experts=tuple(kept)), b), b)["y"], whole)


@pytest.mark.parametrize("experts", [None, (1, 3, 5)])
@pytest.mark.parametrize("gated", [False, True])
def test_given_weights_and_gated_experts(gated: bool, experts: tuple[int, ...] | None) -> None:
    m = MoEAttributes(E if experts is None else 3, "silu", experts=experts, routing="weights", gated=gated)
    a = arrays(experts=len(experts or range(E)))
    rng = np.random.default_rng(4)
    a |= {"w3": rng.standard_normal(a["w1"].shape, np.float32), "b3": rng.standard_normal(a["b1"].shape, np.float32)}
    a = a if gated else {name: array for name, array in a.items() if name not in ("w3", "b3")}
    expected = np.zeros((T, D))
    for place, column in enumerate(experts or range(E)):
        hidden = np.vectorize(ACTIVATIONS["silu"])(a["x"].astype(float) @ a["w1"][place] + a["b1"][place])
        hidden = hidden * (a["x"] @ a["w3"][place] + a["b3"][place]) if gated else hidden
        expected += a["logits"][:, column, None] * (hidden @ a["w2"][place] + a["b2"][place])
    np.testing.assert_allclose(run_onnx(node_model(m, a), a)["y"], expected, rtol=1e-5, atol=1e-4)


def test_ties_go_to_the_lowest_index() -> None:
    a = arrays()
    a["logits"][:] = 0
    m = MoEAttributes(2)
    np.testing.assert_allclose(run_onnx(node_model(m, a), a)["y"], loops(a, m), atol=2e-6)


def test_equal_attributes_share_a_body_and_stale_bodies_go() -> None:
    m = MoEAttributes(2, "relu", threshold=0.05)
    model = ir.from_proto(node_model(m, arrays()))
    model.graph[0].attributes["k"] = ir.AttrInt64("k", 1)
    attach_functions(model)
    assert [key[2] for key in model.functions] == ["k1_relu_above0.05"]
    assert model.graph[0].overload == "k1_relu_above0.05"


def test_overloads_name_every_attribute() -> None:
    m = MoEAttributes(2, "gelu", True, 0.25, (1, 4), (1, 3))
    assert m.overload == "k2_gelu_normalized_above0.25_window1to4_experts1and3"
    assert MoEAttributes(2, routing="weights", gated=True).overload == "k2_gelu_weights_gated"
    assert function_proto(m).overload == m.overload


@pytest.mark.parametrize(
    ("attributes", "text"),
    [
        ({"k": 0}, "MoE attribute k must be at least 1, not 0"),
        ({"k": 3, "window": (0, 2)}, "MoE attribute k must be from 1 to the 2 experts that can be selected, not 3"),
        ({"k": 2, "experts": (4,)}, "MoE attribute k must be from 1 to the 1 experts that can be selected, not 2"),
        ({"k": 1, "activation": "tanh"}, "activation must be one of gelu, gelu_tanh, identity, relu, silu, not 'tanh'"),
        ({"k": 1, "routing": "sigmoid"}, "MoE attribute routing must be one of softmax, weights, not 'sigmoid'"),
        ({"k": 1, "routing": "weights", "normalize": True}, "routing must be softmax where normalize is given"),
        ({"k": 1, "threshold": 1.0}, "MoE attribute threshold must be at least 0 and below 1, not 1.0"),
        ({"k": 1, "threshold": math.nan}, "MoE attribute threshold must be at least 0 and below 1, not nan"),
        ({"k": 1, "window": (-1, 2)}, "window must be a first column of at least 0 and a positive number of columns"),
        ({"k": 1, "experts": (2, 1)}, "MoE attribute experts must be ascending columns inside the window, not (2, 1)"),
        ({"k": 1, "experts": (0, 1), "window": (1, 2)}, "experts must be ascending columns inside the window"),
        ({"k": 1, "experts": ()}, "MoE attribute experts must be ascending columns inside the window, not ()"),
    ],
)
def test_attributes_outside_their_range(attributes: dict[str, object], text: str) -> None:
    with pytest.raises(ModelError) as error:
        MoEAttributes(**attributes)
    assert text in str(error.value)


@pytest.mark.parametrize(
    ("attributes", "text"),
    [
        ({}, "node moe: MoE attribute k must be given"),
        ({"k": 1, "groups": 2}, "node moe: MoE attributes must be among k, activation"),
        ({"k": 0}, "node moe: MoE attribute k must be at least 1, not 0"),
        ({"k": "two"}, "node moe: "),
    ],
)
def test_nodes_with_wrong_attributes(attributes: dict[str, object], text: str) -> None:
    node = ir.node("MoE", [], attributes, domain=DOMAIN, name="moe")
    with pytest.raises(ModelError) as error:
        MoEAttributes.from_node(node)
    assert text in str(error.value)
