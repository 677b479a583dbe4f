"""Pad: borders that are added, or cut off where a pad is negative."""

from __future__ import annotations

import numpy as np
from tvm import te, tirx

from edgemtl.operators import Array
from edgemtl.tvm_bridge.generic.call import Call, Definition, Expr, Refused, Tensor

MODES = ("constant", "edge", "reflect", "wrap")


def pad(call: Call) -> Tensor:
    """The operand with pads at the beginning and end of its axes; modes other than constant repeat what is cut out."""
    mode = call.attribute("mode", "constant")
    if mode not in MODES:
        raise Refused(f"mode of Pad must be one of {', '.join(MODES)}, not {mode}")
    before, after = _pads(call)
    shape = [n + b + a for n, b, a in zip(call.main_type.shape, before, after, strict=True)]
    if min(shape) < 1 or 0 in call.main_type.shape:
        raise Refused(f"Pad must leave at least one element, not shape {shape} of {list(call.main_type.shape)}")
    return _constant(call, before, shape) if mode == "constant" else _repeated(call, mode, before, after, shape)


def _pads(call: Call) -> tuple[list[int], list[int]]:
    """Elements added before and after, per axis."""
    rank = len(call.main_type.shape)
    axes = call.integers("axes")
    axes = tuple(range(rank)) if axes is None else axes
    pads = call.integers("pads") or ()
    if len(pads) != 2 * len(axes):
        raise Refused(f"pads of Pad must have {2 * len(axes)} elements, not {len(pads)}")
    before, after = [0] * rank, [0] * rank
    for i, axis in enumerate(axes):
        before[axis], after[axis] = pads[i], pads[len(axes) + i]
    return before, after


def _constant(call: Call, before: list[int], shape: list[int]) -> Tensor:
    """The value of an operand, zero by default, outside of the operand."""
    x = call.main()
    given = call.tensor("constant_value") if call.has("constant_value") else None

    def element(*index: Expr) -> Expr:
        own = [i - b for i, b in zip(index, before, strict=True)]
        value = given(*[0] * len(given.shape)) if given is not None else tirx.const(0, str(x.dtype))
        return inside(x, own, value)

    return te.compute(shape, element, name="pad")


def inside(x: Tensor, index: list[Expr], value: Expr) -> Expr:
    """x at the index, ``value`` where it lies outside; nothing outside is read."""
    bounds = [c for i, n in zip(index, x.shape, strict=True) for c in (i >= 0, i < n)]
    return tirx.if_then_else(tirx.all(*bounds), x(*index), value)


def _repeated(call: Call, mode: str, before: list[int], after: list[int], shape: list[int]) -> Tensor:
    """Each output element is an input element, found axis by axis."""
    x, sizes = call.main(), call.main_type.shape
    padded = [i for i in range(len(shape)) if before[i] or after[i]]
    tables = {i: call.index_table(_sources(mode, sizes[i], before[i], after[i]), sizes[i]) for i in padded}

    def element(*index: Expr) -> Expr:
        return x(*(tables[i](v) if i in tables else v for i, v in enumerate(index)))

    return te.compute(shape, element, name="pad")


def _sources(mode: str, size: int, before: int, after: int) -> Array:
    """The input index of every output index of an axis: first what is cut off, then what is added."""
    left = np.arange(size, dtype=np.int32)[max(-before, 0) : size - max(-after, 0)]
    added = max(before, 0), max(after, 0)
    if not len(left) or (mode == "reflect" and max(added) >= max(len(left), 1)):
        raise Refused(f"Pad in mode {mode} must add less than an axis has, not {max(added)} to {len(left)} elements")
    return np.asarray(np.pad(left, added, mode=mode))  # type: ignore[call-overload]


OPERATORS: dict[str, Definition] = {"Pad": pad}
