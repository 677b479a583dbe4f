"""Forms of running sums, of the largest k and of scattered writes."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from tests.conformance.form import Computed, Form
from tests.conformance.opsets import opsets_of

SHAPE = (2, 3, 4, 5)
REDUCTIONS = {16: ("none", "add", "mul"), 18: ("none", "add", "mul", "max", "min")}


def forms() -> Iterator[Form]:
    for opset in opsets_of("CumSum"):
        for axis in (0, 1, 3, -1):
            for exclusive in (0, 1):
                for reverse in (0, 1):
                    attributes = {"exclusive": exclusive, "reverse": reverse}
                    yield Form("CumSum", opset, (Computed(SHAPE), np.array(axis)), attributes, label=f"axis {axis}")
        yield Form("CumSum", opset, (Computed(SHAPE, "int64"), np.array([1])), label="integers")
    for opset in opsets_of("CumProd"):
        for exclusive in (0, 1):
            yield Form("CumProd", opset, (Computed(SHAPE), np.array(1)), {"exclusive": exclusive})
    yield from _top_k()
    yield from _scatters()


def _top_k() -> Iterator[Form]:
    for opset in opsets_of("TopK"):
        for axis in (0, 1, 3, -1):
            for k in (1, 2):
                for output in (0, 1):
                    operands = (Computed(SHAPE), np.array([k], np.int64)) if opset >= 10 else (Computed(SHAPE),)
                    attributes = {"axis": axis} | ({} if opset >= 10 else {"k": k})
                    label = f"k {k}, {('values', 'indices')[output]}"
                    yield Form("TopK", opset, operands, attributes, outputs=2, output=output, label=label)
        if opset >= 11:
            for output in (0, 1):
                operands = (Computed(SHAPE, "int64", bound=3), np.array([3]))
                attributes = {"axis": 3, "largest": 0}
                label = f"smallest, ties, {output}"
                yield Form("TopK", opset, operands, attributes, outputs=2, output=output, label=label)


def _reductions(opset: int) -> tuple[str, ...]:
    return REDUCTIONS[18] if opset >= 18 else REDUCTIONS[16] if opset >= 16 else ()


def _scatters() -> Iterator[Form]:
    data, updates = Computed((4, 5)), Computed((2, 3))
    unique = np.array([[0, 3, 1], [2, 1, -1]])
    for opset in opsets_of("ScatterElements"):
        for axis in (0, 1):
            yield Form("ScatterElements", opset, (data, unique, updates), {"axis": axis})
            for reduction in _reductions(opset):
                operands = (data, Computed((2, 3), "int64", bound=4), updates)
                yield Form("ScatterElements", opset, operands, {"axis": axis, "reduction": reduction}, label="computed")
    for opset in opsets_of("ScatterND"):
        operands = (data, np.array([[1], [3]]), Computed((2, 5)))
        yield Form("ScatterND", opset, operands)
        yield Form("ScatterND", opset, (data, np.array([[1, 2], [3, -1], [0, 0]]), Computed((3,))), label="elements")
        for reduction in _reductions(opset):
            operands = (data, np.array([[1], [3], [1]]), Computed((3, 5)))
            yield Form("ScatterND", opset, operands, {"reduction": reduction}, label="twice the same")
    for opset in (9, 10):
        yield Form("Scatter", opset, (data, np.array([[0, 3, 1], [2, 1, 0]]), updates), {"axis": 1})
