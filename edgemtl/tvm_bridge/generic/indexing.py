"""Operators that move elements and compute none: gathers, slices, tiles.

Indices out of range are clamped: no input reads out of bounds.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import accumulate
from typing import Any

from tvm import te, tirx
from tvm.script.ir_builder import tirx as T

from edgemtl.tvm_bridge.generic import mathematics as m
from edgemtl.tvm_bridge.generic.call import Call, Definition, Expr, Loops, Refused, Tensor
from edgemtl.tvm_bridge.generic.reduction import axis_of


def bounded(index: Expr, size: int) -> Expr:
    """An index that may count from the end, inside of 0 .. size - 1 whatever it is."""
    counted = tirx.Select(index < m.const(0, index), index + m.const(size, index), index)
    return tirx.max(tirx.min(counted, m.const(size - 1, index)), m.const(0, index))


def gather(call: Call) -> Tensor:
    """Slices of an axis by an index tensor of any shape."""
    x, indices, axis = call.main(), call.tensor("indices"), axis_of(call, 0)
    shape, rank = call.main_type.shape, len(call.type_of("indices").shape)

    def element(*at: Expr) -> Expr:
        chosen = bounded(indices(*at[axis : axis + rank]), shape[axis])
        return x(*at[:axis], chosen, *at[axis + rank :])

    return te.compute((*shape[:axis], *call.type_of("indices").shape, *shape[axis + 1 :]), element, name="gather")


def gather_elements(call: Call) -> Tensor:
    """One element along an axis for every index."""
    x, indices, axis = call.main(), call.tensor("indices"), axis_of(call, 0)
    size = call.main_type.shape[axis]

    def element(*at: Expr) -> Expr:
        return x(*at[:axis], bounded(indices(*at), size), *at[axis + 1 :])

    return te.compute(call.type_of("indices").shape, element, name="gather_elements")


def gather_nd(call: Call) -> Tensor:
    """Slices by tuples of indices, behind ``batch_dims`` common axes."""
    x, indices, batch = call.main(), call.tensor("indices"), call.attribute("batch_dims", 0)
    (*outer, depth), shape = call.type_of("indices").shape, call.main_type.shape

    def element(*at: Expr) -> Expr:
        rows, rest = at[: len(outer)], at[len(outer) :]
        chosen = [bounded(indices(*rows, d), shape[batch + d]) for d in range(depth)]
        return x(*at[:batch], *chosen, *rest)

    return te.compute((*outer, *shape[batch + depth :]), element, name="gather_nd")


def slice_(call: Call) -> Tensor:
    """From start to end by a step on each of the axes; constants all."""
    x, shape, (output,) = call.main(), call.main_type.shape, call.outputs
    starts = call.integers("starts") or ()
    axes = call.integers("axes") or tuple(range(len(starts)))
    steps = call.integers("steps") or (1,) * len(starts)
    call.integers("ends")  # the shape of the output says it
    begin, stride = [0] * len(shape), [1] * len(shape)
    for axis, start, step in zip(axes, starts, steps, strict=True):
        size = shape[axis]
        lowest, highest = (0, size) if step > 0 else (0, size - 1)
        begin[axis], stride[axis] = min(max(start + size if start < 0 else start, lowest), highest), step

    def element(*at: Expr) -> Expr:
        return x(*(b + i * s for b, i, s in zip(begin, at, stride, strict=True)))

    return te.compute(output.shape, element, name="slice")


def split(call: Call) -> list[Tensor]:
    """Pieces along an axis; the shapes of the outputs say where."""
    call.given("num_outputs"), call.integers("split")
    x, axis = call.main(), axis_of(call, 0)
    sizes = [output.shape[axis] for output in call.outputs]

    def piece(first: int, shape: Sequence[int]) -> Tensor:
        return te.compute(shape, lambda *at: x(*at[:axis], at[axis] + first, *at[axis + 1 :]), name="piece")

    return [
        piece(first, output.shape) for first, output in zip(accumulate(sizes, initial=0), call.outputs, strict=False)
    ]


def concat(call: Call) -> Loops:
    """One behind the other along an axis: each operand's rows copied to their place."""
    axis, (output,) = axis_of(call, 0), call.outputs
    call.tensors()
    rows = math.prod(output.shape[:axis])
    widths = [math.prod(operand.shape[axis:]) for operand in call.types()]
    firsts = list(accumulate(widths, initial=0))

    def body(*buffers: Any) -> None:
        for index, buffer in enumerate(call.ordered(buffers)):
            with T.serial(rows) as row, T.serial(widths[index]) as column:
                T.buffer_store(
                    buffers[-1], buffer[row * widths[index] + column], [row * firsts[-1] + firsts[index] + column]
                )

    return Loops(body)


def reshape(call: Call) -> Tensor:
    """The same elements in another shape."""
    call.given("allowzero"), call.given("axis"), call.given("axes")
    x, (output,) = call.main(), call.outputs
    shape = call.main_type.shape
    return te.compute(output.shape, lambda *at: x(*unravel(ravel(at, output.shape), shape)), name="reshape")


def ravel(index: Sequence[Expr], shape: Sequence[int]) -> Expr:
    """The place of an element in memory."""
    flat: Expr = 0
    for i, size in zip(index, shape, strict=True):
        flat = flat * size + i
    return flat


def unravel(flat: Expr, shape: Sequence[int]) -> list[Expr]:
    """The index of the element at a place in memory."""
    index: list[Expr] = []
    for size in reversed(shape):
        index.insert(0, tirx.floormod(flat, size))
        flat = tirx.floordiv(flat, size)
    return index


def transpose(call: Call) -> Tensor:
    """Axes in another order, reversed by default."""
    x, rank = call.main(), len(call.main_type.shape)
    order = call.attribute("perm", tuple(range(rank))[::-1])
    (output,) = call.outputs
    return te.compute(output.shape, lambda *at: x(*(at[order.index(axis)] for axis in range(rank))), name="transpose")


def expand(call: Call) -> Tensor:
    """Broadcast to the shape of the output."""
    x, shape, (output,) = call.main(), call.main_type.shape, call.outputs

    def element(*at: Expr) -> Expr:
        own = at[len(at) - len(shape) :]
        return x(*(i if n > 1 else 0 for i, n in zip(own, shape, strict=True)))

    return te.compute(output.shape, element, name="expand")


def tile(call: Call) -> Tensor:
    """Repeated along every axis."""
    x, shape, (output,) = call.main(), call.main_type.shape, call.outputs
    call.integers("repeats")  # the shape of the output says it
    return te.compute(
        output.shape, lambda *at: x(*(tirx.floormod(i, n) for i, n in zip(at, shape, strict=True))), name="tile"
    )


def trilu(call: Call) -> Tensor:
    """The upper or lower triangle of matrices, the rest 0."""
    x, shape, upper = call.main(), call.main_type.shape, call.attribute("upper", 1)
    (diagonal,) = call.integers("k") or (0,)

    def element(*at: Expr) -> Expr:
        value, distance = x(*at), at[-1] - at[-2]
        zero = tirx.const(0, m.dtype_of(value))
        return tirx.Select(distance >= diagonal if upper else distance <= diagonal, value, zero)

    return te.compute(shape, element, name="trilu")


def reverse_sequence(call: Call) -> Tensor:
    """The first ``sequence_lens`` elements along the time axis in reverse, batch by batch."""
    x, lengths, shape = call.main(), call.tensor("sequence_lens"), call.main_type.shape
    batch, time = call.attribute("batch_axis", 1), call.attribute("time_axis", 0)

    def element(*at: Expr) -> Expr:
        length = lengths(at[batch]).astype("int32")
        source = tirx.Select(at[time] < length, length - 1 - at[time], at[time])
        return x(*at[:time], bounded(source, shape[time]), *at[time + 1 :])

    return te.compute(shape, element, name="reverse_sequence")


def one_hot(call: Call) -> Tensor:
    """The second of ``values`` where a new axis meets the index, else the first."""
    (depth,) = call.integers("depth") or (0,)
    indices, values, rank = call.main(), call.tensor("values"), len(call.main_type.shape)
    axis = call.attribute("axis", -1) % (rank + 1)
    (output,) = call.outputs

    def element(*at: Expr) -> Expr:
        index = indices(*at[:axis], *at[axis + 1 :]).astype("int64")
        counted = tirx.Select(index < m.const(0, index), index + m.const(depth, index), index)
        return tirx.Select(counted == at[axis].astype("int64"), values(1), values(0))

    return te.compute(output.shape, element, name="one_hot")


def eye_like(call: Call) -> Tensor:
    """Ones on a diagonal."""
    call.given("dtype")
    k, (output,) = call.attribute("k", 0), call.outputs
    if not call.has("input") or len(output.shape) != 2:
        raise Refused("EyeLike must have a matrix as operand")
    call.main()
    return te.compute(output.shape, lambda i, j: (j - i == k).astype(output.dtype), name="eye")


OPERATORS: dict[str, Definition] = {
    "Concat": concat,
    "Expand": expand,
    "EyeLike": eye_like,
    "Flatten": reshape,
    "Gather": gather,
    "GatherElements": gather_elements,
    "GatherND": gather_nd,
    "OneHot": one_hot,
    "Reshape": reshape,
    "ReverseSequence": reverse_sequence,
    "Slice": slice_,
    "Split": split,
    "Squeeze": reshape,
    "Tile": tile,
    "Transpose": transpose,
    "Trilu": trilu,
    "Unsqueeze": reshape,
}
