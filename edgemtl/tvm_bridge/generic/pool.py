"""Pooling over the spatial axes of [N, C, ..], by windows or over all of them.

The largest of a window with NaN is NaN; padding never takes part in it.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from tvm import te, tirx
from tvm.script.ir_builder import tirx as T

from edgemtl.tvm_bridge.generic import mathematics as m
from edgemtl.tvm_bridge.generic.call import Call, Definition, Expr, Loops, Refused, Tensor
from edgemtl.tvm_bridge.generic.windows import SlidingWindows, padded, taps, windows
from edgemtl.tvm_bridge.kernels.emit import guarded

INDEX = "int64"


def lowest(dtype: str) -> Expr:
    """What every value of a type is at least."""
    return tirx.const(-math.inf, dtype) if dtype.startswith("float") else tirx.min_value(dtype)


largest = te.comm_reducer(m.maximum, lowest, name="largest")
smallest_index = te.comm_reducer(lambda a, b: tirx.min(a, b), tirx.max_value, name="smallest_index")


def _windows(call: Call) -> SlidingWindows:
    """The windows of a pooling; with ceil_mode ONNX's shapes may have one that onnxruntime does not have."""
    window, _ = windows(call, call.attribute("kernel_shape", ())), call.attribute("ceil_mode", 0)
    if call.attribute("auto_pad", "NOTSET").startswith("SAME") and set(call.attribute("dilations", (1,))) != {1}:
        raise Refused(f"{call.op} with dilations must have explicit pads, since auto_pad is read in two ways")
    each = zip(window.outputs, window.strides, window.sizes, window.before, strict=True)
    if any((n - 1) * stride >= size + before for n, stride, size, before in each):
        raise Refused(f"the last window of {call.op} must not start in the padding; export with opset 22")
    return window


def max_pool(call: Call) -> Tensor | list[Tensor]:
    """The largest of each window, and where asked for its index in the flat tensor."""
    is_column_major = bool(call.attribute("storage_order", 0))
    window, x = _windows(call), call.main()
    whole, k = padded(x, window, lowest(str(x.dtype))), taps(window.kernel)
    largest_values = te.compute(
        call.result.shape,
        lambda n, c, *i: largest(whole(n, c, *window.read(i, k)), axis=k),
        name="largest",
    )
    if len(call.outputs) == 1:
        return largest_values
    return [largest_values, _indices(call, window, whole, largest_values, is_column_major)]


def _indices(
    call: Call, window: SlidingWindows, whole: Tensor, largest_values: Tensor, is_column_major: bool
) -> Tensor:
    """The first position of the largest in the order of the rows; NaN is its own largest."""
    channels, sizes, (_, indices) = call.main_type.shape[1], window.sizes, call.outputs
    k = taps(window.kernel)
    none = tirx.max_value(INDEX)

    def first(n: Expr, c: Expr, *i: Expr) -> Expr:
        place = [r - b for r, b in zip(window.read(i, k), window.before, strict=True)]
        bounds = [bound for p, size in zip(place, sizes, strict=True) for bound in (p >= 0, p < size)]
        value, best = whole(n, c, *window.read(i, k)), largest_values(n, c, *i)
        same = value == best if str(whole.dtype) != "float32" else tirx.any(value == best, m.is_nan(value))
        return smallest_index(tirx.Select(tirx.all(same, *bounds), _flat(place, sizes), none), axis=k)

    firsts = te.compute(indices.shape, first, name="first")

    def index(n: Expr, c: Expr, *i: Expr) -> Expr:
        inner = firsts(n, c, *i)
        if is_column_major:
            place = _unflat(inner, sizes)
            inner = _flat(place[::-1], sizes[::-1])
        return (n.astype(INDEX) * channels + c) * math.prod(sizes) + inner

    return te.compute(indices.shape, index, name="index")


def _flat(place: list[Expr], sizes: tuple[int, ...]) -> Expr:
    """The number of a position, the last axis fastest."""
    flat: Expr = tirx.const(0, INDEX)
    for p, size in zip(place, sizes, strict=True):
        flat = flat * size + p.astype(INDEX)
    return flat


def _unflat(flat: Expr, sizes: tuple[int, ...]) -> list[Expr]:
    place: list[Expr] = []
    for size in sizes[::-1]:
        place.append(tirx.truncmod(flat, tirx.const(size, INDEX)))
        flat = tirx.truncdiv(flat, tirx.const(size, INDEX))
    return place[::-1]


def average_pool(call: Call) -> Tensor:
    """The sum of each window over how many elements it has; with count_include_pad those in the padding count too."""
    counts_padding = bool(call.attribute("count_include_pad", 0))
    window = _windows(call)
    counts = [call.table(_counts(window, axis, counts_padding)) for axis in range(len(window.kernel))]
    total = _sums(call, window, lambda x: x)

    def mean(n: Expr, c: Expr, *i: Expr) -> Expr:
        count = counts[0][i[0]]
        for axis in range(1, len(counts)):
            count = count * counts[axis][i[axis]]
        return total(n, c, *i) / count

    return te.compute(total.shape, mean, name="mean")


def _counts(window: SlidingWindows, axis: int, counts_padding: bool) -> np.ndarray:
    """How many taps of the window at each position of an axis count, as float32."""
    position = window.positions(axis)
    margin = (window.before[axis], window.after[axis]) if counts_padding else (0, 0)
    counted = (position >= -margin[0]) & (position < window.sizes[axis] + margin[1])
    return np.asarray(counted.sum(axis=1), np.float32)


def _sums(call: Call, window: SlidingWindows, function: Callable[[Expr], Expr]) -> Tensor:
    """The sum of function(element) over each window."""
    x = call.main()
    whole, k = padded(x, window, tirx.const(0, str(x.dtype))), taps(window.kernel)
    return te.compute(
        call.result.shape, lambda n, c, *i: te.sum(function(whole(n, c, *window.read(i, k))), axis=k), name="sums"
    )


def lp_pool(call: Call) -> Tensor:
    """The p-norm of each window."""
    power, root = _norm(call.attribute("p", 2))
    total = _sums(call, _windows(call), power)
    return te.compute(total.shape, lambda *i: root(total(*i)), name="norm")


def _norm(p: int) -> tuple[Callable[[Expr], Expr], Callable[[Expr], Expr]]:
    """|x|^p, and the p-th root."""
    if p == 1:
        return m.absolute, lambda x: x
    if p == 2:
        return lambda x: x * x, tirx.sqrt
    if p < 1:
        raise Refused(f"p of a norm must be positive, not {p}")
    return lambda x: m.power(m.absolute(x), tirx.const(p, str(x.ty))), lambda x: m.power(
        x, tirx.const(1 / p, str(x.ty))
    )


Reducer = Callable[..., Expr]


def over_positions(call: Call, reduce: Reducer, function: Callable[[Expr], Expr]) -> Tensor:
    """function(element) reduced over all spatial axes of operand 0 [N, C, ..], to [N, C, 1, ..].

    All axes but the last come first, so that LLVM reduces whole rows at once.
    """
    x = call.main()
    *outer, inner = [int(n) for n in x.shape[2:]]
    k, last = taps(outer), te.reduce_axis((0, inner), name="last")
    if outer:
        shape = (*x.shape[:2], inner)
        rows = te.compute(shape, lambda n, c, w: reduce(function(x(n, c, *k, w)), axis=k), name="rows")
    else:
        rows = te.compute(x.shape, lambda *i: function(x(*i)), name="rows")
    return te.compute(call.result.shape, lambda n, c, *_: reduce(rows(n, c, last), axis=last), name="whole")


def global_max(call: Call) -> Tensor:
    """The largest of all positions."""
    return over_positions(call, largest, lambda x: x)


def global_average(call: Call) -> Tensor:
    """The mean of all positions, summed in float64: a feature map has many."""
    total = over_positions(call, te.sum, m.double)
    dtype, count = call.result.dtype, tirx.const(math.prod(call.main_type.shape[2:]), "float64")
    return te.compute(total.shape, lambda *i: (total(*i) / count).astype(dtype), name="mean")


def global_norm(call: Call) -> Tensor:
    """The p-norm of all positions."""
    power, root = _norm(call.attribute("p", 2))
    total = over_positions(call, te.sum, lambda x: m.double(power(x)))
    return te.compute(total.shape, lambda *i: root(total(*i).astype(call.result.dtype)), name="norm")


def max_unpool(call: Call) -> Loops:
    """Zeros, and each element at its index in the flat output; later ones win, what points outside is left out.

    With output_shape, indices are of that shape, as in onnxruntime.
    """
    for name in ("kernel_shape", "strides", "pads"):
        call.given(name)
    call.tensor("X"), call.tensor("I")
    count, size, dtype = call.main_type.size, call.result.size, call.result.dtype

    def body(*buffers: Tensor) -> None:
        elements, places = call.ordered(buffers)
        with T.serial(size) as i:
            T.buffer_store(buffers[-1], tirx.const(0, dtype), [i])
        with T.serial(count) as i:
            place = places[i]
            with guarded(tirx.all(place >= 0, place < size)):
                T.buffer_store(buffers[-1], elements[i], [place])

    return Loops(body)


OPERATORS: dict[str, Definition] = {
    "AveragePool": average_pool,
    "GlobalAveragePool": global_average,
    "GlobalLpPool": global_norm,
    "GlobalMaxPool": global_max,
    "LpPool": lp_pool,
    "MaxPool": max_pool,
    "MaxUnpool": max_unpool,
}
