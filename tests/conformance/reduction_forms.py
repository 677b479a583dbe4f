"""Forms of reductions, softmax and arg max."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from tests.conformance.form import Computed, Form
from tests.conformance.opsets import opsets_of

SHAPE = (2, 3, 4, 5)
REDUCTIONS = (
    "ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp ReduceMax ReduceMean ReduceMin ReduceProd ReduceSum ReduceSumSquare"
).split()
AXES: tuple[tuple[int, ...], ...] = ((1,), (-1,), (2, 3), (0, 2), (3, 1), (0, 1, 2, 3))


def takes_axes_as_operand(op: str, opset: int) -> bool:
    return opset >= (13 if op == "ReduceSum" else 18)


def forms() -> Iterator[Form]:
    for op in REDUCTIONS:
        x = Computed(SHAPE, "float32")
        if op == "ReduceLogSum":
            x = Computed(SHAPE, "int64", bound=9)
        for opset in opsets_of(op):
            if op == "ReduceLogSum":
                continue
            yield Form(op, opset, (x,), {"keepdims": 0}, label="to a scalar")
            yield Form(op, opset, (x,), {"keepdims": 1}, label="everything")
            for keepdims in (0, 1):
                for axes in AXES:
                    if takes_axes_as_operand(op, opset):
                        operands = (x, np.array(axes, np.int64))
                        yield Form(op, opset, operands, {"keepdims": keepdims}, label=f"axes {axes}")
                    else:
                        yield Form(op, opset, (x,), {"keepdims": keepdims, "axes": list(axes)})
            if takes_axes_as_operand(op, opset):
                yield Form(op, opset, (x,), {"noop_with_empty_axes": 1})
                yield Form(op, opset, (x, np.zeros(0, np.int64)), {"noop_with_empty_axes": 1}, label="empty axes")
                yield Form(op, opset, (x, np.zeros(0, np.int64)), {}, label="empty axes")
            yield Form(op, opset, (Computed((4, 9), special=True),), label="NaN and infinity")
    yield Form("ReduceMax", 20, (Computed((3, 4), "bool"), np.array([1], np.int64)))
    yield Form("ReduceSum", 20, (Computed((3, 4), "int64"), np.array([1], np.int64)))
    yield Form("ReduceMean", 20, (Computed((3, 4), "int32"), np.array([1], np.int64)))
    yield Form("ReduceMax", 20, (Computed((1, 1, 512, 512)),), {"keepdims": 0}, label="large, to a scalar")
    # onnxruntime adds up in float32 and is the one that is off.
    large = Computed((1, 1, 512, 512))
    yield Form("ReduceSum", 20, (large,), {"keepdims": 0}, label="large, to a scalar", tolerance=1e-5)
    yield Form("ReduceMean", 20, (Computed((1, 64, 32, 32)), np.array([2, 3], np.int64)), label="global mean")
    yield from _along_an_axis()


def _along_an_axis() -> Iterator[Form]:
    for op in ("Softmax", "LogSoftmax", "Hardmax"):
        for opset in opsets_of(op):
            for axis in (0, 1, 2, 3, -1, -2):
                if axis >= 0 or opset >= 11:
                    yield Form(op, opset, (Computed(SHAPE, scale=4.0),), {"axis": axis})
            yield Form(op, opset, (Computed(SHAPE),), label="default axis")
            yield Form(op, opset, (Computed(SHAPE, scale=200.0),), label="large logits")
    for op in ("ArgMax", "ArgMin"):
        for opset in opsets_of(op):
            for axis in (0, 1, 3):
                for keepdims in (0, 1):
                    yield Form(op, opset, (Computed(SHAPE),), {"axis": axis, "keepdims": keepdims})
            if opset >= 12:
                for last in (0, 1):
                    ties = (Computed(SHAPE, "int32", bound=2),)
                    yield Form(op, opset, ties, {"axis": 1, "select_last_index": last}, label="ties")
