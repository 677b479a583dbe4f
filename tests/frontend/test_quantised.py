"""Quantised constants and a quantised image, which float32 gives exactly; all else is refused."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper

from edgemtl.errors import UnsupportedError
from edgemtl.frontend import read_model
from examples.foreign import Writer
from tests.support.run import assert_same, random_image, run_canonical, run_onnx

SIZES = (1, 3, 8, 8)
RNG = np.random.default_rng(0)


def save(folder: Path, write, opset: int = 17) -> Path:
    w = Writer()
    outputs = [onnx.ValueInfoProto(name=write(w))]
    image = helper.make_tensor_value_info("image", 1, SIZES)
    graph = helper.make_graph(w.nodes, "quantised", [image], outputs, w.initializers())
    path = folder / "quantised.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8), path)
    return path


def check(path: Path) -> None:
    model = read_model(path)
    assert not {"QuantizeLinear", "DequantizeLinear"} & {node.op_type for node in model.ir.graph}
    ramp = np.linspace(-9, 9, 192, dtype=np.float32).reshape(SIZES)
    for image in (random_image(SIZES), 100 * random_image(SIZES, 1), np.round(ramp * 2) * np.float32(0.015)):
        assert_same(run_canonical(model, image), run_onnx(path, {"image": image}))


def integers(*shape: int, dtype: type = np.int8) -> np.ndarray:
    limits = np.iinfo(dtype)
    return RNG.integers(limits.min, limits.max, shape, dtype)


def convolve(w: Writer, x: str, weights: str) -> str:
    return w.op("Relu", w.op("Conv", x, weights, pads=[1] * 4))


@pytest.mark.parametrize(("dtype", "zero"), [(np.int8, 3), (np.uint8, 120), (np.int8, None), (np.int32, None)])
@pytest.mark.parametrize("axis", [None, 0, -4])
def test_weights(dtype: type, zero: int | None, axis: int | None, tmp_path: Path) -> None:
    def write(w: Writer) -> str:
        scales = 0.01 if axis is None else RNG.uniform(0.01, 0.02, 8)
        operands = [w.const(integers(8, 3, 3, 3, dtype=dtype), dtype), w.const(scales)]
        operands += [] if zero is None else [w.const(np.full(np.shape(scales), zero), dtype)]
        return convolve(w, "image", w.op("DequantizeLinear", *operands, **({} if axis is None else {"axis": axis})))

    check(save(tmp_path, write))


@pytest.mark.parametrize(("dtype", "zero"), [(np.int8, 3), (np.uint8, 128), (np.uint8, None)])
@pytest.mark.parametrize("opset", [11, 13, 19, 22])
def test_an_image_that_is_quantised(dtype: type, zero: int | None, opset: int, tmp_path: Path) -> None:
    def write(w: Writer) -> str:
        parts = [w.const(0.03)] + ([] if zero is None else [w.const(zero, dtype)])
        numbers = w.op("Transpose", w.op("QuantizeLinear", "image", *parts), perm=[0, 1, 3, 2])
        x = w.op("DequantizeLinear", numbers, *parts)
        return convolve(w, x, w.op("DequantizeLinear", w.const(integers(8, 3, 3, 3), np.int8), w.const(0.01)))

    check(save(tmp_path, write, opset))


def between_layers(w: Writer) -> str:
    x = convolve(w, "image", w.const(np.ones((8, 3, 3, 3))))
    return w.op("DequantizeLinear", w.op("QuantizeLinear", x, w.const(0.1)), w.const(0.1))


def integer_product(w: Writer) -> str:
    x = w.op("QuantizeLinear", "image", w.const(0.1))
    return w.op("Cast", w.op("MatMulInteger", x, w.const(integers(8, 4), np.int8)), to=1)


def test_weights_in_blocks(tmp_path: Path) -> None:
    def write(w: Writer) -> str:
        scales = w.const(RNG.uniform(0.01, 0.02, (4, 3)))
        weights = w.op("DequantizeLinear", w.const(integers(8, 3), np.int8), scales, axis=0, block_size=2)
        return w.op("MatMul", w.op("Transpose", "image", perm=[0, 2, 3, 1]), w.op("Transpose", weights, perm=[1, 0]))

    check(save(tmp_path, write, 21))


def per_channel(w: Writer) -> str:
    parts = w.const([0.1, 0.2, 0.3]), w.const([1, 2, 3], np.int8)
    return w.op("DequantizeLinear", w.op("QuantizeLinear", "image", *parts), *parts)


def as_an_output(w: Writer) -> str:
    return w.op("QuantizeLinear", "image", w.const(0.1))


def by_the_data(w: Writer) -> str:
    scale = w.op("ReduceMax", "image", keepdims=0)
    return w.op("DequantizeLinear", w.op("QuantizeLinear", "image", scale), scale)


@pytest.mark.parametrize("write", [between_layers, integer_product, by_the_data, per_channel, as_an_output])
def test_other_quantisation_is_refused(write, tmp_path: Path) -> None:
    with pytest.raises(UnsupportedError) as error:
        read_model(save(tmp_path, write))
    assert "the model is quantised" in str(error.value)
    assert error.value.hint == "export the model before it is quantised"
