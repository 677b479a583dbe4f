"""Sums, means and variances over some axes of a tensor, in float64: float32 loses small deviations of a large mean."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tvm import te, tirx

from edgemtl.tvm_bridge.generic import mathematics as m
from edgemtl.tvm_bridge.generic.call import Expr, Tensor
from edgemtl.tvm_bridge.generic.windows import taps

Index = Sequence[Expr]


def f64(value: float) -> Expr:
    """A float64 constant."""
    return tirx.const(value, "float64")


@dataclass(frozen=True)
class ReducedRegion:
    """What a reduction reads: for each batch index the elements read(batch index, reduced index).

    batch, reduced: sizes of the axes that stay and of those that are reduced. is_row: whether the last reduced axis is
    contiguous in memory; else the last batch axis is.
    """

    batch: tuple[int, ...]
    reduced: tuple[int, ...]
    read: Callable[[Index, Index], Expr]
    is_row: bool

    @property
    def count(self) -> Expr:
        """How many elements are reduced to one, as float64."""
        return f64(math.prod(self.reduced))


def region(x: Tensor, axes: Sequence[int]) -> ReducedRegion:
    """The elements of x over some axes."""
    sizes, rank = [int(n) for n in x.shape], len(x.shape)
    reduced = sorted({axis % rank for axis in axes})
    batch = [axis for axis in range(rank) if axis not in reduced]

    def read(outer: Index, inner: Index) -> Expr:
        place = dict(zip([*batch, *reduced], [*outer, *inner], strict=True))
        return x(*(place[axis] for axis in range(rank)))

    return ReducedRegion(tuple(sizes[a] for a in batch), tuple(sizes[a] for a in reduced), read, rank - 1 in reduced)


def total(over: ReducedRegion, function: Callable[[Expr, Index], Expr]) -> Callable[[Index], Expr]:
    """The sum of function(element in float64, batch index) for each batch index."""
    k = taps(over.reduced)

    def term(batch: Index, inner: Index) -> Expr:
        return function(m.double(over.read(batch, inner)), batch)

    if not over.is_row:
        sums = te.compute(over.batch or (1,), lambda *i: te.sum(term(i[: len(over.batch)], k), axis=k), name="total")
        return lambda batch: sums(*batch) if over.batch else sums(0)
    *outer, last = k
    source: Callable[..., Expr] = lambda *i: term(i[:-1], [i[-1]])  # noqa: E731
    if outer:
        # Whole rows at once, then what is left of them.
        shape = (*over.batch, over.reduced[-1])
        rows = te.compute(shape, lambda *i: te.sum(term(i[:-1], [*outer, i[-1]]), axis=outer), name="rows")
        source = rows
    sums = te.compute((*over.batch, 1), lambda *i: te.sum(source(*i[:-1], last), axis=last), name="total")
    return lambda batch: sums(*batch, 0)


@dataclass(frozen=True)
class Moments:
    """Mean and variance for each batch index, in float64."""

    mean: Callable[[Index], Expr]
    variance: Callable[[Index], Expr]

    def normalised(self, x: Expr, batch: Index, epsilon: float) -> Expr:
        """(x - mean) / sqrt(variance + epsilon) of an element, in float32."""
        return ((m.double(x) - self.mean(batch)) * self.inverse(batch, epsilon)).astype("float32")

    def inverse(self, batch: Index, epsilon: float) -> Expr:
        """1 / sqrt(variance + epsilon)."""
        return f64(1) / tirx.sqrt(self.variance(batch) + f64(epsilon))


def moments(over: ReducedRegion) -> Moments:
    """Mean, then the mean square of what differs from it."""
    sums = total(over, lambda x, batch: x)

    def mean(batch: Index) -> Expr:
        return sums(batch) / over.count

    squares = total(over, lambda x, batch: (x - mean(batch)) * (x - mean(batch)))
    return Moments(mean, lambda batch: squares(batch) / over.count)
