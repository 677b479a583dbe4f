"""Weights in 4 bits: how they are packed, and a panel of them expanded into a workspace as `int8_tiles` packs int8.

Every part of a kernel expands a panel once, before the tiles of rows that meet it: memory holds half the bytes, and the
workspace stays in the cache. A word of 16 bits has the codes of two neighbouring bytes in one step of the panel, and
of the same two in the next step.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from tvm import tirx
from tvm.script.ir_builder import tirx as T

from edgemtl.hw.law_weights4 import FRACTION_BITS, GROUP, CodedWeight, unpack_codes
from edgemtl.processor import CpuTarget, architecture_of
from edgemtl.tvm_bridge.kernel import Operand
from edgemtl.tvm_bridge.kernels.emit import Buffer, Expr, i32, panel_width, panels
from edgemtl.tvm_bridge.kernels.int8_tiles import WORD, Words, first_word, group, pack_weight, span, steps
from edgemtl.tvm_bridge.kernels.tiles import padded_width
from edgemtl.tvm_bridge.kernels.vectors import constant, vector_type

CODE_BITS = 4
PRODUCTS = {
    ("x86_64", 32): "llvm.x86.avx512.pmul.hr.sw.512",
    ("x86_64", 16): "llvm.x86.avx2.pmul.hr.sw",
    ("x86_64", 8): "llvm.x86.ssse3.pmul.hr.sw.128",
    ("aarch64", 8): "llvm.aarch64.neon.sqrdmulh.v8i16",
    ("aarch64", 4): "llvm.aarch64.neon.sqrdmulh.v4i16",
}
"""(a * b + 2^14) >> 15 of int16, by architecture and lanes."""


@dataclass(frozen=True)
class Layout:
    """Where the panels of a coded weight [k, n] lie in its words: codes of all panels, then multipliers of all."""

    k: int
    n: int
    target: CpuTarget

    @property
    def pairs(self) -> int:
        """Steps of a panel, two by two; the last one may be padded."""
        return -(-steps(self.k, self.target) // 2)

    @property
    def pairs_of_group(self) -> int:
        """Pairs that share multipliers."""
        return GROUP // (2 * group(self.target))

    @property
    def groups(self) -> int:
        """Rows of multipliers."""
        return -(-self.k // GROUP)

    @property
    def code_words(self) -> int:
        """int32 words of the codes."""
        return self.pairs * group(self.target) * padded_width(self.n, self.target) // WORD

    @property
    def words(self) -> int:
        """int32 words of codes and multipliers."""
        return self.code_words + self.groups * padded_width(self.n, self.target) // WORD

    def step_words(self, width: int) -> int:
        """int32 words of one step of an expanded panel, and of the codes of two steps."""
        return width * group(self.target) // WORD

    def workspace(self) -> Operand:
        """An expanded panel for each part of a kernel."""
        widest = min(panel_width(self.target), padded_width(self.n, self.target))
        return Operand(
            "expanded", (self.target.threads, 2 * self.pairs * self.step_words(widest)), "int32", "workspace"
        )


def pack_coded(weight: CodedWeight, target: CpuTarget) -> npt.NDArray[np.int32]:
    """A coded weight [k, n] as the words of `Layout`."""
    columns = weight.codes.shape[1]
    layout = Layout(weight.rows, columns, target)
    padded = np.zeros((2 * layout.pairs * group(target), columns), np.int8)
    padded[: weight.rows] = unpack_codes(weight.codes, weight.rows)
    codes = pack_weight(padded, target).view(np.uint8).astype(np.uint16) & 15
    widths = [width for width, _ in panels(columns, target)]
    ends = np.cumsum(widths)[:-1]
    parts = np.split(codes, ends * len(padded))
    quads = [part.reshape(layout.pairs, 2, -1, 2).transpose(0, 2, 1, 3).reshape(-1, 4) for part in parts]
    words = np.concatenate(quads) << np.arange(0, 16, CODE_BITS, dtype=np.uint16)
    of_groups = np.zeros((layout.groups, sum(widths)), np.int8)
    of_groups[:, :columns] = weight.multipliers
    multipliers = [part.ravel() for part in np.split(of_groups, ends, axis=1)]
    whole = words.sum(1, dtype=np.uint16).view(np.int32), np.concatenate(multipliers).view(np.int32)
    return np.concatenate(whole)


def pack_any(k: int, target: CpuTarget, *weight: np.ndarray) -> npt.NDArray[np.int32]:
    """A weight int8 [k, n] as `pack_weight` has it, or its codes and multipliers as `pack_coded`."""
    return pack_weight(weight[0], target) if len(weight) == 1 else pack_coded(CodedWeight(k, *weight), target)


@dataclass(frozen=True)
class Workspace:
    """The buffer of `Layout.workspace`, and the part of a kernel that works in it."""

    buffer: Buffer
    part: Expr

    def read(self, first: Expr, count: int) -> Expr:
        """``count`` words from ``first`` on."""
        return self.buffer[self.part, span(first, count)]

    def write(self, first: Expr, count: int, words: Expr) -> None:
        """Put ``count`` words at ``first``."""
        T.buffer_store(self.buffer, words, [self.part, span(first, count)])


def panel_words(
    size: tuple[int, int], target: CpuTarget, weight: Words, panel: tuple[Expr, int], workspace: Workspace | None
) -> Words:
    """The packed weights [k, n] of a panel (its first column, its width) by word, as `accumulate` reads them.

    ``weight`` gives the words from the beginning of the tensor. With a workspace they are codes, expanded there first.
    """
    (k, n), (column, width) = size, panel
    if workspace is None:
        base = first_word(k, column, target)
        return lambda at, count: weight(base + at, count)
    _expand_panel(Layout(k, n, target), weight, column, width, workspace)
    return workspace.read


def _expand_panel(layout: Layout, weight: Words, column: Expr, width: int, workspace: Workspace) -> None:
    """Expand the panel that starts at ``column``, group by group."""
    row = layout.step_words(width)
    chunk = min(layout.target.lanes, row)
    codes = T.bind(tirx.floordiv(column * (layout.pairs * group(layout.target)), WORD))
    multipliers = T.bind(i32(layout.code_words) + tirx.floordiv(column * layout.groups, WORD))
    whole, rest = divmod(layout.pairs, layout.pairs_of_group)

    def expand_group(index: Expr, pairs: int) -> None:
        of_chunks = [_multipliers(layout, weight, multipliers, width, index, at, chunk) for at in range(0, row, chunk)]
        with T.serial(pairs) as pair_index:
            pair = T.bind(index * layout.pairs_of_group + pair_index)
            for at, factors in zip(range(0, row, chunk), of_chunks, strict=True):
                words = T.bind(weight(codes + pair * row + at, chunk))
                for half, expanded in enumerate(_expand(words, factors, chunk, layout.target)):
                    workspace.write((pair * 2 + half) * row + at, chunk, expanded)

    if whole:
        with T.serial(whole) as index:
            expand_group(index, layout.pairs_of_group)
    if rest:
        expand_group(i32(whole), rest)


def _multipliers(
    layout: Layout, weight: Words, first: Expr, width: int, index: Expr, at: int, chunk: int
) -> tuple[Expr, Expr]:
    """A group's multipliers of the low and of the high bytes of ``chunk`` words from ``at`` on: int16, two a word."""
    columns = WORD // group(layout.target)
    start = T.bind(first + tirx.floordiv(index * width + at * columns, WORD))
    loaded = tirx.reinterpret(f"int8x{chunk * columns}", weight(start, max(chunk * columns // WORD, 1)))
    lanes = 2 * chunk
    if columns == 1:
        wide = loaded.astype(f"int32x{chunk}")
        both = wide << constant(16, "int32", chunk) | wide & constant(0xFFFF, "int32", chunk)
        factors = T.bind(tirx.reinterpret(f"int16x{lanes}", both))
        return factors, factors
    if columns == 2:
        factors = T.bind(loaded.astype(f"int16x{lanes}"))
        return factors, factors
    pairs = T.bind(tirx.reinterpret(f"int16x{lanes}", loaded))
    eight = constant(8, "int16", lanes)
    return T.bind((pairs << eight) >> eight), T.bind(pairs >> eight)


def _expand(words: Expr, factors: tuple[Expr, Expr], chunk: int, target: CpuTarget) -> tuple[Expr, Expr]:
    """Words of codes to the words of two steps of int8."""
    lanes = 2 * chunk
    codes = tirx.reinterpret(f"int16x{lanes}", words)
    top = constant(-(1 << 12), "int16", lanes)

    def weights(place: int, factor: Expr) -> Expr:
        """The int8 weights of the codes at nibble ``place``, in int16."""
        shifted = codes << constant(12 - CODE_BITS * place, "int16", lanes) if place < 3 else codes
        return _product(shifted & top if place else shifted, factor, lanes, target)

    def joined(low: Expr, high: Expr) -> Expr:
        both = (low & constant(0xFF, "int16", lanes)) | (high << constant(8, "int16", lanes))
        return tirx.reinterpret(vector_type("int32", chunk), both)

    low, high = factors
    return joined(weights(0, low), weights(1, high)), joined(weights(2, low), weights(3, high))


def _product(code: Expr, factor: Expr, lanes: int, target: CpuTarget) -> Expr:
    """The law's expansion of codes in the highest four bits of int16."""
    name = PRODUCTS.get((architecture_of(target), lanes))
    if name is not None:
        return T.bind(tirx.call_llvm_pure_intrin(f"int16x{lanes}", name, code, factor))
    half, eighths = (constant(value, "int16", lanes) for value in (1 << FRACTION_BITS - 1, FRACTION_BITS))
    return T.bind(((code >> constant(12, "int16", lanes)) * factor + half) >> eighths)
