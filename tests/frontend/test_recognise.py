"""Mixtures of experts that others wrote: found, rewritten, and still the same function."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper
from onnx.inliner import inline_local_functions

from edgemtl.errors import UnsupportedError
from edgemtl.frontend import read_model
from examples import foreign as forms
from examples.foreign import DENSE, SPARSE, Weights, Writer
from tests.support import foreign
from tests.support.models import as_dense, as_microsoft_moe, as_nonzero
from tests.support.run import assert_same, random_image, run_canonical, run_onnx

EXPERTS, DIM, HIDDEN = 4, 10, 6


def check(path: Path, layers: int) -> tuple[str, ...]:
    """Every layer is found and every output stays; the notes."""
    model = read_model(path)
    assert len(model.moe) == layers
    image = random_image(model.inputs[0].shape)
    assert_same(run_canonical(model, image), run_onnx(path, {model.inputs[0].name: image}))
    return model.notes


def layer_model(folder: Path, body: forms.Body, **attributes: object) -> Path:
    """An image, tokens, one mixture of experts added to them, a map."""
    rng, w = np.random.default_rng(3), Writer()
    x = foreign._embed(w, rng, 3, 4, DIM)
    logits = w.op("MatMul", x, w.const(1.5 * foreign._normal(rng, (DIM, EXPERTS))))
    a = {"k": 2, "activation": "gelu", "normalize": 0, "threshold": 0.0, **attributes}
    mixed = body(w, x, logits, foreign._experts(rng, EXPERTS, DIM, HIDDEN), a)
    tokens = w.op("Add", w.op("Sigmoid", x), mixed)
    out = w.op("Reshape", w.op("Transpose", tokens, perm=[1, 0]), w.ints(1, DIM, 3, 4))
    w.nodes.append(helper.make_node("Identity", [out], ["map"]))
    image = helper.make_tensor_value_info("image", 1, [1, 3, 12, 16])
    output = helper.make_tensor_value_info("map", 1, [1, DIM, 3, 4])
    return forms.save(w.nodes, w.initializers(), [image], [output], folder / "layer.onnx", opset=18)


@pytest.mark.parametrize("activation", ["gelu", "relu", "silu"])
@pytest.mark.parametrize("style", [*DENSE, *SPARSE])
def test_every_style_and_activation(style: str, activation: str, tmp_path: Path) -> None:
    normalize = int(style == "softmax_after")
    path = layer_model(tmp_path, (DENSE | SPARSE)[style], activation=activation, normalize=normalize, k=3)
    found = "4 experts, top 3, " + activation + ", normalised" * normalize
    name = next(node.name for node in onnx.load(path).graph.node if node.op_type == "TopK")
    note = f"node {name}/MoE: ordinary operators taken as a mixture of {found}; checked on random tokens"
    assert note in check(path, 1)


@pytest.mark.parametrize("style", ["batched", "mask_equal", "nonzero_columns"])
def test_thresholds_and_normalised_scores(style: str, tmp_path: Path) -> None:
    path = layer_model(tmp_path, (DENSE | SPARSE)[style], normalize=1, threshold=0.35)
    check(path, 1)
    node = next(n for n in read_model(path).ir.graph if n.op_type == "MoE")
    assert node.attributes["normalize"].as_int() == 1
    assert node.attributes["threshold"].as_float() == pytest.approx(0.35)


def test_experts_in_any_order_are_matched_to_their_columns(tmp_path: Path) -> None:
    path = layer_model(tmp_path, forms.one_by_one)
    node = next(n for n in read_model(path).ir.graph if n.op_type == "MoE")
    assert node.inputs[2] is not None
    rng = np.random.default_rng(3)
    foreign._embed(Writer(), rng, 3, 4, DIM)
    foreign._normal(rng, (DIM, EXPERTS))
    w1 = foreign._experts(rng, EXPERTS, DIM, HIDDEN)[0]
    np.testing.assert_array_equal(node.inputs[2].const_value.numpy(), w1)


@pytest.mark.parametrize("style", ["batched", "one_by_one"])
def test_whole_models_with_dense_experts(style: str, exported: Path, tmp_path: Path) -> None:
    check(as_dense(exported, tmp_path, style), 2)


def test_whole_models_with_gathered_tokens(exported: Path, tmp_path: Path) -> None:
    check(as_nonzero(exported, tmp_path, "nonzero_slots"), 2)


def test_windows_become_the_experts_inside_them(exported_window: Path, tmp_path: Path) -> None:
    path = as_dense(exported_window, tmp_path)
    check(path, 2)
    assert [layer.experts for layer in read_model(path).moe] == [3, 3]


def test_our_own_bodies_inlined_by_someone_else(exported_window: Path, tmp_path: Path) -> None:
    proto = inline_local_functions(onnx.load(exported_window))
    assert not proto.functions
    path = tmp_path / "inlined.onnx"
    onnx.save(proto, path)
    check(path, 2)


@pytest.mark.parametrize(("activation", "ours"), [("gelu", "gelu_tanh"), ("relu", "relu"), ("silu", "silu")])
@pytest.mark.parametrize("normalize", [0, 1])
def test_onnxruntimes_own_operator(activation: str, ours: str, normalize: int, tmp_path: Path) -> None:
    path = layer_model(tmp_path, forms.microsoft, activation=activation, normalize=normalize)
    notes = check(path, 1)
    assert any(f"com.microsoft::MoE, top 2, {ours} as onnxruntime computes it on a CPU" in note for note in notes)


def test_whole_models_with_onnxruntimes_own_operator(exported: Path, tmp_path: Path) -> None:
    check(as_microsoft_moe(exported, tmp_path), 2)


def microsoft_with(**changes: object) -> forms.Body:
    def body(w: Writer, x: str, logits: str, weights: Weights, a: dict) -> str:
        result = forms.microsoft(w, x, logits, weights, a)
        node = w.nodes[-1]
        if changes.pop("gated", False):
            node.input.extend([node.input[2], node.input[3]])
        if changes.pop("computed", False):
            node.input[2] = w.op("Sin", node.input[2])
            w.nodes[-1], w.nodes[-2] = w.nodes[-2], w.nodes[-1]
        for name, value in changes.items():
            kept = [attribute for attribute in node.attribute if attribute.name != name]
            del node.attribute[:]
            node.attribute.extend([*kept, helper.make_attribute(name, value)])
        return result

    return body


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"activation_type": "swiglu"}, "activation swiglu is none of gelu, relu, silu"),
        ({"use_sparse_mixer": 1}, "it routes by the sparse mixer, not by a softmax"),
        ({"gated": True}, "its experts are gated (three matrices)"),
        ({"computed": True}, "its experts' weights are not constants"),
    ],
)
def test_refuses_what_onnxruntimes_operator_can_do_and_ours_cannot(
    changes: dict[str, object], text: str, tmp_path: Path
) -> None:
    path = layer_model(tmp_path, microsoft_with(**changes))
    name = next(node.name for node in onnx.load(path).graph.node if node.domain)
    with pytest.raises(UnsupportedError) as error:
        read_model(path)
    assert str(error.value) == f"node {name}: {text}; replace it by standard operators"


def sigmoid_scores(w: Writer, x: str, logits: str, weights: Weights, a: dict) -> str:
    """Scores that are no softmax."""
    scores, chosen = w.op("TopK", w.op("Sigmoid", logits), w.ints(a["k"]), outputs=2, axis=-1)
    return _weigh(w, x, scores, chosen, weights, a)


def _weigh(w: Writer, x: str, scores: str, chosen: str, weights: Weights, a: dict) -> str:
    w1, b1, w2, b2 = weights
    gate = w.op("ScatterElements", w.const(np.zeros((12, EXPERTS))), chosen, scores, axis=1)
    hidden = w.op("Add", w.op("MatMul", x, w.const(w1)), w.const(b1[:, None]))
    out = w.op("Add", w.op("MatMul", w.op(a.get("between", "Relu"), hidden), w.const(w2)), w.const(b2[:, None]))
    gate = w.op("Unsqueeze", w.op("Transpose", gate, perm=[1, 0]), w.ints(2))
    return w.op("ReduceSum", w.op("Mul", out, gate), w.ints(0), keepdims=0)


def plain_scores(w: Writer, x: str, logits: str, weights: Weights, a: dict) -> str:
    """Softmax, with an activation of choice between the layers."""
    scores, chosen = w.op("TopK", w.op("Softmax", logits), w.ints(a["k"]), outputs=2, axis=-1)
    return _weigh(w, x, scores, chosen, weights, a)


def scaled_scores(w: Writer, x: str, logits: str, weights: Weights, a: dict) -> str:
    """Scores squared: right where one expert is certain, wrong elsewhere."""
    scores, chosen = w.op("TopK", w.op("Softmax", logits), w.ints(a["k"]), outputs=2, axis=-1)
    return _weigh(w, x, w.op("Mul", scores, scores), chosen, weights, a)


def gated_experts(w: Writer, x: str, logits: str, weights: Weights, a: dict) -> str:
    """Three matrices an expert."""
    w1, _, w2, _ = weights
    scores, chosen = w.op("TopK", w.op("Softmax", logits), w.ints(a["k"]), outputs=2, axis=-1)
    gate = w.op("ScatterElements", w.const(np.zeros((12, EXPERTS))), chosen, scores, axis=1)
    hidden = w.op("Mul", w.op("Sigmoid", w.op("MatMul", x, w.const(w1))), w.op("MatMul", x, w.const(w1[::-1])))
    gate = w.op("Unsqueeze", w.op("Transpose", gate, perm=[1, 0]), w.ints(2))
    return w.op("ReduceSum", w.op("Mul", w.op("MatMul", hidden, w.const(w2)), gate), w.ints(0), keepdims=0)


def uneven_experts(w: Writer, x: str, logits: str, weights: Weights, a: dict) -> str:
    """The first expert is wider."""
    scores, chosen = w.op("TopK", w.op("Softmax", logits), w.ints(a["k"]), outputs=2, axis=-1)
    gate = w.op("ScatterElements", w.const(np.zeros((12, EXPERTS))), chosen, scores, axis=1)
    parts = []
    for e in range(EXPERTS):
        w1, _, w2, _ = (part[e] for part in weights)
        w1, w2 = (np.tile(w1, (1, 2)), np.tile(w2, (2, 1))) if e == 0 else (w1, w2)
        out = w.op("MatMul", w.op("Relu", w.op("MatMul", x, w.const(w1))), w.const(w2))
        parts.append(w.op("Mul", out, w.op("Gather", gate, w.ints(e), axis=1)))
    return w.op("Sum", *parts)


NAMES = "gelu, gelu_tanh, relu, silu"


@pytest.mark.parametrize(
    ("body", "changes", "reason"),
    [
        (sigmoid_scores, {}, f"its experts, asked one at a time, do not answer as two linear layers with {NAMES}"),
        (plain_scores, {"between": "Tanh"}, "its experts, asked one at a time, do not answer as two linear layers"),
        (scaled_scores, {}, "its experts are not weighed by a softmax over the router's logits"),
        (gated_experts, {}, "its experts are not two linear layers with an activation between them"),
        (uneven_experts, {}, "its experts differ in size"),
    ],
)
def test_other_layers_stay_what_they_are(
    body: forms.Body, changes: dict[str, object], reason: str, tmp_path: Path
) -> None:
    notes = check(layer_model(tmp_path, body, **changes), 0)
    assert any(f": MoE layer not recognised because {reason}" in note for note in notes)


def test_ordinary_activations_are_found_the_same_way(tmp_path: Path) -> None:
    check(layer_model(tmp_path, plain_scores), 1)


def test_a_top_k_without_experts_is_no_mixture(tmp_path: Path) -> None:
    def keep_best(w: Writer, x: str, logits: str, weights: Weights, a: dict) -> str:
        scores, _ = w.op("TopK", x, w.ints(1), outputs=2, axis=-1)
        return w.op("MatMul", w.op("Mul", x, scores), w.const(np.eye(DIM)))

    notes = check(layer_model(tmp_path, keep_best), 0)
    assert not any("MoE" in note for note in notes)


def test_unrecognised_experts_over_gathered_tokens_are_refused_with_the_reason(tmp_path: Path) -> None:
    def body(w: Writer, x: str, logits: str, weights: Weights, a: dict) -> str:
        return forms.nonzero_columns(w, x, w.op("Exp", w.op("Softmax", logits)), weights, a | {"activation": "tanh"})

    def activate(w: Writer, x: str, kind: str) -> str:
        return w.op("Tanh", x)

    original, forms.activate = forms.activate, activate
    try:
        path = layer_model(tmp_path, body)
    finally:
        forms.activate = original
    with pytest.raises(UnsupportedError) as error:
        read_model(path)
    text = str(error.value)
    assert "NonZero is not compiled: the size of its result depends on the data; node TopK" in text
    assert "MoE layer not recognised because its experts, asked one at a time, do not answer" in text
    assert error.value.node.startswith("node NonZero")
    assert "write the layer as edgemtl::MoE" in error.value.hint
