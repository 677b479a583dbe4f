"""Operators that run in order: running sums, the largest k, scattered writes."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from tvm import tirx
from tvm.script.ir_builder import tirx as T

from edgemtl.tvm_bridge.generic import mathematics as m
from edgemtl.tvm_bridge.generic.call import Call, Definition, Expr, Loops, Refused
from edgemtl.tvm_bridge.generic.indexing import bounded, ravel, unravel
from edgemtl.tvm_bridge.generic.reduction import axis_of
from edgemtl.tvm_bridge.kernels.emit import guarded, local, parallel

Buffer = Any
Joined = Callable[[Expr, Expr], Expr]
REDUCTIONS: dict[str, Joined] = {
    "none": lambda old, new: new,
    "add": lambda old, new: old + new,
    "mul": lambda old, new: old * new,
    "max": m.maximum,
    "min": m.minimum,
}


def _lines(shape: Sequence[int], axis: int) -> tuple[int, int, int]:
    """A tensor as [outer, length, inner] around an axis."""
    return math.prod(shape[:axis]), shape[axis], math.prod(shape[axis + 1 :])


def running(join: Joined, start: int) -> Definition:
    """CumSum and CumProd: along a constant axis, from either end, with or without the element itself."""

    def define(call: Call) -> Loops:
        shape, dtype = call.main_type.shape, call.main_type.dtype
        (axis,) = call.integers("axis") or (0,)
        outer, length, inner = _lines(shape, axis % len(shape))
        exclusive, reverse = call.attribute("exclusive", 0), call.attribute("reverse", 0)
        wide = "float64" if dtype == "float32" else dtype
        call.main()

        def body(x: Buffer, y: Buffer) -> None:
            with parallel(outer * inner) as line, guarded(line < outer * inner):
                total = local(1, wide)
                T.buffer_store(total, tirx.const(start, wide), [0])
                with T.serial(length) as step:
                    along = length - 1 - step if reverse else step
                    place = tirx.floordiv(line, inner) * (length * inner) + along * inner + tirx.floormod(line, inner)
                    value = T.bind(x[place].astype(wide))
                    if exclusive:
                        T.buffer_store(y, total[0].astype(dtype), [place])
                        T.buffer_store(total, join(total[0], value), [0])
                    else:
                        T.buffer_store(total, join(total[0], value), [0])
                        T.buffer_store(y, total[0].astype(dtype), [place])

        return Loops(body)

    return define


def top_k(call: Call) -> Loops:
    """The k largest or smallest along an axis and their indices, best first, the first of equals before the others."""
    shape = call.main_type.shape
    (k,) = call.integers("K") or (0,)
    outer, length, inner = _lines(shape, axis_of(call, -1))
    largest = call.attribute("largest", 1)
    call.given("sorted")  # an order is one of those that an unsorted result may have
    call.main()

    def better(a: Expr, b: Expr) -> Expr:
        return a > b if largest else a < b

    def body(x: Buffer, values: Buffer, indices: Buffer) -> None:
        with parallel(outer * inner) as line, guarded(line < outer * inner):
            high, low = tirx.floordiv(line, inner), tirx.floormod(line, inner)

            def place(j: Expr) -> Expr:
                return high * (k * inner) + j * inner + low

            with T.serial(length) as i:
                value = T.bind(x[high * (length * inner) + i * inner + low])
                rank = local(1, "int32")
                T.buffer_store(rank, tirx.const(0, "int32"), [0])
                with T.serial(k) as j, guarded(tirx.all(j < i, tirx.Not(better(value, values[place(j)])))):
                    T.buffer_store(rank, j + 1, [0])
                with guarded(rank[0] < k):
                    with T.serial(k - 1) as back, guarded(k - 1 - back > rank[0]):
                        T.buffer_store(values, values[place(k - 2 - back)], [place(k - 1 - back)])
                        T.buffer_store(indices, indices[place(k - 2 - back)], [place(k - 1 - back)])
                    T.buffer_store(values, value, [place(rank[0])])
                    T.buffer_store(indices, i.astype("int64"), [place(rank[0])])

    return Loops(body)


def _joined(call: Call) -> Joined:
    reduction = call.attribute("reduction", "none")
    if reduction not in REDUCTIONS:
        raise Refused(f"reduction of {call.op} must be one of {', '.join(REDUCTIONS)}, not {reduction}")
    return REDUCTIONS[reduction]


def _scatter(call: Call, places: Callable[[Buffer, Expr], Expr], counts: tuple[int, int]) -> Loops:
    """A copy of the data, then updates one after the other: update e goes to places(indices, e)."""
    join, size, updates = _joined(call), call.main_type.size, math.prod(counts)
    call.tensors()

    def body(*buffers: Buffer) -> None:
        data, indices, new = call.ordered(buffers)
        y = buffers[-1]
        with T.serial(size) as i:
            T.buffer_store(y, data[i], [i])
        with T.serial(updates) as e:
            place = T.bind(places(indices, e))
            T.buffer_store(y, join(y[place], new[e]), [place])

    return Loops(body)


def scatter_elements(call: Call) -> Loops:
    """Every update to the place of its own index, with the index along one axis taken from ``indices``."""
    shape, own, axis = call.main_type.shape, call.type_of("indices").shape, axis_of(call, 0)

    def place(indices: Buffer, e: Expr) -> Expr:
        at = unravel(e, own)
        at[axis] = bounded(indices[e], shape[axis]).astype("int32")
        return ravel(at, shape)

    return _scatter(call, place, (call.type_of("indices").size, 1))


def scatter_nd(call: Call) -> Loops:
    """Every slice of the updates to the place that a tuple of indices names."""
    shape, (*outer, depth) = call.main_type.shape, call.type_of("indices").shape
    rows, inner = math.prod(outer), math.prod(shape[depth:])

    def place(indices: Buffer, e: Expr) -> Expr:
        row, column = tirx.floordiv(e, inner), tirx.floormod(e, inner)
        chosen = [bounded(indices[row * depth + d], shape[d]).astype("int32") for d in range(depth)]
        return ravel(chosen, shape[:depth]) * inner + column

    return _scatter(call, place, (rows, inner))


OPERATORS: dict[str, Definition] = {
    "CumProd": running(lambda a, b: a * b, 1),
    "CumSum": running(lambda a, b: a + b, 0),
    "ScatterElements": scatter_elements,
    "ScatterND": scatter_nd,
    "TopK": top_k,
}
