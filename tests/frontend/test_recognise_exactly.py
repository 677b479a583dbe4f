"""Nothing is taken for a mixture of experts that differs from one for some token: each departure keeps its result."""

from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from onnx import helper

from edgemtl.frontend import MultiTaskModel, read_model
from examples import foreign as forms
from examples.foreign import DENSE, SPARSE, Weights, Writer
from tests.support import foreign
from tests.support.run import run_canonical, run_onnx

SIDES = (9, 11)
TOKENS = SIDES[0] * SIDES[1]
DIM, HIDDEN, EXPERTS = 8, 40, 5
Change = Callable[[Writer, str, str, str], str]


def layer_model(folder: Path, body: forms.Body, sides: tuple[int, int] = SIDES, **attributes: object) -> Path:
    """An image, tokens, a layer of experts, a map. Images of one colour send all tokens to the same experts."""
    rng, w = np.random.default_rng(3), Writer()
    x = foreign._embed(w, rng, *sides, DIM)
    experts = attributes.pop("experts", EXPERTS)
    logits = w.op("MatMul", x, w.const(1.5 * foreign._normal(rng, (DIM, experts))))
    a = {"k": 2, "activation": "relu", "normalize": 0, "threshold": 0.0, **attributes}
    mixed = body(w, x, logits, foreign._experts(rng, experts, DIM, HIDDEN), a)
    out = w.op("Reshape", w.op("Transpose", mixed, perm=[1, 0]), w.ints(1, DIM, *sides))
    w.nodes.append(helper.make_node("Identity", [out], ["map"]))
    image = helper.make_tensor_value_info("image", 1, [1, 3, 4 * sides[0], 4 * sides[1]])
    output = helper.make_tensor_value_info("map", 1, [1, DIM, *sides])
    return forms.save(w.nodes, w.initializers(), [image], [output], folder / "layer.onnx", opset=20)


def images(shape: tuple[int, ...]) -> list[np.ndarray]:
    """Noise, one colour with a corner of noise, both large and small."""
    noise = np.random.default_rng(8).standard_normal(shape, np.float32)
    flat = np.full_like(noise, 0.7)
    flat[..., :8, :8] = noise[..., :8, :8]
    return [noise, flat, 100 * noise, 100 * flat, noise / 1000]


def read_and_compare(path: Path) -> MultiTaskModel:
    model = read_model(path)
    for image in images(model.inputs[0].shape):
        expected = run_onnx(path, {"image": image})["map"]
        found = run_canonical(model, image)["map"]
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-4 * np.abs(expected).max())
    return model


def weighed(w: Writer, x: str, gate: str, weights: Weights, activate: Callable[[Writer, str], str]) -> str:
    """All experts in one product, weighed by the gate matrix [T, E]."""
    w1, b1, w2, b2 = weights
    column = w.op("Unsqueeze", w.op("Transpose", gate, perm=[1, 0]), w.ints(2))
    hidden = activate(
        w, w.op("Add", w.op("MatMul", w.op("Unsqueeze", x, w.ints(0)), w.const(w1)), w.const(b1[:, None]))
    )
    out = w.op("Add", w.op("MatMul", hidden, w.const(w2)), w.const(b2[:, None]))
    return w.op("ReduceSum", w.op("Mul", out, column), w.ints(0), keepdims=0)


def relu(w: Writer, hidden: str) -> str:
    return w.op("Relu", hidden)


def with_gates(change: Change, activate: Callable[[Writer, str], str] = relu) -> forms.Body:
    """A mixture whose gate matrix `change(writer, x, logits, gate)` alters."""

    def body(w: Writer, x: str, logits: str, weights: Weights, a: dict) -> str:
        gate = forms.gate_matrix(w, x, logits, weights, a)
        return weighed(w, x, change(w, x, logits, gate), weights, activate)

    return body


def times(array: np.ndarray) -> Change:
    return lambda w, x, logits, gate: w.op("Mul", gate, w.const(array))


def rows(value: float, *at: int) -> np.ndarray:
    array = np.ones((TOKENS, 1))
    array[list(at)] = value
    return array


def one_entry(row: int, column: int) -> np.ndarray:
    array = np.ones((TOKENS, EXPERTS))
    array[row, column] = 1.05
    return array


def keep_where(w: Writer, condition: str, gate: str) -> str:
    return w.op("Where", condition, gate, w.const(0))


def capacity(w: Writer, x: str, logits: str, gate: str) -> str:
    """An expert takes as many tokens as a fair share and a quarter, later ones get nothing."""
    chosen = w.op("Cast", w.op("Greater", gate, w.const(0)), to=1)
    place = w.op("CumSum", chosen, w.const(0, np.int64))
    return keep_where(w, w.op("LessOrEqual", place, w.const(TOKENS * 2 * 1.25 // EXPERTS)), gate)


def capacity_of_the_last(w: Writer, x: str, logits: str, gate: str) -> str:
    limits = np.full((1, EXPERTS), TOKENS)
    limits[0, -1] = TOKENS - 2
    chosen = w.op("Cast", w.op("Greater", gate, w.const(0)), to=1)
    return keep_where(w, w.op("LessOrEqual", w.op("CumSum", chosen, w.const(0, np.int64)), w.const(limits)), gate)


def load(w: Writer, x: str, logits: str, gate: str) -> str:
    """Weights fall with the tokens an expert has."""
    used = w.op("ReduceSum", gate, w.ints(0), keepdims=1)
    return w.op("Div", gate, w.op("Add", w.op("Mul", used, w.const(1e-4)), w.const(1)))


def without_zero_tokens(w: Writer, x: str, logits: str, gate: str) -> str:
    size = w.op("ReduceMax", w.op("Abs", x), w.ints(1), keepdims=1)
    return keep_where(w, w.op("Greater", size, w.const(0)), gate)


def without_large_tokens(w: Writer, x: str, logits: str, gate: str) -> str:
    size = w.op("ReduceMax", w.op("Abs", x), w.ints(1), keepdims=1)
    return keep_where(w, w.op("Less", size, w.const(200)), gate)


def scaled_by_the_largest_token(w: Writer, x: str, logits: str, gate: str) -> str:
    size = w.op("ReduceMax", w.op("Abs", x), w.ints(0, 1), keepdims=1)
    return keep_where(w, w.op("Less", size, w.const(50)), gate)


def positive_logits(w: Writer, x: str, logits: str, gate: str) -> str:
    return keep_where(w, w.op("Greater", logits, w.const(0)), gate)


def moderate_logits(w: Writer, x: str, logits: str, gate: str) -> str:
    return keep_where(w, w.op("Less", logits, w.const(40)), gate)


def first_of_ties_only(w: Writer, x: str, logits: str, gate: str) -> str:
    """Tokens whose best two logits are equal get nothing."""
    best = w.op("Split", w.op("TopK", logits, w.ints(2), outputs=2)[0], outputs=2, axis=1, num_outputs=2)
    return keep_where(w, w.op("Greater", *best), gate)


def ceiling_of_the_last(ceiling: float) -> Callable[[Writer, str], str]:
    """The last expert's hidden units have a ceiling."""
    limits = np.full((EXPERTS, 1, 1), np.float32(3e38))
    limits[-1] = ceiling
    return lambda w, hidden: w.op("Min", w.op("Relu", hidden), w.const(limits))


def one_hidden_unit(w: Writer, hidden: str) -> str:
    factors = np.ones((EXPERTS, 1, HIDDEN))
    factors[2, 0, 17] = 1.1
    return w.op("Mul", w.op("Relu", hidden), w.const(factors))


def ceiling_of_one_unit(w: Writer, hidden: str) -> str:
    limits = np.full((EXPERTS, 1, HIDDEN), np.float32(3e38))
    limits[3, 0, 33] = 300
    return w.op("Min", w.op("Relu", hidden), w.const(limits))


def unchanged(w: Writer, x: str, logits: str, gate: str) -> str:
    return gate


CHANGED: dict[str, forms.Body] = {
    "capacity": with_gates(capacity),
    "capacity of one expert": with_gates(capacity_of_the_last),
    "load": with_gates(load),
    "last tokens masked": with_gates(times(rows(0, -3, -2, -1))),
    "a late token scaled": with_gates(times(rows(1.01, 70))),
    "first token scaled": with_gates(times(rows(0.9, 0))),
    "one token of one expert": with_gates(times(one_entry(90, 4))),
    "zero tokens dropped": with_gates(without_zero_tokens),
    "large tokens dropped": with_gates(without_large_tokens),
    "all dropped for one": with_gates(scaled_by_the_largest_token),
    "negative logits dropped": with_gates(positive_logits),
    "large logits dropped": with_gates(moderate_logits),
    "ties dropped": with_gates(first_of_ties_only),
    "low ceiling of one expert": with_gates(unchanged, ceiling_of_the_last(1)),
    "high ceiling of one expert": with_gates(unchanged, ceiling_of_the_last(300)),
    "one hidden unit scaled": with_gates(unchanged, one_hidden_unit),
    "high ceiling of one hidden unit": with_gates(unchanged, ceiling_of_one_unit),
}


@pytest.mark.parametrize("name", CHANGED)
def test_a_layer_that_departs_for_some_token_keeps_its_result(name: str, tmp_path: Path) -> None:
    model = read_and_compare(layer_model(tmp_path, CHANGED[name]))
    assert model.moe == ()
    assert any("MoE layer not recognised because its experts" in note for note in model.notes)


def test_the_same_layer_without_a_change_is_found(tmp_path: Path) -> None:
    assert len(read_and_compare(layer_model(tmp_path, with_gates(unchanged))).moe) == 1


def scores_body(change: Callable[[Writer, str], str], **softmax: object) -> forms.Body:
    """A mixture whose selected scores [T, k] are changed."""

    def body(w: Writer, x: str, logits: str, weights: Weights, a: dict) -> str:
        scores, chosen = w.op("TopK", w.op("Softmax", logits), w.ints(2), outputs=2)
        gate = w.op("ScatterElements", w.const(np.zeros((TOKENS, EXPERTS))), chosen, change(w, scores), axis=1)
        return weighed(w, x, gate, weights, relu)

    return body


def shares(w: Writer, scores: str, epsilon: float = 0) -> str:
    return w.op("Div", scores, w.op("Add", w.op("ReduceSum", scores, w.ints(1)), w.const(epsilon)))


def above(w: Writer, scores: str, kind: str) -> str:
    part = shares(w, scores)
    return w.op("Where", w.op(kind, part, w.const(0.5)), w.const(0), part)


@pytest.mark.parametrize(
    ("change", "layers"),
    [
        (lambda w, scores: w.op("Mul", scores, w.const([1, 0.99])), 0),
        (lambda w, scores: shares(w, scores, 1e-3), 0),
        (lambda w, scores: shares(w, scores, 1e-9), 1),
        (lambda w, scores: above(w, scores, "LessOrEqual"), 0),
        (lambda w, scores: above(w, scores, "Less"), 1),
        (lambda w, scores: w.op("Add", scores, w.const(1e-3)), 0),
    ],
    ids=["second choice", "epsilon", "small epsilon", "tie at the threshold", "threshold", "offset"],
)
def test_scores(change: Callable[[Writer, str], str], layers: int, tmp_path: Path) -> None:
    assert len(read_and_compare(layer_model(tmp_path, scores_body(change))).moe) == layers


@pytest.mark.parametrize(("last", "layers"), [(0, 1), (1, 0)])
def test_the_last_of_equal_logits(last: int, layers: int, tmp_path: Path) -> None:
    """ArgMax with select_last_index parts from a mixture on ties alone."""

    def body(w: Writer, x: str, logits: str, weights: Weights, a: dict) -> str:
        best = w.op("ArgMax", logits, axis=1, keepdims=0, select_last_index=last)
        hot = w.op("OneHot", best, w.const(EXPERTS, np.int64), w.const([0, 1]))
        return weighed(w, x, w.op("Mul", hot, w.op("Softmax", logits)), weights, relu)

    assert len(read_and_compare(layer_model(tmp_path, body)).moe) == layers


def test_jitter_of_the_tokens(tmp_path: Path) -> None:
    noise = 1 + 1e-3 * np.random.default_rng(0).standard_normal((TOKENS, DIM))

    def body(w: Writer, x: str, logits: str, weights: Weights, a: dict) -> str:
        gate = forms.gate_matrix(w, x, logits, weights, a)
        return weighed(w, w.op("Mul", x, w.const(noise)), gate, weights, relu)

    read_and_compare(layer_model(tmp_path, body))


def with_gathered_weights(factors: np.ndarray) -> forms.Body:
    """Each token gathers its experts' matrices; experts cannot be made thin. Scores are weighed by factors [T, 1]."""

    def body(w: Writer, x: str, logits: str, weights: Weights, a: dict) -> str:
        scores, chosen = w.op("TopK", w.op("Softmax", logits), w.ints(2), outputs=2)
        w1, b1, w2, b2 = (w.op("Gather", w.const(part), chosen, axis=0) for part in weights)
        hidden = w.op("MatMul", w.op("Unsqueeze", x, w.ints(1, 2)), w1)
        hidden = w.op("Relu", w.op("Add", hidden, w.op("Unsqueeze", b1, w.ints(2))))
        out = w.op("Squeeze", w.op("Add", w.op("MatMul", hidden, w2), w.op("Unsqueeze", b2, w.ints(2))), w.ints(2))
        gate = w.op("Unsqueeze", w.op("Mul", scores, w.const(factors)), w.ints(-1))
        return w.op("ReduceSum", w.op("Mul", out, gate), w.ints(1), keepdims=0)

    return body


@pytest.mark.parametrize(("factors", "layers"), [(rows(1), 1), (rows(0.99, TOKENS - 1), 0)])
def test_gathered_weights(factors: np.ndarray, layers: int, tmp_path: Path) -> None:
    assert len(read_and_compare(layer_model(tmp_path, with_gathered_weights(factors))).moe) == layers


@given(
    style=st.sampled_from(sorted((DENSE | SPARSE).keys() - {"softmax_after"})),
    activation=st.sampled_from(["gelu", "relu", "silu"]),
    experts=st.integers(2, 9),
    k=st.integers(1, 3),
    normalize=st.integers(0, 1),
    threshold=st.sampled_from([0.0, 0.0, 0.2, 0.5]),
    sides=st.sampled_from([(1, 3), (5, 7), SIDES]),
)
@example("batched", "silu", 70, 1, 0, 0.0, (1, 3))
def test_generated_layers(
    style: str, activation: str, experts: int, k: int, normalize: int, threshold: float, sides: tuple[int, int]
) -> None:
    attributes = {"normalize": normalize, "threshold": threshold, "activation": activation, "experts": experts}
    with TemporaryDirectory() as folder:
        body = (DENSE | SPARSE)[style]
        path = layer_model(Path(folder), body, sides, k=min(k, experts), **attributes)
        assert len(read_and_compare(path).moe) == 1


@given(
    row=st.integers(0, TOKENS - 1),
    column=st.none() | st.integers(0, EXPERTS - 1),
    factor=st.sampled_from([0.0, 0.5, 0.999, 1.0, 1.0001, -1.0]),
    k=st.integers(1, EXPERTS),
    normalize=st.integers(0, 1),
)
def test_generated_factors(row: int, column: int | None, factor: float, k: int, normalize: int) -> None:
    """One token, for one expert or for all, is weighed by another factor."""
    array = np.ones((TOKENS, EXPERTS))
    array[row, slice(None) if column is None else column] = factor
    with TemporaryDirectory() as folder:
        body = with_gates(times(array))
        assert len(read_and_compare(layer_model(Path(folder), body, k=k, normalize=normalize)).moe) == (factor == 1)
