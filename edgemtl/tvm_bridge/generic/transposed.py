"""Transposed convolutions of [N, C, ..] over any number of axes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from tvm import te, tirx

from edgemtl.operators import Array
from edgemtl.tvm_bridge.generic.call import Call, Definition, Expr, Refused, Tensor
from edgemtl.tvm_bridge.generic.convolution import check_channels, kernel_of, with_bias
from edgemtl.tvm_bridge.generic.pad import inside
from edgemtl.tvm_bridge.generic.windows import taps


@dataclass(frozen=True)
class Phases:
    """An axis of a transposed convolution: output q * stride + phase sums input[q + offset] * weight[tap].

    tap, offset, is_used: [stride, most taps of a phase]; offsets count from ``before`` zeros in front of the input.
    """

    stride: int
    tap: Array
    offset: Array
    is_used: Array
    before: int

    @property
    def depth(self) -> int:
        """The most taps of a phase."""
        return int(self.tap.shape[1])


def _phases(kernel: int, stride: int, dilation: int, before: int) -> Phases:
    """The taps of each phase; all phases have equally many, those beyond their own are not used."""
    pairs = [
        [
            (k, (phase + before - k * dilation) // stride)
            for k in range(kernel)
            if (phase + before - k * dilation) % stride == 0
        ]
        for phase in range(stride)
    ]
    depth, lowest = max(map(len, pairs)), min(offset for row in pairs for _, offset in row)
    filled = [row + [(0, lowest)] * (depth - len(row)) for row in pairs]
    table = np.array(filled, np.int32)
    used = np.array([[i < len(row) for i in range(depth)] for row in pairs], np.int32)
    return Phases(stride, table[:, :, 0], table[:, :, 1] - lowest, used, -lowest)


def conv_transpose(call: Call) -> Tensor:
    """The transpose of Conv, phase by phase of the strides, so that no zeros are multiplied."""
    kernel = kernel_of(call)
    axes = [_phases(*each) for each in zip(kernel, *_geometry(call, kernel), strict=True)]
    groups, (inputs, per_group) = call.attribute("group", 1), call.type_of("W").shape[:2]
    batch, outputs, *sizes = call.result.shape
    check_channels(call, groups, inputs, outputs)
    blocks = [math.ceil(n / axis.stride) for n, axis in zip(sizes, axes, strict=True)]
    result = _phased(call, axes, blocks, (batch, outputs, inputs // groups, per_group))

    def element(n: Expr, o: Expr, *i: Expr) -> Expr:
        phase = [tirx.floormod(v, axis.stride) for v, axis in zip(i, axes, strict=True)]
        block = [tirx.floordiv(v, axis.stride) for v, axis in zip(i, axes, strict=True)]
        return result(n, o, *phase, *block)

    return with_bias(call, te.compute(call.result.shape, element, name="interleave"))


def _phased(call: Call, axes: Sequence[Phases], blocks: Sequence[int], channels: tuple[int, int, int, int]) -> Tensor:
    """[N, O, phases .., blocks ..]: every phase a convolution of its own."""
    batch, outputs, inner, per_group = channels
    rank, weight = len(axes), call.tensor("W")
    kernel = call.type_of("W").shape[2:]
    tap = [call.index_table(axis.tap, size) for axis, size in zip(axes, kernel, strict=True)]
    offset = [call.index_table(axis.offset, int(axis.offset.max()) + 1) for axis in axes]
    used = [call.table(axis.is_used) for axis in axes]
    source = _surrounded(call, axes, blocks)
    c, t = te.reduce_axis((0, inner), name="c"), taps([axis.depth for axis in axes])
    is_whole = all(axis.is_used.all() for axis in axes)

    def element(n: Expr, o: Expr, *index: Expr) -> Expr:
        phase, block = index[:rank], index[rank:]
        place = [b + offset[a](phase[a], t[a]) for a, b in enumerate(block)]
        chosen = [tap[a](phase[a], t[a]) for a in range(rank)]
        group = tirx.floordiv(o, per_group)
        product = source(n, group * inner + c, *place) * weight(group * inner + c, o - group * per_group, *chosen)
        if not is_whole:
            all_used = tirx.all(*(used[a][phase[a], t[a]] != 0 for a in range(rank)))
            product = tirx.if_then_else(all_used, product, tirx.const(0, str(weight.dtype)))
        return te.sum(product, axis=[c, *t])

    return te.compute((batch, outputs, *(a.stride for a in axes), *blocks), element, name="phases")


def _surrounded(call: Call, axes: Sequence[Phases], blocks: Sequence[int]) -> Tensor:
    """The input with zeros as far as any block of any phase reaches."""
    x = call.main()
    shape = [*x.shape[:2], *(n + int(axis.offset.max()) for n, axis in zip(blocks, axes, strict=True))]

    def element(n: Expr, c: Expr, *i: Expr) -> Expr:
        own = [v - axis.before for v, axis in zip(i, axes, strict=True)]
        return inside(x, [n, c, *own], tirx.const(0, str(x.dtype)))

    return te.compute(shape, element, name="surrounded")


def _geometry(call: Call, kernel: tuple[int, ...]) -> tuple[Sequence[int], Sequence[int], Sequence[int]]:
    """Strides, dilations and pads in front of the output, which an output shape or auto_pad may leave to be found."""
    rank, sizes, outputs = len(kernel), call.main_type.shape[2:], call.result.shape[2:]
    strides, dilations = call.attribute("strides", (1,) * rank), call.attribute("dilations", (1,) * rank)
    extra, pads = call.attribute("output_padding", (0,) * rank), call.attribute("pads", (0,) * (2 * rank))
    auto, is_given = call.attribute("auto_pad", "NOTSET"), call.given("output_shape")
    totals = [
        s * (n - 1) + e + (k - 1) * d + 1 - o
        for s, n, e, k, d, o in zip(strides, sizes, extra, kernel, dilations, outputs, strict=True)
    ]
    if min(totals) < 0:
        raise Refused(f"output {list(outputs)} of ConvTranspose must not be larger than what its input reaches")
    if auto == "VALID" or (auto == "NOTSET" and not is_given):
        before = pads[:rank] if auto == "NOTSET" else (0,) * rank
    else:
        before = tuple(t // 2 if auto == "SAME_UPPER" else t - t // 2 for t in totals)
    return strides, dilations, before


OPERATORS: dict[str, Definition] = {"ConvTranspose": conv_transpose}
