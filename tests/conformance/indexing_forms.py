"""Forms of operators that move elements, and of products."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from tests.conformance.form import Computed, Form
from tests.conformance.opsets import opsets_of

SHAPE = (2, 3, 4, 5)
X = Computed(SHAPE)


def whole(*values: int) -> np.ndarray:
    return np.array(values, np.int64)


def forms() -> Iterator[Form]:
    yield from _gathers()
    yield from _slices()
    yield from _shapes()
    yield from _products()


def _gathers() -> Iterator[Form]:
    for opset in opsets_of("Gather"):
        for axis in (0, 1, 3):
            yield Form("Gather", opset, (X, whole(1, 0)), {"axis": axis})
            yield Form("Gather", opset, (X, np.array(1)), {"axis": axis}, label="one index")
            yield Form("Gather", opset, (X, np.array([[1, 0], [0, 1]], np.int32)), {"axis": axis}, label="int32")
        yield Form("Gather", opset, (X, Computed((2, 2), "int64", bound=3)), {"axis": 1}, label="computed")
        if opset >= 11:
            yield Form("Gather", opset, (X, whole(-1, -2)), {"axis": -2}, label="from the end")
    for opset in opsets_of("GatherElements"):
        for axis in (0, 1, -1):
            yield Form("GatherElements", opset, (Computed((3, 4)), Computed((3, 4), "int64", bound=3)), {"axis": axis})
            yield Form("GatherElements", opset, (Computed((3, 4)), np.array([[0, -1], [1, 0]])), {"axis": axis})
    for opset in opsets_of("GatherND"):
        yield Form("GatherND", opset, (X, np.array([[0, 1], [1, 2]])))
        yield Form("GatherND", opset, (X, np.array([[1, 2, 3, 4]])), label="elements")
        yield Form("GatherND", opset, (X, np.array([[0], [-1]])), label="from the end")
        yield Form("GatherND", opset, (X, Computed((3, 1), "int64", bound=2)), label="computed")
        if opset >= 12:
            yield Form("GatherND", opset, (X, np.array([[[1], [2]], [[0], [1]]])), {"batch_dims": 1})
    for opset in opsets_of("OneHot"):
        for axis in (-1, 0, 1):
            operands = (Computed((3, 4), "int64", bound=6), np.array(5), np.array([-1, 2], np.float32))
            yield Form("OneHot", opset, operands, {"axis": axis})
        operands = (Computed((3, 4), bound=6, whole=True), np.array(5), np.array([0, 1], np.float32))
        yield Form("OneHot", opset, operands, label="float indices")
        operands = (np.array([1, 2, 0]), np.array([5]), Computed((2,)))
        yield Form("OneHot", opset, operands, label="computed values")


def _slices() -> Iterator[Form]:
    cases = {
        "plain": ((1, 0), (3, 2), (1, 2), (1, 1)),
        "steps": ((0, 1), (4, 100), (2, 3), (2, 3)),
        "backwards": ((-1,), (-100,), (3,), (-1,)),
        "backwards by two": ((3, 1), (0, -100), (2, 1), (-2, -1)),
        "from the end": ((-3,), (-1,), (-1,), (1,)),
    }
    for opset in opsets_of("Slice"):
        for label, (starts, ends, axes, steps) in cases.items():
            if opset < 10:
                if all(step == 1 for step in steps) and min(axes) >= 0:
                    attributes = {"starts": list(starts), "ends": list(ends), "axes": list(axes)}
                    yield Form("Slice", opset, (X,), attributes, label=label)
            elif opset >= 11 or min(axes) >= 0:
                operands = (X, whole(*starts), whole(*ends), whole(*axes), whole(*steps))
                yield Form("Slice", opset, operands, label=label)
    for opset in opsets_of("Split"):
        for axis, sizes in ((1, (1, 2)), (3, (2, 3)), (3, (1, 4)), (0, (1, 1))):
            for output in (0, 1):
                attributes = {"axis": axis} | ({} if opset >= 13 else {"split": list(sizes)})
                operands = (X, whole(*sizes)) if opset >= 13 else (X,)
                yield Form("Split", opset, operands, attributes, outputs=2, output=output, label=f"{sizes} {output}")
        if opset >= 18:
            for output in (0, 1):
                halves = {"axis": 3, "num_outputs": 2}
                yield Form("Split", opset, (X,), halves, outputs=2, output=output, label=f"{output}")
    for opset in opsets_of("Concat"):
        for axis in (0, 1, 3):
            yield Form("Concat", opset, (X, X), {"axis": axis})
            other = np.linspace(-1, 1, 120, dtype=np.float32).reshape(SHAPE)
            yield Form("Concat", opset, (other, X, other), {"axis": axis}, label="with constants")
        if opset >= 11:
            yield Form("Concat", opset, (X, X), {"axis": -2})
        yield Form("Concat", opset, (Computed((3, 4), "bool"), Computed((3, 4), "bool")), {"axis": 1}, label="bool")


def _shapes() -> Iterator[Form]:
    for opset in opsets_of("Transpose"):
        for perm in ([3, 1, 0, 2], [0, 2, 3, 1]):
            yield Form("Transpose", opset, (X,), {"perm": perm})
        yield Form("Transpose", opset, (X,), label="reversed")
        yield Form("Transpose", opset, (Computed((3, 4), "bool"),), label="bool")
    for opset in opsets_of("Reshape"):
        for shape in ((6, 20), (0, -1), (2, 3, 4, 5, 1), (-1,)):
            yield Form("Reshape", opset, (X, whole(*shape)), label=f"to {shape}")
    for opset in opsets_of("Flatten"):
        for axis in (0, 1, 2, 4):
            yield Form("Flatten", opset, (X,), {"axis": axis})
    y = Computed((2, 1, 4, 1))
    for opset in opsets_of("Squeeze"):
        for axes in ((1,), (1, 3)):
            attributes, operands = ({}, (y, whole(*axes))) if opset >= 13 else ({"axes": list(axes)}, (y,))
            yield Form("Squeeze", opset, operands, attributes, label=f"axes {axes}")
        yield Form("Squeeze", opset, (y,), label="all")
    for opset in opsets_of("Unsqueeze"):
        for axes in ((0,), (1, 3)):
            attributes, operands = ({}, (X, whole(*axes))) if opset >= 13 else ({"axes": list(axes)}, (X,))
            yield Form("Unsqueeze", opset, operands, attributes, label=f"axes {axes}")
    for opset in opsets_of("Expand"):
        yield Form("Expand", opset, (Computed((3, 1)), whole(2, 3, 4)))
        yield Form("Expand", opset, (Computed((2, 3, 4)), whole(1, 4)), label="smaller")
    for opset in opsets_of("Tile"):
        yield Form("Tile", opset, (X, whole(1, 2, 1, 3)))
    for opset in opsets_of("Trilu"):
        for upper in (0, 1):
            for k in (-1, 0, 2):
                yield Form("Trilu", opset, (Computed((2, 4, 5)), np.array(k)), {"upper": upper}, label=f"k {k}")
    for opset in opsets_of("ReverseSequence"):
        for batch, time in ((0, 1), (1, 0)):
            attributes = {"batch_axis": batch, "time_axis": time}
            yield Form("ReverseSequence", opset, (Computed((4, 4, 3)), whole(1, 3, 2, 4)), attributes)
    for opset in opsets_of("EyeLike"):
        yield Form("EyeLike", opset, (Computed((3, 4)),), {"k": 1})


def _products() -> Iterator[Form]:
    matrix = (4, 5)
    shapes = (
        ((3, 4), matrix),
        ((2, 3, 4), matrix),
        ((2, 1, 3, 4), (3, 4, 5)),
        ((4,), matrix),
        ((3, 4), (4,)),
        ((2, 3, 4), (2, 4, 5)),
    )
    for opset in opsets_of("MatMul"):
        for a, b in shapes:
            yield Form("MatMul", opset, (Computed(a), Computed(b)))
            weights = np.linspace(-1, 1, int(np.prod(b)), dtype=np.float32).reshape(b)
            yield Form("MatMul", opset, (Computed(a), weights), label="constant")
    for opset in opsets_of("Gemm"):
        for turned in (0, 1):
            for c in ((5,), (3, 1), (1, 5), (3, 5), ()):
                a, b = ((4, 3), (5, 4)) if turned else ((3, 4), (4, 5))
                attributes = {"transA": turned, "transB": turned, "alpha": 0.5, "beta": 2.0}
                bias = Computed(c) if c else np.array([0.75], np.float32)
                yield Form("Gemm", opset, (Computed(a), Computed(b), bias), attributes)
                weights = np.linspace(-1, 1, 20, dtype=np.float32).reshape(b)
                constant = np.linspace(-1, 1, int(np.prod(c)), dtype=np.float32).reshape(c)
                yield Form("Gemm", opset, (Computed(a), weights, constant), attributes, label="constant")
        if opset >= 11:
            yield Form("Gemm", opset, (Computed((3, 4)), Computed((4, 5))), label="no bias")
    equations = {
        "ij,jk->ik": ((3, 4), (4, 5)),
        "bij,bjk->bik": ((2, 3, 4), (2, 4, 5)),
        "bchw,bdhw->bcd": (SHAPE, SHAPE),
        "...ij,...jk->...ik": ((2, 3, 4), (2, 4, 5)),
        "ij->ji": ((3, 4),),
        "ii->i": ((4, 4),),
        "ij,jk": ((3, 4), (4, 5)),
        "i,j->ij": ((3,), (4,)),
        "ij->": ((3, 4),),
        "abc,cd,de->abe": ((2, 3, 4), (4, 5), (5, 2)),
        "...c,cd->...d": (SHAPE, (5, 2)),
    }
    for opset in opsets_of("Einsum"):
        for equation, operands in equations.items():
            yield Form("Einsum", opset, tuple(Computed(shape) for shape in operands), {"equation": equation})
