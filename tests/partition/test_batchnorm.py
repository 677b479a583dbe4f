"""BatchNorm folded into layers, or as a scale and a shift, against onnxruntime on the graph as it was."""

import numpy as np
import pytest

from edgemtl.partition.batchnorm import fold_batchnorms
from edgemtl.partition.cut import sweep
from tests.partition.handmade import Builder, images, run


def _check(model, folded):
    before = [run(model, image) for image in images(2)]
    assert fold_batchnorms(model.graph) == folded
    sweep(model)
    for image, expected in zip(images(2), before, strict=True):
        for one, other in zip(run(model, image), expected, strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-5)
    return [node.op_type for node in model.graph]


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("options", [{}, {"group": 3}, {"strides": [2, 2], "pads": [1, 0, 1, 2]}])
def test_convolutions_take_their_norm_in(bias, options):
    b = Builder()
    filters = b.weight(6, 3 // options.get("group", 1), 3, 3)
    x = b.node("Conv", "image", filters, *([b.weight(6)] if bias else []), **options)
    y = b.node("Relu", b.norm(x, 6, epsilon=0.01))
    model = b.graph({y: None})
    assert _check(model, 1) == ["Conv", "Relu"]
    assert len(model.graph.initializers) == 2


def test_a_norm_at_the_end_leaves_the_output_its_name():
    b = Builder()
    y = b.norm(b.node("Conv", "image", b.weight(4, 3, 1, 1)), 4, out="t0")
    model = b.graph({y: None})
    assert _check(model, 1) == ["Conv"]
    assert [value.name for value in model.graph.outputs] == ["t0"]


def test_norms_one_behind_the_other():
    b = Builder()
    x = b.norm(b.node("Conv", "image", b.weight(4, 3, 1, 1)), 4)
    model = b.graph({b.norm(x, 4): None})
    assert _check(model, 2) == ["Conv"]


def test_weights_two_convolutions_share_are_folded_apart():
    b = Builder()
    filters = b.weight(3, 3, 1, 1)
    x = b.norm(b.node("Conv", "image", filters), 3)
    model = b.graph({b.norm(b.node("Conv", x, filters), 3): None})
    assert _check(model, 2) == ["Conv", "Conv"]


def test_what_others_read_stays_as_it_is():
    b = Builder()
    x = b.node("Conv", "image", b.weight(4, 3, 1, 1))
    model = b.graph({b.node("Add", x, b.norm(x, 4)): None})
    assert _check(model, 0) == ["Conv", "Mul", "Add", "Add"]


def test_a_norm_without_a_layer_is_a_scale_and_a_shift():
    b = Builder()
    model = b.graph({b.norm(b.node("Relu", "image"), 3, out="t0"): None})
    assert _check(model, 0) == ["Relu", "Mul", "Add"]
    assert [value.name for value in model.graph.outputs] == ["t0"]


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("group", [1, 3])
def test_transposed_convolutions_take_their_norm_in_unless_in_groups(bias, group):
    b = Builder()
    x = b.node("ConvTranspose", "image", b.weight(3, 2, 2, 2), *([b.weight(2 * group)] if bias else []), group=group)
    model = b.graph({b.norm(x, 2 * group): None})
    ops = _check(model, int(group == 1))
    assert ops == (["ConvTranspose"] if group == 1 else ["ConvTranspose", "Mul", "Add"])


@pytest.mark.parametrize(
    ("options", "bias", "folded"),
    [
        ({"transB": 1}, (5,), 1),
        ({}, (1, 5), 1),
        ({}, (1,), 1),
        ({}, None, 1),
        ({"beta": 0.5}, (5,), 0),
        ({}, (8, 5), 0),
        ({}, (8, 1), 0),
    ],
)
def test_matrix_products_take_their_norm_in(options, bias, folded):
    b = Builder()
    rows = b.node("Reshape", "image", b.const(np.array([8, 24])))
    weight = b.weight(*((5, 24) if options.get("transB") else (24, 5)))
    x = b.node("Gemm", rows, weight, *([b.weight(*bias)] if bias else []), **options)
    model = b.graph({b.norm(x, 5): None})
    assert _check(model, folded) == ["Reshape", "Gemm", *([] if folded else ["Mul", "Add"])]


def test_computed_in_double_and_rounded_once():
    b = Builder()
    filters = np.float32([[[[3.0]], [[1e-3]], [[7.0]]]])
    x = b.node("Conv", "image", b.const(filters))
    scale, shift, mean, variance = (np.float32([v]) for v in (1.7, 0.3, -1.1, 2e-4))
    y = b.node("BatchNormalization", x, *(b.const(v) for v in (scale, shift, mean, variance)), epsilon=1e-6)
    model = b.graph({y: None})
    fold_batchnorms(model.graph)
    factor = float(scale[0]) / np.sqrt(float(variance[0]) + float(np.float32(1e-6)))
    conv = model.graph[0]
    np.testing.assert_array_equal(conv.inputs[1].const_value.numpy(), (filters * np.float64(factor)).astype(np.float32))
    expected = np.float32([(0 - float(mean[0])) * factor + float(shift[0])])
    np.testing.assert_array_equal(conv.inputs[2].const_value.numpy(), expected)
