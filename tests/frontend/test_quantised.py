"""Quantised models in float32: what is rounded gives onnxruntime's results, other quantisation is refused."""

from collections.abc import Callable
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
    opsets = [helper.make_opsetid("", opset), helper.make_opsetid("com.microsoft", 1)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=10), path)
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


def test_weights_in_blocks(tmp_path: Path) -> None:
    def write(w: Writer) -> str:
        scales = w.const(RNG.uniform(0.01, 0.02, (4, 3)))
        weights = w.op("DequantizeLinear", w.const(integers(8, 3), np.int8), scales, axis=0, block_size=2)
        return w.op("MatMul", w.op("Transpose", "image", perm=[0, 2, 3, 1]), w.op("Transpose", weights, perm=[1, 0]))

    check(save(tmp_path, write, 21))


def between_layers(w: Writer, moved: str = "") -> str:
    """A value that is rounded and read by two nodes, in the integers' own order or moved."""
    x = convolve(w, "image", w.const(RNG.uniform(-1, 1, (8, 3, 3, 3))))
    parts = w.const(0.05), w.const(90, np.uint8)
    numbers = w.op("QuantizeLinear", x, *parts)
    if moved:
        numbers = w.op(moved, numbers, **MOVES[moved])
    y = w.op("DequantizeLinear", numbers, *parts)
    return w.op("Sub", y, w.op("Sigmoid", w.op("DequantizeLinear", numbers, *parts)))


MOVES = {"Transpose": {"perm": [0, 2, 1, 3]}, "MaxPool": {"kernel_shape": [2, 2], "pads": [1, 1, 0, 0]}}


@pytest.mark.parametrize("moved", ["", *MOVES])
def test_a_value_that_is_rounded(moved: str, tmp_path: Path) -> None:
    check(save(tmp_path, lambda w: between_layers(w, moved)))


def quantised_image(w: Writer) -> list[str]:
    parts = [w.const(0.03), w.const(120, np.uint8)]
    return [w.op("QuantizeLinear", "image", *parts), *parts]


def real(w: Writer, numbers: str, scale: float = 0.1, zero: int = 100) -> str:
    return w.op("DequantizeLinear", numbers, w.const(scale), w.const(zero, np.uint8))


def result_parts(w: Writer, scale: float = 0.1, zero: int = 100) -> list[str]:
    return [w.const(scale), w.const(zero, np.uint8)]


def qlinear_conv(w: Writer) -> str:
    weights = [w.const(integers(8, 3, 3, 3), np.int8), w.const(RNG.uniform(0.01, 0.02, 8)), w.const([0] * 8, np.int8)]
    bias = w.const(RNG.integers(-2000, 2000, 8), np.int32)
    return real(w, w.op("QLinearConv", *quantised_image(w), *weights, *result_parts(w), bias, pads=[1, 1, 1, 1]))


def qlinear_matmul(w: Writer) -> str:
    weights = [w.const(integers(8, 5, dtype=np.uint8), np.uint8), w.const(0.02), w.const(128, np.uint8)]
    return real(w, w.op("QLinearMatMul", *quantised_image(w), *weights, *result_parts(w)))


def qlinear_add(w: Writer) -> str:
    a = quantised_image(w)
    added = w.op("QLinearAdd", *a, *a, *result_parts(w), domain="com.microsoft")
    return real(w, w.op("QLinearMul", added, *result_parts(w), *a, *result_parts(w, 0.2), domain="com.microsoft"), 0.2)


def qlinear_functions(w: Writer) -> str:
    y = w.op("QLinearSigmoid", *quantised_image(w), *result_parts(w, 0.004, 0), domain="com.microsoft")
    y = w.op("QLinearLeakyRelu", y, *result_parts(w, 0.004, 0), *result_parts(w, 0.004), domain="com.microsoft")
    y = w.op(
        "QLinearConcat", *result_parts(w, 0.004), *[y, *result_parts(w, 0.004)] * 2, domain="com.microsoft", axis=1
    )
    pooled = [y, *result_parts(w, 0.004), *result_parts(w, 0.001, 7)]
    return real(w, w.op("QLinearGlobalAveragePool", *pooled, domain="com.microsoft", channels_last=0), 0.001, 7)


@pytest.mark.parametrize(
    ("write", "lsb"), [(qlinear_conv, 0.1), (qlinear_matmul, 0.1), (qlinear_add, 0.2), (qlinear_functions, 0.001)]
)
def test_operators_of_integers(write: Callable[[Writer], str], lsb: float, tmp_path: Path) -> None:
    """They round once, as onnxruntime does, whose products of integers are exact: an LSB where a sum is a tie."""
    path = save(tmp_path, write)
    model = read_model(path)
    for image in (random_image(SIZES), 3 * random_image(SIZES, 1)):
        (ours,) = run_canonical(model, image).values()
        (theirs,) = run_onnx(path, {"image": image}).values()
        assert np.abs(ours - theirs).max() < 1.01 * lsb
        assert np.mean(np.abs(ours - theirs) > 0.01 * lsb) < 0.01


def per_channel(w: Writer) -> str:
    parts = w.const([0.1, 0.2, 0.3]), w.const([1, 2, 3], np.int8)
    return w.op("DequantizeLinear", w.op("QuantizeLinear", "image", *parts), *parts)


def as_an_output(w: Writer) -> str:
    return w.op("QuantizeLinear", "image", w.const(0.1))


def by_the_data(w: Writer) -> str:
    scale = w.op("ReduceMax", "image", keepdims=0)
    return w.op("DequantizeLinear", w.op("QuantizeLinear", "image", scale), scale)


def integer_product(w: Writer) -> str:
    x = w.op("QuantizeLinear", "image", w.const(0.1))
    return w.op("Cast", w.op("MatMulInteger", x, w.const(integers(8, 4), np.int8)), to=1)


def dynamic_product(w: Writer) -> str:
    x = w.op("DynamicQuantizeLinear", "image", outputs=3)
    return w.op("Cast", w.op("MatMulInteger", x[0], w.const(integers(8, 4), np.uint8), x[2]), to=1)


def in_four_bits(w: Writer) -> str:
    parts = w.const(0.1), w.op("Constant", value=helper.make_tensor("zero", onnx.TensorProto.INT4, [], [0]))
    return w.op("DequantizeLinear", w.op("QuantizeLinear", "image", *parts), *parts)


def with_another_scale(w: Writer) -> str:
    return w.op("DequantizeLinear", w.op("QuantizeLinear", "image", w.const(0.1)), w.const(0.2))


@pytest.mark.parametrize(
    ("write", "reason"),
    [
        (integer_product, "MatMulInteger is not compiled: the model is quantised, and it computes with integers of a"),
        (dynamic_product, "the model is quantised with scales that are computed from each image"),
        (by_the_data, "its scale or zero point is computed, and must be a stored constant"),
        (per_channel, "it has 3 scales, and must have one for all values"),
        (in_four_bits, "it quantises to int4, and must to integers of 8 or 16 bits"),
        (with_another_scale, "it must have the scale and zero point that its operand was quantised with"),
    ],
)
def test_other_quantisation_is_refused(write: Callable[[Writer], str], reason: str, tmp_path: Path) -> None:
    with pytest.raises(UnsupportedError) as error:
        read_model(save(tmp_path, write, 21))
    assert reason in str(error.value)


def test_an_output_of_integers_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedError, match="an output must be float32, and the model leaves it quantised"):
        read_model(save(tmp_path, as_an_output))
