"""Files that contradict ONNX's rules: the node and the rule, before anything is lowered."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper

from edgemtl.errors import ModelError
from edgemtl.frontend import read_model
from edgemtl.frontend.consistency import check_consistency
from tests.frontend.test_refusals import model


def conv(w, kernel=(3, 3), **attributes):
    return w.op("Conv", "image", w.const(np.ones((2, 3, 3, 3), np.float32)), kernel_shape=[*kernel], **attributes)


def bounds(w):
    """The first two channels, for Slice."""
    return w.ints(0), w.ints(2), w.ints(1)


CONTRADICTIONS = [
    (
        lambda w: w.op("Reshape", "image", w.ints(1, 3, 4, 5)),
        "the output of node Reshape_0 must have the 48 elements of its input [1, 3, 4, 4], not [1, 3, 4, 5]; check the",
    ),
    (
        lambda w: w.op("Transpose", "image", perm=[0, 2, 1]),
        "node Transpose_0: perm must order the 4 axes of its input, not be [0, 2, 1]",
    ),
    (
        lambda w: conv(w, (2, 3), pads=[1] * 4),
        "node Conv_0: kernel_shape must be that of its weights, [3, 3], not [2, 3]",
    ),
    (
        lambda w: conv(w, pads=[0] * 4, dilations=[1, 2], strides=[2, 2]),
        "node Conv_0: its window [3, 5] must fit into its padded input [4, 4]",
    ),
    (
        lambda w: w.op("Conv", "image", w.const(np.ones((2, 3, 1, 1))), "image"),
        "node Conv_0: its bias must be of shape [2], not [1, 3, 4, 4]",
    ),
    (
        lambda w: w.op("GatherElements", "image", w.ints(0, 1), axis=1),
        "node GatherElements_0: indices and updates must be of one shape of rank 4, not [2]",
    ),
    (
        lambda w: w.op("ScatterElements", "image", w.op("Cast", "image", to=7), w.op("Slice", "image", *bounds(w))),
        "node ScatterElements_2: indices and updates must be of one shape of rank 4, not [1, 3, 4, 4] and [1, 2, 4, 4]",
    ),
]


@pytest.mark.parametrize(("write", "message"), CONTRADICTIONS, ids=[message[:40] for _, message in CONTRADICTIONS])
def test_a_node_that_contradicts_itself_is_refused(tmp_path, write, message):
    with pytest.raises(ModelError) as error:
        read_model(model(tmp_path, write))
    assert str(error.value).startswith(message)


def test_operands_that_do_not_fit_are_refused_whatever_is_recorded_of_the_result():
    values = [helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in (("a", [5, 6, 24]), ("b", [5, 1, 6]))]
    result = helper.make_tensor_value_info("c", TensorProto.FLOAT, [5, 6, 24])
    graph = helper.make_graph([helper.make_node("Mul", ["a", "b"], ["c"], name="scale")], "g", values, [result])
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)])
    with pytest.raises(ModelError, match=r"node scale must be valid by ONNX's rules, and is not: .*Incompatible"):
        check_consistency(ir.from_proto(proto))
