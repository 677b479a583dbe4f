"""Reductions over axes, softmax and arg max.

Sums of floats are added up in float64, so that long ones keep their digits.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from tvm import te, tirx

from edgemtl.tvm_bridge.generic import mathematics as m
from edgemtl.tvm_bridge.generic.call import Call, Definition, Expr, Refused, Tensor
from edgemtl.tvm_bridge.generic.exponentials import exp

Function = Callable[[Expr], Expr]
Finish = Callable[[Expr, int], Expr]
LARGEST = te.comm_reducer(m.maximum, lambda dtype: te.min_value(dtype), name="largest")
SMALLEST = te.comm_reducer(m.minimum, lambda dtype: te.max_value(dtype), name="smallest")
PRODUCT = te.comm_reducer(lambda a, b: a * b, lambda dtype: tirx.const(1, dtype), name="product")


def shape_of(tensor: Tensor) -> tuple[int, ...]:
    """The sizes of a tensor."""
    return tuple(int(n) for n in tensor.shape)


def over_axes(tensor: Tensor, axes: Sequence[int], reducer: Callable[..., Expr], before: Function) -> Tensor:
    """``reducer`` over the axes of before(element); they stay as axes of one element."""
    sizes = shape_of(tensor)
    reduced = {axis: te.reduce_axis((0, sizes[axis]), name=f"k{axis}") for axis in axes}
    shape = tuple(1 if axis in reduced else n for axis, n in enumerate(sizes))

    def element(*index: Expr) -> Expr:
        at = [reduced.get(axis, i) for axis, i in enumerate(index)]
        return reducer(before(tensor(*at)), axis=list(reduced.values()))

    return te.compute(shape, element, name="reduced")


def pointwise(tensor: Tensor, function: Function) -> Tensor:
    """function(element)."""
    return te.compute(tensor.shape, lambda *index: function(tensor(*index)), name="pointwise")


def at_reduced(tensor: Tensor, index: Sequence[Expr], axes: Sequence[int]) -> Expr:
    """The element of a reduced tensor that belongs to ``index``."""
    return tensor(*(0 if axis in axes else i for axis, i in enumerate(index)))


def axis_of(call: Call, default: int) -> int:
    """The attribute axis, from 0."""
    return call.attribute("axis", default) % len(call.main_type.shape)


def _axes(call: Call) -> tuple[int, ...] | None:
    """The axes to reduce, ascending; None where the node reduces nothing."""
    call.given("keepdims")  # the shape of the output says it
    nothing = call.attribute("noop_with_empty_axes", 0)
    rank = len(call.main_type.shape)
    axes = call.integers("axes") or ()
    if not axes:
        return None if nothing else tuple(range(rank))
    return tuple(sorted({axis % rank for axis in axes}))


def _wide(x: Expr) -> Expr:
    return x.astype("float64") if m.dtype_of(x) == "float32" else x


def reduction(
    reducer: Callable[..., Expr], before: Function = lambda x: x, after: Finish = lambda x, count: x
) -> Definition:
    """An operator after(reducer(before(x)), how many x); what is not reduced at all passes through both."""

    def define(call: Call) -> Tensor:
        x, axes = call.main(), _axes(call)
        dtype = str(x.dtype)
        if dtype == "bool":
            x, dtype = pointwise(x, lambda v: v.astype("int32")), "bool"
        count = math.prod(shape_of(x)[axis] for axis in axes or ())
        total = over_axes(x, axes, reducer, before) if axes else pointwise(x, before)
        return pointwise(total, lambda v: after(v, count).astype(dtype))

    return define


def _squared(x: Expr) -> Expr:
    return _wide(x) * _wide(x)


def _divided(x: Expr, count: int) -> Expr:
    if m.dtype_of(x).startswith("int"):
        return tirx.truncdiv(x, tirx.const(count, m.dtype_of(x)))
    return x / m.const(count, x)


def log_sum_exp(call: Call) -> Tensor:
    """log(sum(exp(x))), the largest x taken out so that nothing overflows."""
    x, axes = call.main(), _axes(call)
    if not axes:
        return pointwise(x, lambda v: v)
    peak = _finite_peak(x, axes)

    def shifted(*index: Expr) -> Expr:
        return exp(x(*index) - at_reduced(peak, index, axes))

    total = over_axes(te.compute(x.shape, shifted, name="shifted"), axes, te.sum, _wide)
    return te.compute(
        total.shape, lambda *i: (m.log64(total(*i)) + peak(*i).astype("float64")).astype("float32"), name="result"
    )


def _finite_peak(x: Tensor, axes: Sequence[int]) -> Tensor:
    """The largest element, 0 where that is infinite: inf - inf would be NaN."""
    peak = over_axes(x, axes, LARGEST, lambda v: v)
    return pointwise(peak, lambda v: tirx.Select(m.absolute(v) == m.f32(math.inf), m.f32(0), v))


def softmax(call: Call) -> Tensor:
    """exp(x - max) / sum(exp(x - max)) over one axis."""
    x, axes = call.main(), [axis_of(call, -1)]
    exponents = _exponents(x, axes)
    total = over_axes(exponents, axes, te.sum, lambda v: v)
    return te.compute(x.shape, lambda *i: exponents(*i) / at_reduced(total, i, axes), name="softmax")


def log_softmax(call: Call) -> Tensor:
    """x - max - log(sum(exp(x - max))) over one axis."""
    x, axes = call.main(), [axis_of(call, -1)]
    peak = over_axes(x, axes, LARGEST, lambda v: v)
    total = over_axes(_exponents(x, axes), axes, te.sum, lambda v: v)
    logs = pointwise(total, m.libm("logf"))
    return te.compute(
        x.shape, lambda *i: x(*i) - at_reduced(peak, i, axes) - at_reduced(logs, i, axes), name="log_softmax"
    )


def _exponents(x: Tensor, axes: Sequence[int]) -> Tensor:
    peak = over_axes(x, axes, LARGEST, lambda v: v)
    return te.compute(x.shape, lambda *i: exp(x(*i) - at_reduced(peak, i, axes)), name="exponents")


def _place(x: Tensor, axis: int, largest: bool, last: bool) -> Tensor:
    """int64 index of the largest (or smallest) element along an axis, the first or last of equals."""

    def better(a: Expr, b: Expr) -> Expr:
        wins = a[1] > b[1] if largest else a[1] < b[1]
        return tirx.any(wins, tirx.all(a[1] == b[1], a[0] > b[0] if last else a[0] < b[0]))

    def combine(a: Expr, b: Expr) -> tuple[Expr, Expr]:
        first = better(a, b)
        return tirx.Select(first, a[0], b[0]), tirx.Select(first, a[1], b[1])

    def identity(index: str, value: str) -> tuple[Expr, Expr]:
        worst = te.min_value(value) if largest else te.max_value(value)
        return tirx.const(-1 if last else 2**62, index), worst

    reducer = te.comm_reducer(combine, identity, name="place")
    sizes = shape_of(x)
    k = te.reduce_axis((0, sizes[axis]), name="k")
    shape = tuple(1 if i == axis else n for i, n in enumerate(sizes))

    def element(*index: Expr) -> Expr:
        at = [k if i == axis else v for i, v in enumerate(index)]
        return reducer((k.var.astype("int64"), x(*at)), axis=k)

    return te.compute(shape, element, name="places")[0]


def arg(largest: bool) -> Definition:
    """ArgMax or ArgMin."""

    def define(call: Call) -> Tensor:
        call.given("keepdims")  # the shape of the output says it
        last = bool(call.attribute("select_last_index", 0))
        return _copied(_place(call.main(), axis_of(call, 0), largest, last))

    return define


def _copied(tensor: Tensor) -> Tensor:
    """One of the two results of a reduction of pairs, as an output of its own."""
    return te.compute(tensor.shape, lambda *index: tensor(*index), name="index")


def hardmax(call: Call) -> Tensor:
    """1 at the first largest element along the axis, else 0."""
    x, axis = call.main(), axis_of(call, -1)
    places = _place(x, axis, largest=True, last=False)

    def element(*index: Expr) -> Expr:
        hit = index[axis].astype("int64") == at_reduced(places, index, [axis])
        return hit.astype(m.dtype_of(x(*index)))

    return te.compute(x.shape, element, name="hardmax")


def log_sum(x: Expr, count: int) -> Expr:
    """The logarithm of a sum."""
    if m.dtype_of(x) != "float64":
        raise Refused("ReduceLogSum must be of floats")
    return m.log64(x)


OPERATORS: dict[str, Definition] = {
    "ArgMax": arg(largest=True),
    "ArgMin": arg(largest=False),
    "Hardmax": hardmax,
    "LogSoftmax": log_softmax,
    "ReduceL1": reduction(te.sum, lambda x: _wide(m.absolute(x))),
    "ReduceL2": reduction(te.sum, _squared, lambda x, count: tirx.sqrt(x)),
    "ReduceLogSum": reduction(te.sum, _wide, log_sum),
    "ReduceLogSumExp": log_sum_exp,
    "ReduceMax": reduction(LARGEST),
    "ReduceMean": reduction(te.sum, _wide, _divided),
    "ReduceMin": reduction(SMALLEST),
    "ReduceProd": reduction(PRODUCT, _wide),
    "ReduceSum": reduction(te.sum, _wide),
    "ReduceSumSquare": reduction(te.sum, _squared),
    "Softmax": softmax,
}
