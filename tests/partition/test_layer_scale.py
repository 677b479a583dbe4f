"""Products with a constant per channel, folded into the layers before them, against onnxruntime."""

import numpy as np
import pytest

from edgemtl.partition.cut import sweep
from edgemtl.partition.layer_scale import fold_layer_scales
from tests.partition.handmade import Builder, images, run


def _check(b, y, folded):
    model = b.graph({y: None})
    before = [run(model, image) for image in images(2)]
    assert fold_layer_scales(model.graph) == folded
    sweep(model)
    for image, expected in zip(images(2), before, strict=True):
        for one, other in zip(run(model, image), expected, strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-5)
    assert [value.name for value in model.graph.outputs] == [y]
    return [node.op_type for node in model.graph]


def _rows(b):
    """[1, 64, 3] rows of the image."""
    return b.node("Transpose", b.node("Reshape", "image", b.const(np.array([1, 3, 64]))), perm=[0, 2, 1])


@pytest.mark.parametrize("bias", [None, (5,), (1, 5)])
@pytest.mark.parametrize("swapped", [False, True])
@pytest.mark.parametrize("shape", [(5,), (1, 1, 5)])
def test_linear_layers(bias, swapped, shape):
    b = Builder()
    x = b.node("MatMul", _rows(b), b.weight(3, 5))
    if bias is not None:
        pair = (x, b.weight(*bias))
        x = b.node("Add", *(pair[::-1] if swapped else pair))
    pair = (x, b.weight(*shape))
    y = b.node("Relu", b.node("Mul", *(pair[::-1] if swapped else pair)))
    layer = ["MatMul", "Relu"] if bias is None else ["MatMul", "Add", "Relu"]
    assert _check(b, y, 1) == ["Reshape", "Transpose", *layer]


def test_the_scale_of_an_output_leaves_it_its_name():
    b = Builder()
    y = b.node("Mul", b.node("MatMul", _rows(b), b.weight(3, 5)), b.weight(5), out="t0")
    assert _check(b, y, 1)[-1] == "MatMul"


@pytest.mark.parametrize("transposed", [0, 1])
def test_gemm(transposed):
    b = Builder()
    x = b.node("Flatten", "image")
    size = (4, 192) if transposed else (192, 4)
    x = b.node("Gemm", x, b.weight(*size, scale=0.1), b.weight(4), transB=transposed)
    assert _check(b, b.node("Mul", x, b.weight(1, 4)), 1) == ["Flatten", "Gemm"]


@pytest.mark.parametrize("op", ["Conv", "ConvTranspose"])
def test_images(op):
    b = Builder()
    shape = (4, 3, 3, 3) if op == "Conv" else (3, 4, 3, 3)
    x = b.node(op, "image", b.weight(*shape), b.weight(4))
    assert _check(b, b.node("Mul", x, b.weight(1, 4, 1, 1)), 1) == [op]


def test_the_scale_behind_a_transpose():
    """ConvNeXt's: rows to channels, then the scale."""
    b = Builder()
    x = b.node("Transpose", "image", perm=[0, 2, 3, 1])
    x = b.node("Add", b.node("MatMul", x, b.weight(3, 5)), b.weight(5))
    y = b.node("Mul", b.node("Transpose", x, perm=[0, 3, 1, 2]), b.weight(1, 5, 1, 1))
    assert _check(b, y, 1) == ["Transpose", "MatMul", "Add", "Transpose"]


def _by_row(b):
    return b.node("Mul", b.node("MatMul", _rows(b), b.weight(3, 5)), b.weight(64, 1))


def _square(b):
    """As many rows as channels: the scale of rows is not one of channels."""
    x = b.node("MatMul", b.node("Reshape", "image", b.const(np.array([1, 3, 64]))), b.weight(64, 3))
    return b.node("Mul", x, b.weight(3, 1))


def _read_twice(b):
    x = b.node("MatMul", _rows(b), b.weight(3, 5))
    return b.node("Add", x, b.node("Mul", x, b.weight(5)))


def _broadcast(b):
    """The constant makes the result larger."""
    x = b.node("ReduceMean", b.node("MatMul", _rows(b), b.weight(3, 1)), b.const(np.array([1])))
    return b.node("Mul", x, b.weight(5))


def _activated(b):
    return b.node("Mul", b.node("Relu", b.node("MatMul", _rows(b), b.weight(3, 5))), b.weight(5))


def _groups(b):
    return b.node("Mul", b.node("ConvTranspose", "image", b.weight(3, 2, 2, 2), group=3), b.weight(6, 1, 1))


def _bias_of_rows(b):
    x = b.node("Add", b.node("MatMul", _rows(b), b.weight(3, 5)), b.weight(64, 5))
    return b.node("Mul", x, b.weight(5))


@pytest.mark.parametrize("make", [_by_row, _square, _read_twice, _broadcast, _activated, _groups, _bias_of_rows])
def test_what_stays(make):
    b = Builder()
    assert "Mul" in _check(b, make(b), 0)
