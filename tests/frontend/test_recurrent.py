"""Recurrent layers written out, against onnxruntime's own."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgemtl.errors import UnsupportedError
from edgemtl.frontend import read_model
from tests.support.run import assert_same, run_canonical, run_onnx

GATES = {"GRU": 3, "LSTM": 4, "RNN": 1}
LENGTH, BATCH, WIDTH, HIDDEN = 5, 2, 6, 4


def layer(
    folder: Path, kind: str, extra: tuple[str, ...] = ("B",), computed: tuple[str, ...] = (), **attributes: object
) -> Path:
    """A model of one layer; ``extra`` operands are constants, ``computed`` ones inputs beside X."""
    rng = np.random.default_rng(len(kind))
    directions = 2 if attributes.get("direction") == "bidirectional" else 1
    batch_first = attributes.get("layout") == 1
    state = (BATCH, directions, HIDDEN) if batch_first else (directions, BATCH, HIDDEN)
    shapes = {
        "W": (directions, GATES[kind] * HIDDEN, WIDTH),
        "R": (directions, GATES[kind] * HIDDEN, HIDDEN),
        "B": (directions, 2 * GATES[kind] * HIDDEN),
        "initial_h": state,
        "initial_c": state,
        "P": (directions, 3 * HIDDEN),
    }
    names = ["X", "W", "R", "B", "sequence_lens", "initial_h", *(["initial_c", "P"] if kind == "LSTM" else [])]
    given = {"X", "W", "R", *extra, *computed}
    outputs = ["Y", "Y_h", *(["Y_c"] if kind == "LSTM" else [])]
    node = helper.make_node(kind, [n if n in given else "" for n in names], outputs, "layer", hidden_size=HIDDEN)
    node.attribute.extend(helper.make_attribute(name, value) for name, value in attributes.items())
    arrays = {n: rng.standard_normal(shapes[n]).astype(np.float32) for n in shapes if n in given and n not in computed}
    if "sequence_lens" in extra:
        arrays["sequence_lens"] = np.full(BATCH, LENGTH, np.int32)
    x = (BATCH, LENGTH, WIDTH) if batch_first else (LENGTH, BATCH, WIDTH)
    inputs = [helper.make_tensor_value_info("X", 1, x)]
    inputs += [helper.make_tensor_value_info(name, 1, shapes[name]) for name in computed]
    results = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs]
    graph = helper.make_graph([node], "g", inputs, results, [numpy_helper.from_array(a, n) for n, a in arrays.items()])
    path = folder / "layer.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10), path)
    return path


def frame_of(path: Path) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(3)
    return {spec.name: rng.standard_normal(spec.shape).astype(np.float32) for spec in read_model(path).inputs}


FORMS = {
    "plain": {},
    "without bias": {"extra": ()},
    "reverse": {"direction": "reverse"},
    "both directions": {"direction": "bidirectional"},
    "full lengths, a state to begin with": {"extra": ("B", "sequence_lens", "initial_h")},
    "a computed state, both directions": {"computed": ("initial_h",), "direction": "bidirectional"},
}


@pytest.mark.parametrize("kind", GATES)
@pytest.mark.parametrize("form", FORMS)
def test_layers(kind: str, form: str, tmp_path: Path) -> None:
    path = layer(tmp_path, kind, **FORMS[form])
    assert_same(run_canonical(read_model(path), frame_of(path)), run_onnx(path, frame_of(path)))


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("GRU", {"linear_before_reset": 1}),
        ("GRU", {"linear_before_reset": 1, "direction": "bidirectional"}),
        ("GRU", {"activations": ["Tanh", "Relu"]}),
        ("LSTM", {"extra": ("B", "P", "initial_h", "initial_c")}),
        ("LSTM", {"activations": ["Sigmoid", "Relu", "Tanh"] * 2, "direction": "bidirectional"}),
        ("RNN", {"activations": ["Relu"]}),
    ],
)
def test_options(kind: str, options: dict[str, object], tmp_path: Path) -> None:
    path = layer(tmp_path, kind, **options)
    assert_same(run_canonical(read_model(path), frame_of(path)), run_onnx(path, frame_of(path)))


@pytest.mark.parametrize("kind", GATES)
def test_batch_first(kind: str, tmp_path: Path) -> None:
    """onnxruntime has no layout 1: its layout 0 says what the same weights give, with axes in the other order."""
    (tmp_path / "other").mkdir()
    path = layer(tmp_path, kind, direction="bidirectional", layout=1)
    other = layer(tmp_path / "other", kind, direction="bidirectional")
    frame = frame_of(path)
    expected = run_onnx(other, {"X": frame["X"].transpose(1, 0, 2)})
    turned = {name: array.transpose((2, 0, 1, 3) if name == "Y" else (1, 0, 2)) for name, array in expected.items()}
    assert_same(run_canonical(read_model(path), frame), turned)


@pytest.mark.parametrize(
    ("kind", "options", "text"),
    [
        ("RNN", {"clip": 1.0}, "layer: its attribute clip is not written out; change the layer in the model"),
        ("LSTM", {"input_forget": 1}, "layer: its attribute input_forget is not written out"),
        (
            "GRU",
            {"activations": ["Sigmoid", "Elu"]},
            "layer: its activations are Sigmoid, Elu, and Sigmoid, Tanh, Relu are",
        ),
        ("RNN", {"computed": ("R",)}, "layer: its R is computed, and weights must be constants"),
    ],
)
def test_refusals(kind: str, options: dict[str, object], text: str, tmp_path: Path) -> None:
    with pytest.raises(UnsupportedError) as error:
        read_model(layer(tmp_path, kind, **options))
    assert str(error.value).startswith(text)


def test_other_lengths_and_too_many_steps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = layer(tmp_path, "RNN", extra=("B", "sequence_lens"))
    model = onnx.load(path)
    for tensor in model.graph.initializer:
        if tensor.name == "sequence_lens":
            tensor.CopyFrom(numpy_helper.from_array(np.array([LENGTH, LENGTH - 1], np.int32), tensor.name))
    onnx.save(model, path)
    with pytest.raises(
        UnsupportedError, match="layer: its sequences must all have the full length of 5, and have others"
    ):
        read_model(path)
    monkeypatch.setattr("edgemtl.frontend.recurrent.MAX_STEPS", 9)
    with pytest.raises(UnsupportedError, match="layer: its steps and those before it are 10, and at most 9 are"):
        read_model(layer(tmp_path, "GRU", direction="bidirectional"))
