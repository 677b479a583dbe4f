"""Windows that slide over the spatial axes of [N, C, ..]: kernels, strides, dilations and pads of pooling and Conv."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from tvm import te

from edgemtl.tvm_bridge.generic.call import Call, Expr, Refused, Tensor
from edgemtl.tvm_bridge.generic.pad import inside

AUTO_PADS = ("NOTSET", "VALID", "SAME_UPPER", "SAME_LOWER")


@dataclass(frozen=True)
class SlidingWindows:
    """Per spatial axis: sizes of input, kernel and output, strides, dilations, pads before and after."""

    sizes: tuple[int, ...]
    kernel: tuple[int, ...]
    outputs: tuple[int, ...]
    strides: tuple[int, ...]
    dilations: tuple[int, ...]
    before: tuple[int, ...]
    after: tuple[int, ...]

    def positions(self, axis: int) -> NDArray[np.int64]:
        """The input position of every output position and tap [outputs, kernel], outside of the input too."""
        starts = np.arange(self.outputs[axis]) * self.strides[axis] - self.before[axis]
        return np.asarray(starts[:, None] + np.arange(self.kernel[axis]) * self.dilations[axis])

    def read(self, index: Sequence[Expr], taps: Sequence[Expr]) -> list[Expr]:
        """Where a padded input is read for an output position and a tap, both spatial."""
        return [i * s + k * d for i, s, k, d in zip(index, self.strides, taps, self.dilations, strict=True)]

    @property
    def extents(self) -> tuple[int, ...]:
        """How far the windows reach in the padded input."""
        return tuple(
            (n - 1) * s + (k - 1) * d + 1
            for n, s, k, d in zip(self.outputs, self.strides, self.kernel, self.dilations, strict=True)
        )


def windows(call: Call, kernel: Sequence[int]) -> SlidingWindows:
    """The windows of a node that reads operand 0 and writes output 0."""
    sizes, outputs, rank = call.main_type.shape[2:], call.result.shape[2:], len(kernel)
    strides = _per_axis(call, "strides", (1,) * rank)
    dilations = _per_axis(call, "dilations", (1,) * rank)
    if not rank or len(sizes) != rank:
        raise Refused(f"kernel_shape of {call.op} must have {len(sizes)} sizes, not {rank}")
    pads = _per_axis(call, "pads", (0,) * (2 * rank))
    auto = call.attribute("auto_pad", "NOTSET")
    if auto not in AUTO_PADS:
        raise Refused(f"auto_pad of {call.op} must be one of {', '.join(AUTO_PADS)}, not {auto}")
    before, after = pads[:rank], pads[rank:]
    if auto != "NOTSET":
        before, after = _same(call, auto, sizes, kernel, strides, dilations)
    return SlidingWindows(sizes, tuple(kernel), outputs, strides, dilations, before, after)


def _same(call: Call, auto: str, *axes: Sequence[int]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Pads with which the output has a position for every stride of the input, the odd one after it or before it."""
    if auto == "VALID":
        return (0,) * len(axes[0]), (0,) * len(axes[0])
    totals = [(math.ceil(n / s) - 1) * s + (k - 1) * d + 1 - n for n, k, s, d in zip(*axes, strict=True)]
    # onnxruntime's kernels differ in what they cut off where windows leave gaps, and MaxPool cuts nothing.
    if min(totals) < (0 if call.op == "MaxPool" else -1):
        form = f"auto_pad {auto} of {call.op} must not cut off {-min(totals)} elements"
        raise Refused(f"{form}, which onnxruntime's kernels do not do alike; give pads instead")
    before = tuple((max(t, 0) + (auto == "SAME_LOWER")) // 2 for t in totals)
    return before, tuple(max(t, 0) - b for t, b in zip(totals, before, strict=True))


def _per_axis(call: Call, name: str, default: tuple[int, ...]) -> tuple[int, ...]:
    """An attribute of one number per spatial axis, or of one before and one after it."""
    values = call.attribute(name, default)
    if len(values) != len(default) or min(values, default=0) < (0 if name == "pads" else 1):
        raise Refused(f"{name} of {call.op} must be {len(default)} positive numbers, not {list(values)}")
    return values


def padded(x: Tensor, window: SlidingWindows, value: Expr) -> Tensor:
    """[N, C, ..] with ``value`` around it as far as the windows reach; x itself where nothing is added."""
    if not any(window.before) and all(e <= n for e, n in zip(window.extents, window.sizes, strict=True)):
        return x
    shape = [*x.shape[:2], *window.extents]

    def element(*index: Expr) -> Expr:
        own = [i - b for i, b in zip(index[2:], window.before, strict=True)]
        return inside(x, [*index[:2], *own], value)

    return te.compute(shape, element, name="padded")


def taps(kernel: Sequence[int]) -> list[Expr]:
    """A reduction axis per spatial axis."""
    return [te.reduce_axis((0, k), name=f"k{i}") for i, k in enumerate(kernel)]
