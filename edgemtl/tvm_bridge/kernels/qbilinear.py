"""Bilinear upsampling by 2 of channels-last integers by `law.enlarge`, for the kernels that need it."""

from __future__ import annotations

from functools import cache

from tvm import tirx
from tvm.script.ir_builder import tirx as T

from edgemtl.operators import QBilinear
from edgemtl.processor import CpuTarget
from edgemtl.tvm_bridge.kernel import Kernel, Operand
from edgemtl.tvm_bridge.kernels.emit import Buffer, Expr, define, i32
from edgemtl.tvm_bridge.kernels.vectors import constant, each_row, for_vectors, load, store


def neighbour(place: Expr, parity: Expr, size: int) -> Expr:
    """The other source place of an output place: the one before for even, the one after for odd, none outside."""
    return tirx.max(tirx.min(place - i32(1) + i32(2) * parity, i32(size - 1)), i32(0))


def weigh(near: Expr, far: Expr, kind: str, lanes: int) -> Expr:
    """3 near + far."""
    return near * constant(3, kind, lanes) + far


@cache
def build(spec: QBilinear, target: CpuTarget) -> Kernel:
    """The kernel of ``spec``: operands x, y. Sixteen times an int8 fits in 16 bits."""
    pixels = spec.height * spec.width
    operands = [
        Operand("x", (pixels, spec.channels), "int8", "input"),
        Operand("y", (4 * pixels, spec.channels), "int8", "output"),
    ]

    def body(x: Buffer, y: Buffer) -> None:
        def row(index: Expr) -> None:
            near = T.bind(tirx.floordiv(index, i32(2)))
            far = T.bind(neighbour(near, tirx.floormod(index, i32(2)), spec.height))
            with T.serial(spec.width) as column:
                places = [T.bind(neighbour(column, i32(0), spec.width)), column, neighbour(column, i32(1), spec.width)]

                def pixel_pair(lanes: int, first: Expr) -> None:
                    kind = f"int16x{lanes}"

                    def blended(place: Expr) -> Expr:
                        pair = [load(x, (row * spec.width + place, first), lanes).astype(kind) for row in (near, far)]
                        return T.bind(weigh(pair[0], pair[1], "int16", lanes))

                    before, here, after = (blended(place) for place in places)
                    half, bits = constant(8, "int16", lanes), constant(4, "int16", lanes)
                    for parity, other in enumerate((before, after)):
                        value = (weigh(here, other, "int16", lanes) + half) >> bits
                        pixel = index * (2 * spec.width) + 2 * column + parity
                        store(y, (pixel, first), lanes, value.astype(f"int8x{lanes}"))

                for_vectors(spec.channels, 2 * target.lanes, pixel_pair)

        each_row(2 * spec.height, target, row)

    return define(f"qbilinear_{spec.height}x{spec.width}x{spec.channels}", operands, body)
