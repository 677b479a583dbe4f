"""Logits cut to a window, against slicing what onnxruntime computes."""

import numpy as np
import pytest

from edgemtl.partition.cut import sweep
from edgemtl.partition.narrow import narrow
from tests.partition.handmade import Builder, images, run

ROWS, WIDTH, EXPERTS = 32, 6, 8


def _rows(b):
    return b.node("Reshape", "image", b.const(np.array([ROWS, WIDTH])))


def _matmul(b):
    return b.node("MatMul", _rows(b), b.weight(WIDTH, EXPERTS))


def _gemm(b):
    return b.node("Gemm", _rows(b), b.weight(WIDTH, EXPERTS), b.weight(EXPERTS), alpha=0.5, beta=2.0)


def _gemm_transposed(b):
    return b.node("Gemm", _rows(b), b.weight(EXPERTS, WIDTH), b.weight(1, EXPERTS), transB=1)


def _gemm_one_bias(b):
    return b.node("Gemm", _rows(b), b.weight(WIDTH, EXPERTS), b.weight(1))


def _bias(b):
    return b.node("Add", b.weight(EXPERTS), _matmul(b))


def _scaled(b):
    return b.node("Div", b.node("Mul", _matmul(b), b.const(np.float32(3))), b.weight(1, EXPERTS))


def _less_row(b):
    return b.node("Sub", b.weight(ROWS, 1), _matmul(b))


def _reshaped(b):
    x = b.node("Reshape", "image", b.const(np.array([1, ROWS, WIDTH])))
    return b.node("Reshape", b.node("MatMul", x, b.weight(WIDTH, EXPERTS)), b.const(np.array([-1, EXPERTS])))


CUT = (_matmul, _gemm, _gemm_transposed, _gemm_one_bias, _bias, _scaled, _less_row, _reshaped)


def _opaque(b):
    return b.node("Softplus", _matmul(b))


def _two_computed(b):
    return b.node("Add", _matmul(b), _matmul(b))


def _reshape_mixes(b):
    wide = b.node("MatMul", _rows(b), b.weight(WIDTH, 2 * EXPERTS))
    return b.node("Reshape", wide, b.const(np.array([2 * ROWS, EXPERTS])))


def _computed_gate(b):
    return b.node("MatMul", _rows(b), b.node("Mul", b.weight(WIDTH, EXPERTS), b.node("ReduceMax", "image", keepdims=0)))


SLICED = (_opaque, _two_computed, _reshape_mixes, _computed_gate)


def _check(make, first, size):
    b = Builder()
    model = b.graph({b.node("Identity", make(b), out="logits"): None})
    expected = [run(model, image)[0][:, first : first + size] for image in images(2)]
    end = model.graph[-1]
    cut = narrow(model.graph, end.inputs[0], first, size)
    end.replace_input_with(0, cut)
    end.outputs[0].shape = cut.shape
    sweep(model)
    assert cut.shape.numpy()[-1] == size
    for image, wanted in zip(images(2), expected, strict=True):
        np.testing.assert_allclose(run(model, image)[0], wanted, rtol=1e-5, atol=1e-5)
    return [node.op_type for node in model.graph]


@pytest.mark.parametrize("make", CUT)
@pytest.mark.parametrize(("first", "size"), [(0, 3), (2, 4), (5, 3)])
def test_the_gate_itself_is_cut(make, first, size):
    assert "Slice" not in _check(make, first, size)


@pytest.mark.parametrize("make", SLICED)
def test_what_cannot_be_looked_through_is_sliced(make):
    assert "Slice" in _check(make, 2, 4)


def test_logits_others_read_are_sliced():
    b = Builder()
    logits = _matmul(b)
    model = b.graph({b.node("Identity", logits): None, b.node("Relu", logits): None})
    narrow(model.graph, model.graph[-1].inputs[0], 0, 4)
    assert [node.op_type for node in model.graph] == ["Reshape", "MatMul", "Slice", "Identity", "Relu"]


def test_an_input_is_sliced():
    b = Builder()
    model = b.graph({b.node("Relu", "image"): None})
    cut = narrow(model.graph, model.graph.inputs[0], 1, 5)
    model.graph[-1].replace_input_with(0, cut)
    model.graph.outputs[0].shape = cut.shape
    (image,) = images(1)
    np.testing.assert_array_equal(run(model, image)[0], np.maximum(image["image"][..., 1:6], 0))
