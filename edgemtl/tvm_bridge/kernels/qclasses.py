"""The channel of the largest logit of each pixel, of an image or of one upsampled by 2.

A logit and its channel are one int32, value * 256 + (255 - channel): the largest of these is that of the largest value,
and of equal values that of the lowest channel. Sixteen times an int16 has 20 bits, and 8 more fit.
"""

from __future__ import annotations

from functools import cache, partial

from tvm import tirx
from tvm.script.ir_builder import tirx as T

from edgemtl.operators import QClasses
from edgemtl.processor import CpuTarget
from edgemtl.tvm_bridge.kernel import Kernel, Operand
from edgemtl.tvm_bridge.kernels.emit import Buffer, Expr, define, i32, local
from edgemtl.tvm_bridge.kernels.qbilinear import neighbour, weigh
from edgemtl.tvm_bridge.kernels.vectors import constant, each_row, for_vectors, intrinsic, load, spread, vector_type

CHANNEL_BITS = 8
LAST = (1 << CHANNEL_BITS) - 1
LEAST = -(2**31)


@cache
def build(spec: QClasses, target: CpuTarget) -> Kernel:
    """The kernel of ``spec``: operands x, y."""
    operands = [
        Operand("x", (spec.height * spec.width, spec.channels), spec.dtype, "input"),
        Operand("y", (spec.out_height, spec.out_width), "uint8", "output"),
    ]

    def body(x: Buffer, y: Buffer) -> None:
        row = _upsampled_row if spec.enlarge else _row
        each_row(spec.out_height, target, partial(row, spec, target, x, y))

    kind = "enlarged" if spec.enlarge else "same"
    return define(f"qclasses_{spec.dtype}_{spec.height}x{spec.width}x{spec.channels}_{kind}", operands, body)


def _row(spec: QClasses, target: CpuTarget, x: Buffer, y: Buffer, row: Expr) -> None:
    largest = local(1, "int32")
    with T.serial(spec.width) as column:
        _forget(largest)

        def channels(lanes: int, first: Expr) -> None:
            _compare(largest, 0, load(x, (row * spec.width + column, first), lanes), first, lanes)

        for_vectors(spec.channels, target.lanes, channels)
        _store(y, row, column, largest[0])


def _upsampled_row(spec: QClasses, target: CpuTarget, x: Buffer, y: Buffer, row: Expr) -> None:
    """Two pixels of each source column: its rows are blended once for both, and those of its neighbours."""
    largest = local(2, "int32")
    near = T.bind(tirx.floordiv(row, i32(2)))
    far = T.bind(neighbour(near, tirx.floormod(row, i32(2)), spec.height))
    with T.serial(spec.width) as column:
        _forget(largest, 2)
        columns = [T.bind(neighbour(column, i32(0), spec.width)), column, T.bind(neighbour(column, i32(1), spec.width))]

        def channels(lanes: int, first: Expr) -> None:
            kind = vector_type("int32", lanes)

            def blended(place: Expr) -> Expr:
                a, b = (load(x, (line * spec.width + place, first), lanes).astype(kind) for line in (near, far))
                return T.bind(weigh(a, b, "int32", lanes))

            before, here, after = map(blended, columns)
            for parity, other in enumerate((before, after)):
                _compare(largest, parity, weigh(here, other, "int32", lanes), first, lanes)

        for_vectors(spec.channels, target.lanes, channels)
        for parity in range(2):
            _store(y, row, 2 * column + parity, largest[parity])


def _forget(largest: Buffer, count: int = 1) -> None:
    for index in range(count):
        T.buffer_store(largest, i32(LEAST), [i32(index)])


def _compare(largest: Buffer, index: int, values: Expr, first: Expr, lanes: int) -> None:
    """Keep the largest of ``largest[index]`` and the values of the channels from ``first`` on."""
    channel = T.Ramp(first, 1, lanes) if lanes > 1 else first
    wide = values.astype(vector_type("int32", lanes)) * constant(1 << CHANNEL_BITS, "int32", lanes)
    keys = wide + (spread(i32(LAST), lanes) - channel)
    key = intrinsic("int32", "vector.reduce.smax", keys) if lanes > 1 else keys
    T.buffer_store(largest, tirx.max(largest[index], key), [i32(index)])


def _store(y: Buffer, row: Expr, column: Expr, key: Expr) -> None:
    T.buffer_store(y, (i32(LAST) - (key & i32(LAST))).astype("uint8"), [row, column])
