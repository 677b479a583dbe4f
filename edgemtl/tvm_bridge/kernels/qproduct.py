"""Product of two computed matrices of bytes: the right one is packed as `Words`, then met by tiles of rows of the left.

Zeros are taken off the sums: sum (a - za)(b - zb) = sum ab - zb sum a - za sum b + K za zb. A row's part of that is
what its sums begin with, a column's is added behind.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import numpy as np
from tvm import tirx
from tvm.script.ir_builder import tirx as T

from edgemtl.operators import QProduct
from edgemtl.processor import CpuTarget
from edgemtl.tvm_bridge.kernel import Kernel, Operand
from edgemtl.tvm_bridge.kernels.broadcast import broadcast_axes, flat, starts_of
from edgemtl.tvm_bridge.kernels.elementwise import symbol_of
from edgemtl.tvm_bridge.kernels.emit import (
    Buffer,
    Expr,
    define,
    guarded,
    i32,
    local,
    panel_width,
    panels,
    parallel,
    pieces,
)
from edgemtl.tvm_bridge.kernels.qelementwise import finished
from edgemtl.tvm_bridge.kernels.tiles import padded_width
from edgemtl.tvm_bridge.kernels.vectors import (
    constant,
    f64,
    load,
    load_some,
    requantised,
    spread,
    store,
    store_some,
    total,
)
from edgemtl.tvm_bridge.kernels.words import Words, dot_tile

MOST_ROWS = 6


@dataclass(frozen=True)
class _Product:
    """A product while it is emitted: its operands as one axis each, and the workspaces of every part."""

    spec: QProduct
    target: CpuTarget
    a: Buffer
    b: Buffer
    packed: Buffer
    columns: Buffer
    words_of_rows: Buffer
    y: Buffer

    @property
    def words(self) -> Words:
        """How the target multiplies."""
        return Words(self.target)

    @property
    def sizes(self) -> tuple[int, int, int]:
        """M, K, N."""
        return self.spec.a[-2], self.spec.a[-1], self.spec.b[-1]

    @property
    def depth(self) -> int:
        """Words of a row of a or a column of b."""
        return self.words.count(self.spec.a[-1])

    @property
    def height(self) -> int:
        """Rows that share one reading of b."""
        return min(MOST_ROWS, self.spec.a[-2])


def pack(spec: QProduct, target: CpuTarget, constant: np.ndarray) -> tuple[np.ndarray]:
    """A constant operand as it is."""
    return (constant,)


@cache
def build(spec: QProduct, target: CpuTarget) -> Kernel:
    """The kernel of ``spec``: operands a, b, packed, columns, rows (workspaces per part), y."""
    depth, width = Words(target).count(spec.a[-1]), padded_width(spec.b[-1], target)
    signature = spec.signature
    operands = [
        *(Operand(name, kind.shape, kind.dtype, "input") for name, kind in signature.inputs.items()),
        *(Operand(name, kind.shape, kind.dtype, "weight") for name, kind in signature.constants.items()),
        Operand("packed", (target.threads, depth * width), "int32", "workspace"),
        Operand("columns", (target.threads, width), "int32", "workspace"),
        Operand("rows", (target.threads, min(MOST_ROWS, spec.a[-2]), depth), "int32", "workspace"),
        Operand("y", spec.shape, spec.how.dtype, "output"),
    ]

    def body(*buffers: Buffer) -> None:
        named = dict(zip((operand.name for operand in operands), buffers, strict=True))
        a, b, y = (flat(named[name]) for name in ("a", "b", "y"))
        _emit(_Product(spec, target, a, b, named["packed"], named["columns"], named["rows"], y))

    numbers = (
        spec.constant or "computed",
        *spec.zeros,
        spec.mul,
        spec.shift,
        spec.how.dtype,
        spec.how.zero,
        spec.how.low,
    )
    symbol = f"qproduct_{symbol_of(spec.a)}_{symbol_of(spec.b)}_" + "_".join(map(str, numbers))
    return define(symbol, operands, body)


def _emit(p: _Product) -> None:
    """Each part takes as many consecutive (matrix, share of rows) pairs as there are matrices, and packs b anew."""
    (rows, depth, width), threads = p.sizes, p.target.threads
    lead = p.spec.shape[:-2]
    axes = broadcast_axes(lead, [p.spec.a[:-2], p.spec.b[:-2]])
    matrices, blocks = math.prod(lead), -(-rows // p.height)
    with parallel(threads) as part, T.serial(matrices) as index:
        with guarded(part < threads):
            item, share = (T.bind((part * matrices + index) // threads), T.bind((part * matrices + index) % threads))
            of_a, of_b = starts_of(axes, item, 2)
            with guarded(tirx.any(share == 0, index == 0)):
                _pack(p, part, T.bind(of_b * (depth * width)))
            first = T.bind(share * blocks // threads)
            with T.serial((share + 1) * blocks // threads - first) as block:
                # The last block begins earlier rather than being smaller.
                row = T.bind(tirx.min((first + block) * p.height, i32(rows - p.height)))
                _multiply(p, part, T.bind(of_a * (rows * depth) + row * depth), T.bind(item * rows + row))


def _each_panel(p: _Product, panel: Callable[[Expr, int, int], None]) -> None:
    """Call ``panel(first column, width, columns that exist)``."""
    columns, widest = p.sizes[2], panel_width(p.target)
    if columns // widest:
        with T.serial(columns // widest) as index:
            panel(index * widest, widest, widest)
    start = columns // widest * widest
    for width, valid in panels(columns - start, p.target):
        panel(i32(start), width, valid)
        start += width


def _pack(p: _Product, part: Expr, start: Expr) -> None:
    """packed[part] = b, panel after panel, each [words, width]; columns[part] = what a column's sums lack."""
    lanes, (_, depth, width), group = p.target.lanes, p.sizes, p.words.group

    def panel(column: Expr, wide: int, valid: int) -> None:
        vectors = [(at, min(lanes, valid - at)) for at in range(0, wide, lanes)]
        sums = [local(lanes, "int32") for _ in vectors]
        for summed in sums:
            store(summed, (i32(0),), lanes, constant(0, "int32", lanes))

        def word(index: Expr, count: int) -> None:
            for (at, some), summed in zip(vectors, sums, strict=True):
                lines = [
                    T.bind(load_some(p.b, (start + (index * group + line) * width + column + at,), some, lanes))
                    for line in range(count)
                ]
                place = (part, column * p.depth + index * wide + at)
                store(p.packed, place, lanes, p.words.interleave(lines, lanes))
                added = load(summed, (i32(0),), lanes)
                for line in lines:
                    added = added + line.astype(f"int32x{lanes}")
                store(summed, (i32(0),), lanes, added)

        if depth // group:
            with T.serial(depth // group) as index:
                word(index, group)
        if depth % group:
            word(i32(depth // group), depth % group)
        lacking = constant(-(p.spec.zeros[0] + p.words.bias), "int32", lanes)
        for (at, _), summed in zip(vectors, sums, strict=True):
            store(p.columns, (part, column + at), lanes, load(summed, (i32(0),), lanes) * lacking)

    _each_panel(p, panel)


def _multiply(p: _Product, part: Expr, start: Expr, row: Expr) -> None:
    """A block of rows of a, which begins at ``start``, times b, as the rows of y from ``row`` on."""
    lanes, (_, depth, width) = p.target.lanes, p.sizes
    begins = local(p.height, "int32")
    with T.serial(p.height) as index:
        _pack_row(p, part, T.bind(start + index * depth), index, begins)

    def panel(column: Expr, wide: int, valid: int) -> None:
        sums = dot_tile(
            p.words,
            (p.height, wide // lanes),
            p.depth,
            lambda line, k: p.words_of_rows[part, line, k],
            lambda k, index: load(p.packed, (part, column * p.depth + k * wide + index * lanes), lanes),
            lambda line: begins[line],
            rows_unsigned=True,
        )
        factor = spread(f64(p.spec.mul * 2.0**-p.spec.shift), lanes)
        for index in range(wide // lanes):
            lacking = T.bind(load(p.columns, (part, column + index * lanes), lanes))
            for line in range(p.height):
                value = requantised(load(sums[line][index], (i32(0),), lanes) + lacking, factor, lanes)
                place = ((row + line) * width + column + index * lanes,)
                store_some(p.y, place, min(lanes, valid - index * lanes), lanes, finished(value, p.spec.how, lanes))

    _each_panel(p, panel)


def _pack_row(p: _Product, part: Expr, start: Expr, index: Expr, begins: Buffer) -> None:
    """The words of a row of a, and what its sums begin with."""
    group, depth, (of_a, of_b) = p.words.group, p.sizes[1], p.spec.zeros
    begin = local(1, "int32")
    T.buffer_store(begin, i32(depth * of_a * of_b), [0])

    def words(first: Expr, count: int, valid: int) -> None:
        values = T.bind(load_some(p.a, (start + first * group,), valid, count * group))
        packed = p.words.biased(p.words.pack(values, count), count)
        store(p.words_of_rows, (part, index, first), count, packed)
        if of_b:
            wide = values.astype(f"int32x{count * group}" if count * group > 1 else "int32")
            summed = total(wide, "int32") if count * group > 1 else wide
            T.buffer_store(begin, begin[0] - summed * i32(of_b), [0])

    lanes = p.target.lanes
    whole = depth // (lanes * group)
    if whole:
        with T.serial(whole) as chunk:
            words(chunk * lanes, lanes, lanes * group)
    for first, count in pieces(p.depth - whole * lanes):
        word = whole * lanes + first
        words(i32(word), count, min(count * group, depth - word * group))
    T.buffer_store(begins, begin[0], [index])
