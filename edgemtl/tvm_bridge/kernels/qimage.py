"""Images at the ends of an integer network: float32 planes to int8, integers to float32 planes."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

from tvm import tirx
from tvm.script.ir_builder import tirx as T

from edgemtl.operators import DequantiseImage, QuantiseImage
from edgemtl.processor import CpuTarget
from edgemtl.tvm_bridge.kernel import Kernel, Operand
from edgemtl.tvm_bridge.kernels.emit import Buffer, Expr, define, i32, local
from edgemtl.tvm_bridge.kernels.qbilinear import neighbour, weigh
from edgemtl.tvm_bridge.kernels.qelementwise import dequantised, quantised
from edgemtl.tvm_bridge.kernels.vectors import each_row, for_vectors, load, store


@cache
def build(spec: QuantiseImage | DequantiseImage, target: CpuTarget) -> Kernel:
    """The kernel of ``spec``: operands x, y."""
    return _quantise(spec, target) if isinstance(spec, QuantiseImage) else _dequantise(spec, target)


def _quantise(spec: QuantiseImage, target: CpuTarget) -> Kernel:
    c, h, w, patch = spec.channels, spec.height, spec.width, spec.patch
    shape, dtype = (h // patch * (w // patch), c * patch**2), "int16" if spec.wide else "int8"
    operands = [Operand("x", (1, c, h, w), "float32", "input"), Operand("y", shape, dtype, "output")]

    def body(x: Buffer, y: Buffer) -> None:
        each_row(h // patch * patch, target, lambda row: _patch_row(spec, target, x, y, row))

    symbol = f"quantise_image_{c}x{h}x{w}_p{patch}_{spec.inverse_scale:.9g}_{spec.zero}"
    return define(f"{symbol}{'_to_wide' if spec.wide else ''}", operands, body)


def _integers(spec: QuantiseImage, x: Buffer, place: tuple[Expr, Expr, Expr], lanes: int) -> Expr:
    dtype = "int16" if spec.wide else "int8"
    return quantised(load(x, (i32(0), *place), lanes), spec.inverse_scale, spec.zero, dtype, lanes, spec.wide)


def _patch_row(spec: QuantiseImage, target: CpuTarget, x: Buffer, y: Buffer, row: Expr) -> None:
    """A row of the image, cut into its patches; what does not fill one is left out."""
    patch, across = spec.patch, spec.width // spec.patch
    with T.grid(spec.channels, across) as (channel, at):

        def pixels(lanes: int, first: Expr) -> None:
            column = channel * patch**2 + tirx.floormod(row, i32(patch)) * patch + first
            place = (tirx.floordiv(row, i32(patch)) * across + at, column)
            store(y, place, lanes, _integers(spec, x, (channel, row, at * patch + first), lanes))

        for_vectors(patch, 2 * target.lanes, pixels)


def _dequantise(spec: DequantiseImage, target: CpuTarget) -> Kernel:
    c, h, w, factor = spec.channels, spec.height, spec.width, 2 if spec.enlarge else 1
    operands = [
        Operand("x", (h * w, c), spec.dtype, "input"),
        Operand("y", (1, c, factor * h, factor * w), "float32", "output"),
    ]

    def body(x: Buffer, y: Buffer) -> None:
        planes = _Planes(spec, target, x, y)
        if spec.enlarge:
            each_row(2 * h, target, lambda row: _upsampled_row(planes, row))
        else:
            each_row(-(-h * w // target.lanes), target, lambda index: _pixel_block(planes, index))

    kind = "enlarged" if spec.enlarge else "same"
    symbol = f"dequantise_image_{spec.dtype}_{c}x{h}x{w}_{kind}_{spec.scale:.9g}_{spec.zero}"
    return define(symbol, operands, body)


@dataclass(frozen=True)
class _Planes:
    """An image on its way to planes."""

    spec: DequantiseImage
    target: CpuTarget
    x: Buffer
    y: Buffer


def _pixel_block(p: _Planes, index: Expr) -> None:
    """As many pixels as a register has lanes; the last ones begin earlier rather than being fewer."""
    size = p.spec.height * p.spec.width
    count = min(size, p.target.lanes)
    first = T.bind(tirx.min(index * count, i32(size - count)))

    def channels(lanes: int, channel: Expr) -> None:
        pixels = [load(p.x, (first + pixel, channel), lanes).astype(f"int32x{lanes}") for pixel in range(count)]
        _store_planes(p, pixels, lanes, (channel, i32(0), first))

    for_vectors(p.spec.channels, p.target.lanes, channels)


def _upsampled_row(p: _Planes, row: Expr) -> None:
    """A row of the image at twice its size, as many pixels at a time as a register has lanes."""
    near = T.bind(tirx.floordiv(row, i32(2)))
    far = T.bind(neighbour(near, tirx.floormod(row, i32(2)), p.spec.height))
    whole, rest = divmod(2 * p.spec.width, p.target.lanes)
    if whole:
        with T.serial(whole) as index:
            _upsampled_block(p, row, (near, far), index * p.target.lanes, p.target.lanes)
    if rest:
        _upsampled_block(p, row, (near, far), row * 0 + whole * p.target.lanes, rest)


def _upsampled_block(p: _Planes, row: Expr, sources: tuple[Expr, Expr], first: Expr, count: int) -> None:
    """``count`` pixels, an even number: the rows are blended once for each source column and both its neighbours."""
    last, width = p.spec.width - 1, p.spec.width
    start = tirx.floordiv(first, i32(2)) - i32(1)
    columns = [T.bind(tirx.max(tirx.min(start + i32(at), i32(last)), i32(0))) for at in range(count // 2 + 2)]

    def channels(lanes: int, channel: Expr) -> None:
        def blended(column: Expr) -> Expr:
            near, far = (load(p.x, (at * width + column, channel), lanes).astype(f"int32x{lanes}") for at in sources)
            return T.bind(weigh(near, far, "int32", lanes))

        blends = [blended(column) for column in columns]
        pixels = [weigh(blends[at // 2 + 1], blends[at // 2 + at % 2 * 2], "int32", lanes) for at in range(count)]
        _store_planes(p, pixels, lanes, (channel, row, first))

    for_vectors(p.spec.channels, p.target.lanes, channels)


def _store_planes(p: _Planes, pixels: list[Expr], lanes: int, place: tuple[Expr, Expr, Expr]) -> None:
    """Pixels, vectors of ``lanes`` channels, as float32 to planes from a place (channel, row, column) on."""
    tile, count = local(len(pixels) * lanes), len(pixels)
    for index, pixel in enumerate(pixels):
        store(tile, (i32(index * lanes),), lanes, dequantised(pixel, p.spec.scale, p.spec.zero, lanes))
    for channel in range(lanes):
        value = tile.vload([T.Ramp(i32(channel), lanes, count)]) if count > 1 else tile[channel]
        store(p.y, (i32(0), place[0] + channel, *place[1:]), count, value)
