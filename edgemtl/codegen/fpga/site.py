"""Where the tensors of a segment are while it is written, and how they are loaded and stored."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from edgemtl.bundle import Routing
from edgemtl.codegen.fpga import emit
from edgemtl.codegen.fpga.emit import OnChipTensor, make_tensor
from edgemtl.codegen.fpga.instructions import Listing, OnChipBuffer
from edgemtl.codegen.fpga.weights import pitch
from edgemtl.hw.isa import LINE_BYTES
from edgemtl.lowering.ir import View
from edgemtl.schedule.tiling import TilingLimits

REGION_OF = {"int16": "residual", "int8": "input"}
"""The region that rows from DRAM are loaded into, by their type."""


def whole_lines(size: int) -> int:
    """Bytes of the lines that ``size`` bytes take."""
    return -(-size // LINE_BYTES) * LINE_BYTES


@dataclass(frozen=True)
class Stored:
    """Rows in DRAM: ``width`` values each, ``pitch`` bytes apart, from ``line`` of a window on."""

    buffer: str
    window: str
    line: int
    rows: int
    width: int
    dtype: str
    pitch: int

    @property
    def bytes(self) -> int:
        """Bytes it takes, whole lines."""
        return whole_lines(self.rows * self.pitch)


@dataclass(frozen=True)
class ExpertOrder:
    """How experts are fetched. ``prefetched``: the prefetch list of each gate, by the buffer of its output.

    For comparison: ``by_token`` fetches an expert when a token needs it. A cache then keeps ``cache`` experts and
    replaces the least recently used one; with 0 every visit fetches its expert. ``resident`` keeps all experts of a
    layer on chip at once.
    """

    prefetched: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    by_token: bool = False
    cache: int = 0
    resident: bool = False

    def prefetch_list(self, gate: str, candidates: int) -> tuple[int, ...]:
        """The prefetched ones of ``candidates`` experts, for the gate whose output is ``gate``; none in token order."""
        if self.resident:
            return tuple(range(candidates))
        return () if self.by_token else self.prefetched.get(gate, ())


@dataclass(frozen=True)
class Crossing:
    """What a segment does with buffers of the steps.

    ``outgoing``: those that steps outside the segment read. ``spilled``: those that are in DRAM between the groups, for
    want of room on chip. ``last_reads``: the last group of the segment that reads each. ``by_rows``: those of which a
    group reads rows that begin on lines; the others lie in DRAM without gaps.
    """

    outgoing: frozenset[str]
    spilled: frozenset[str] = frozenset()
    last_reads: Mapping[str, int] = field(default_factory=dict)
    by_rows: frozenset[str] = frozenset()


@dataclass
class Site:
    """A segment while it is written. ``homes``: rows on chip, by buffer of the steps. ``stored``: rows in DRAM.

    ``open``: by on-chip buffer of upper halves, the lower halves of sums of experts. ``sizes``: bytes of each window.
    ``owners``: by on-chip buffer, the buffers of the steps that would free it if they were spilled. ``routings``: what
    each list of the router is of; ``prefetched``: the prefetch list of each.
    ``runs``: pixels of rows and of their parts, by buffer of the images.
    """

    listing: Listing
    limits: TilingLimits
    experts: ExpertOrder
    crossing: Crossing
    runs: Mapping[str, frozenset[int]] = field(default_factory=dict)
    homes: dict[str, OnChipTensor] = field(default_factory=dict)
    stored: dict[str, Stored] = field(default_factory=dict)
    open: dict[OnChipBuffer, OnChipTensor] = field(default_factory=dict)
    owners: dict[OnChipBuffer, set[str]] = field(default_factory=dict)
    routings: list[Routing] = field(default_factory=list)
    prefetched: list[tuple[int, ...]] = field(default_factory=list)
    sizes: dict[str, int] = field(default_factory=lambda: {"input": 0, "output": 0, "scratch": 0})

    def reserve(self, buffer: str, window: str, rows: int, width: int, dtype: str, pitch_bytes: int) -> Stored:
        """Reserve DRAM for the rows of ``buffer``."""
        stored = Stored(buffer, window, self.sizes[window] // LINE_BYTES, rows, width, dtype, pitch_bytes)
        self.stored[buffer] = stored
        self.sizes[window] += stored.bytes
        return stored

    def row_pitch(self, buffer: str, row_bytes: int) -> int:
        """Bytes from one row of a buffer to the next in DRAM: rows are contiguous where no layer reads them one by one
        and all rows of pixels, and parts of them, begin and end on lines; else each begins on a line."""
        whole = all(run * row_bytes % LINE_BYTES == 0 for run in self.runs.get(buffer, ()))
        contiguous = whole and buffer not in self.crossing.by_rows
        return row_bytes if contiguous else whole_lines(row_bytes)

    def reserve_rows(self, view: View, window: str, width: int) -> Stored:
        """Reserve DRAM for all of a buffer, in rows of ``width``, as the groups that read it need them."""
        row = self.row_pitch(view.buffer, pitch(self.listing.engine, width) * view.itemsize)
        return self.reserve(view.buffer, window, view.size // width, width, view.dtype, row)

    def tensor(self, view: View) -> OnChipTensor:
        """The rows a step reads, all on chip: loaded from DRAM where they are not, for this step where spilled."""
        home = self.homes.get(view.buffer)
        if home is None:
            home = self._load(self.stored[view.buffer])
            if view.buffer not in self.crossing.spilled:
                self.homes[view.buffer] = home
        return home.part(view.offset // view.shape[-1], view.shape[0])

    def rows(self, view: View) -> RowSource:
        """The rows a step reads block by block: on chip, or spilled and loaded when a block is asked for."""
        if view.buffer not in self.crossing.spilled:
            return self.tensor(view)
        return SpilledRows(self, self.stored[view.buffer], view.offset // view.shape[-1])

    def may_change(self, view: View) -> bool:
        """Whether a step may write over rows that it reads on chip: no later group of the segment reads them."""
        dense = view.buffer not in self.crossing.spilled
        return dense and self.crossing.last_reads[view.buffer] <= self.listing.layer

    def changeable(self, view: View) -> OnChipTensor:
        """Rows that a step reads and writes over: those on chip where it may, else a copy by way of DRAM."""
        home = self.tensor(view)
        self.settle_all(home)
        if view.buffer in self.crossing.spilled or self.may_change(view):
            return home
        if view.buffer not in self.stored:
            self._store_home(view, self.homes[view.buffer])
        return self._load(self.stored[view.buffer]).part(view.offset // view.shape[-1], view.shape[0])

    def _load(self, stored: Stored) -> OnChipTensor:
        size = 2 if stored.dtype == "int16" else 1
        home = make_tensor(self.listing, stored.buffer, REGION_OF[stored.dtype], stored.rows, stored.width, size)
        for first, rows in self.limits.token_blocks(stored.rows):
            self.load_block(stored, first, home.part(first, rows))
        return home

    def load_block(self, stored: Stored, first: int, block: OnChipTensor) -> None:
        """Load rows from ``first`` on."""
        step = stored.pitch // LINE_BYTES
        emit.load(self.listing, stored.window, stored.line + first * step, step, block, (stored.buffer,))

    def begin(self, view: View, what: str, region: str) -> OnChipTensor | None:
        """Room on chip for the rows that a step writes; None where they are spilled, and `end_block` stores them."""
        if view.buffer in self.crossing.spilled:
            self.reserve_result(view)
            return None
        home = make_tensor(self.listing, what, region, view.shape[0], view.shape[-1], view.itemsize)
        self.homes[view.buffer] = home
        return home

    def end_block(self, view: View, first: int, block: OnChipTensor, column: int = 0) -> None:
        """Store the rows of a block that a step has written, from ``first`` on, where they are spilled.

        ``column``: the first byte of the block among those of a row; it begins a line.
        """
        if view.buffer in self.crossing.spilled:
            self.store_block(self.stored[view.buffer], first, block, column)

    def reserve_result(self, view: View) -> Stored:
        """Reserve DRAM for the result of a step: the output window where others read it, else scratch."""
        rows, width = view.shape
        return self.reserve(view.buffer, self.window_of(view), rows, width, view.dtype, self._pitch(view))

    def window_of(self, view: View) -> str:
        """The window of DRAM that a result goes to: `output` where steps outside the segment read it."""
        return "output" if view.buffer in self.crossing.outgoing else "scratch"

    def _pitch(self, view: View) -> int:
        """Bytes from one row to the next in DRAM: whole lines."""
        return whole_lines(pitch(self.listing.engine, view.shape[-1]) * view.itemsize)

    def store_block(self, stored: Stored, first: int, block: OnChipTensor, column: int = 0) -> None:
        """Store rows from ``first`` on, their bytes from ``column`` on."""
        step = stored.pitch // LINE_BYTES
        line = stored.line + first * step + column // LINE_BYTES
        emit.store(self.listing, stored.window, line, step, block, (stored.buffer,))

    def keep(self, view: View) -> None:
        """Store the result of a step that readers outside the segment or later groups find in DRAM."""
        name = view.buffer
        if name not in self.stored and name in self.crossing.outgoing | self.crossing.spilled:
            home = self.tensor(view)
            self.settle_all(home)
            self._store_home(view, home)
        if name in self.crossing.spilled:
            self.homes.pop(name, None)

    def _store_home(self, view: View, home: OnChipTensor) -> None:
        stored = self.reserve(view.buffer, self.window_of(view), home.rows, home.width, view.dtype, self._pitch(view))
        for first, rows in self.limits.token_blocks(stored.rows):
            self.store_block(stored, first, home.part(first, rows))

    def settle(self, home: OnChipTensor, first: int, rows: int) -> None:
        """Turn sums of experts, where these are in two halves, into rows of 16 bits."""
        low = self.open.get(home.at.buffer)
        if low is not None:
            start = home.at.granule + first * home.stride
            part = low.part(start // low.stride, rows)
            sums(self.listing, "SETTLE", home.part(first, rows), part)

    def settle_all(self, home: OnChipTensor) -> None:
        """`settle` of all rows."""
        for first, rows in self.limits.token_blocks(home.rows):
            self.settle(home, first, rows)
        self.open.pop(home.at.buffer, None)


class RowSource(Protocol):
    """Rows that are read block by block."""

    @property
    def rows(self) -> int:
        """How many there are."""

    def part(self, first: int, rows: int) -> OnChipTensor:
        """``rows`` rows from ``first`` on, on chip."""


@dataclass(frozen=True)
class SpilledRows:
    """Rows in DRAM from ``start`` on; each block is loaded when it is asked for."""

    site: Site
    stored: Stored
    start: int

    @property
    def rows(self) -> int:
        """How many there are."""
        return self.stored.rows - self.start

    def part(self, first: int, rows: int) -> OnChipTensor:
        """Load ``rows`` rows from ``first`` on."""
        stored = self.stored
        size = 2 if stored.dtype == "int16" else 1
        region = REGION_OF[stored.dtype]
        block = make_tensor(self.site.listing, stored.buffer, region, rows, stored.width, size)
        self.site.load_block(stored, self.start + first, block)
        return block


def sums(listing: Listing, name: str, high: OnChipTensor, low: OnChipTensor) -> None:
    """OPEN or SETTLE of rows."""
    touched = (emit.rows_of(high), emit.rows_of(low))
    reads = touched[:1] if name == "OPEN" else touched
    writes = touched if name == "OPEN" else touched[:1]
    at = {"high": high.at, "low": low.at}
    listing.append(name, at, reads, writes, operands=dict(stride=high.stride, rows=high.rows, width=high.width))
