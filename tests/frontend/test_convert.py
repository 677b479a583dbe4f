"""Operators of old opsets mean afterwards what they meant: each against onnxruntime running the original."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper

from edgemtl.errors import ModelError
from edgemtl.frontend import read_model
from examples.foreign import Writer
from tests.support.run import random_image, run_canonical, run_onnx

SIZES = (1, 4, 8, 8)
Write = Callable[[Writer, int], str]


def old_model(folder: Path, write: Write, opset: int) -> Path:
    w = Writer()
    outputs = [onnx.ValueInfoProto(name=write(w, opset))]
    image = helper.make_tensor_value_info("image", 1, SIZES)
    graph = helper.make_graph(w.nodes, "old", [image], outputs, w.initializers())
    path = folder / f"opset{opset}.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8), path)
    return path


def upsample(*scales: float, mode: str) -> Write:
    def write(w: Writer, opset: int) -> str:
        if opset < 9:
            return w.op("Upsample", "image", scales=[float(s) for s in scales], mode=mode)
        return w.op("Upsample" if opset == 9 else "Resize", "image", w.const(scales), mode=mode)

    return write


def pad(mode: str) -> Write:
    amounts = [0, 0, 1, 2, 0, 0, 2, 1]

    def write(w: Writer, opset: int) -> str:
        if opset < 11:
            return w.op("Pad", "image", pads=amounts, mode=mode, value=0.3)
        return w.op("Pad", "image", w.ints(*amounts), w.const(0.3), mode=mode)

    return write


def clip(w: Writer, opset: int) -> str:
    if opset < 11:
        return w.op("Clip", "image", min=-0.5)
    return w.op("Clip", "image", w.const(-0.5))


def cut(w: Writer, opset: int) -> str:
    if opset < 10:
        return w.op("Slice", "image", starts=[1, -5], ends=[3, 1000], axes=[1, 3])
    return w.op("Slice", "image", w.ints(1, -5), w.ints(3, 1000), w.ints(1, 3))


def best(w: Writer, opset: int) -> str:
    if opset < 10:
        return w.op("TopK", "image", k=3, axis=1, outputs=2)[0]
    return w.op("TopK", "image", w.ints(3), axis=1, outputs=2)[0]


def reduce(w: Writer, opset: int) -> str:
    if opset < 18:
        return w.op("ReduceLogSumExp", "image", axes=[-1, 2], keepdims=0)
    return w.op("ReduceLogSumExp", "image", w.ints(-1, 2), keepdims=0)


def activation(kind: str, **attributes: int) -> Write:
    return lambda w, opset: w.op(kind, "image", **attributes)


def pool(**attributes: object) -> Write:
    return lambda w, opset: w.op("AveragePool", "image", kernel_shape=[3, 3], strides=[2, 2], **attributes)


def grid(w: Writer, opset: int) -> str:
    points = np.random.default_rng(1).uniform(-1.2, 1.2, (1, 5, 6, 2))
    return w.op("GridSample", "image", w.const(points), mode="bicubic", align_corners=1)


def align(w: Writer, opset: int) -> str:
    attributes = {"output_height": 3, "output_width": 3, "sampling_ratio": 2, "spatial_scale": 0.5}
    return w.op("RoiAlign", "image", w.const([[0, 0, 9, 9]]), w.ints(0), **attributes)


def scatter(w: Writer, opset: int) -> str:
    kind = "Scatter" if opset < 11 else "ScatterElements"
    return w.op(kind, "image", w.const(np.ones((1, 1, 8, 8)), np.int64), w.const(np.zeros((1, 1, 8, 8))), axis=1)


CASES: dict[str, tuple[Write, tuple[int, ...]]] = {
    "upsample nearest": (upsample(1, 1, 2, 3, mode="nearest"), (7, 8, 9, 10)),
    "upsample nearest uneven": (upsample(1, 1, 1.5, 2.5, mode="nearest"), (7, 9, 10)),
    "upsample linear": (upsample(1, 1, 2, 3, mode="linear"), (7, 8, 9, 10)),
    "upsample linear uneven": (upsample(1, 1, 1.5, 2.5, mode="linear"), (7, 9, 10)),
    "fewer pixels nearest": (upsample(1, 1, 0.5, 0.7, mode="nearest"), (10,)),
    "fewer pixels linear": (upsample(1, 1, 0.5, 0.7, mode="linear"), (10,)),
    "pad constant": (pad("constant"), (7, 10, 11, 13)),
    "pad reflect": (pad("reflect"), (7, 10, 11, 13)),
    "pad edge": (pad("edge"), (7, 10, 11, 18)),
    "softmax": (activation("Softmax"), (7, 11, 12, 13)),
    "softmax of two axes": (activation("Softmax", axis=2), (7, 11, 12)),
    "log softmax": (activation("LogSoftmax", axis=0), (7, 11, 13)),
    "hardmax": (activation("Hardmax"), (7, 11, 12, 13)),
    "hardmax of two axes": (activation("Hardmax", axis=2), (7, 11, 12)),
    "clip": (clip, (7, 10, 11, 13)),
    "slice": (cut, (7, 9, 10, 13)),
    "top k": (best, (7, 9, 10, 11)),
    "reduce": (reduce, (11, 13, 17, 18)),
    "pool padded": (pool(pads=[1, 1, 0, 1], count_include_pad=1), (7, 11, 19)),
    "pool same": (pool(auto_pad="SAME_LOWER"), (7, 11, 19)),
    "pool ceil": (pool(ceil_mode=1, pads=[1, 1, 1, 1]), (10, 11, 19)),
    "dropout": (activation("Dropout"), (7, 10, 12, 13)),
    "grid": (grid, (16,)),
    "align": (align, (10, 15, 16)),
    "scatter": (scatter, (9, 10, 11, 13)),
    "deep to wide": (activation("DepthToSpace", blocksize=2), (7, 11, 13)),
}


@pytest.mark.parametrize("name", CASES)
def test_computes_the_same(name: str, tmp_path: Path) -> None:
    write, opsets = CASES[name]
    for opset in opsets:
        path = old_model(tmp_path, write, opset)
        model = read_model(path)
        tied = np.random.default_rng(2).choice(np.array([0, 0.5, -3, 50], np.float32), SIZES)
        for image in (random_image(SIZES), tied):
            (expected,) = run_onnx(path, {"image": image}).values()
            (found,) = run_canonical(model, image).values()
            np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5 * max(1, np.abs(expected).max()))


def test_the_old_name_of_resize_in_opset_10(tmp_path: Path) -> None:
    """onnxruntime refuses the name; under the new one it is the oracle."""
    operands = {"mode": "linear"}
    new = old_model(tmp_path, lambda w, _: w.op("Resize", "image", w.const([1, 1, 2, 2]), **operands), 10)
    image = random_image(SIZES)
    (expected,) = run_onnx(new, {"image": image}).values()
    old = old_model(tmp_path, lambda w, _: w.op("Upsample", "image", w.const([1, 1, 2, 2]), **operands), 10)
    (found,) = run_canonical(read_model(old), image).values()
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_not_a_number_equals_itself(tmp_path: Path) -> None:
    path = old_model(tmp_path, lambda w, opset: w.op("Sqrt", "image"), 13)
    assert read_model(path).notes[0].endswith("checked on random inputs")


def last_of_the_largest(w: Writer, last: int) -> str:
    more = {"select_last_index": 1} if last else {}
    return w.op("Cast", w.op("ArgMax", "image", axis=3, **more), to=1)


@pytest.mark.parametrize(
    ("write", "wrong_node"),
    [
        (lambda w, _: w.op("Identity", "image"), lambda w: w.op("Clip", "image", w.const(-10), w.const(10))),
        (lambda w, _: last_of_the_largest(w, 0), lambda w: last_of_the_largest(w, 1)),
    ],
    ids=["large", "tied"],
)
def test_a_difference_that_only_some_inputs_show(
    write: Write, wrong_node: Callable[[Writer], str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A converter that cuts large values off, or takes another of equal ones."""

    def wrong(proto: onnx.ModelProto, version: int) -> onnx.ModelProto:
        w = Writer()
        wrong_node(w)
        w.nodes[-1].output[0] = "out"
        image = helper.make_tensor_value_info("image", 1, SIZES)
        graph = helper.make_graph(w.nodes, "wrong", [image], [onnx.ValueInfoProto(name="out")], w.initializers())
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", version)], ir_version=8)

    path = old_model(tmp_path, write, 13)
    monkeypatch.setattr(onnx.version_converter, "convert_version", wrong)
    with pytest.raises(ModelError, match="the result computes something else"):
        read_model(path)
