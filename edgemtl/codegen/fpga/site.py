"""Where the tensors of a segment are while it is written, and how they are loaded and stored."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from edgemtl.codegen.fpga import emit
from edgemtl.codegen.fpga.emit import OnChipTensor, make_tensor
from edgemtl.codegen.fpga.instructions import Listing, OnChipBuffer
from edgemtl.codegen.fpga.weights import pitch
from edgemtl.hw.isa import LINE_BYTES
from edgemtl.lowering.ir import View
from edgemtl.schedule.tiling import TilingLimits

REGION_OF = {"int16": "residual", "int8": "input"}
"""The region that rows from DRAM are loaded into, by their type."""


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
        return -(-self.rows * self.pitch // LINE_BYTES) * LINE_BYTES


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


@dataclass
class Site:
    """A segment while it is written. ``homes``: rows on chip, by buffer of the steps. ``stored``: rows in DRAM.

    ``open``: by on-chip buffer of upper halves, the lower halves of sums of experts. ``outgoing``: buffers that steps
    outside the segment read. ``sizes``: bytes of each window. ``runs``: pixels of
    rows and of their parts, by buffer of the images.
    """

    listing: Listing
    limits: TilingLimits
    experts: ExpertOrder
    outgoing: frozenset[str]
    runs: Mapping[str, frozenset[int]] = field(default_factory=dict)
    homes: dict[str, OnChipTensor] = field(default_factory=dict)
    stored: dict[str, Stored] = field(default_factory=dict)
    open: dict[OnChipBuffer, OnChipTensor] = field(default_factory=dict)
    sizes: dict[str, int] = field(default_factory=lambda: {"input": 0, "output": 0, "scratch": 0})

    def reserve(self, buffer: str, window: str, rows: int, width: int, dtype: str, pitch_bytes: int) -> Stored:
        """Reserve DRAM for the rows of ``buffer``."""
        stored = Stored(buffer, window, self.sizes[window] // LINE_BYTES, rows, width, dtype, pitch_bytes)
        self.stored[buffer] = stored
        self.sizes[window] += stored.bytes
        return stored

    def pixel_pitch(self, buffer: str, pixel_bytes: int) -> int:
        """Bytes from one pixel of an image to the next in DRAM: pixels are contiguous where all rows and parts of them
        begin and end on lines, else each begins on a line."""
        whole = all(run * pixel_bytes % LINE_BYTES == 0 for run in self.runs[buffer])
        return pixel_bytes if whole else -(-pixel_bytes // LINE_BYTES) * LINE_BYTES

    def tensor(self, view: View) -> OnChipTensor:
        """The rows a step reads, loaded from DRAM where they are not on chip."""
        if view.buffer not in self.homes:
            self._load(self.stored[view.buffer])
        home = self.homes[view.buffer]
        assert home.width == view.shape[-1], f"{view.buffer} must be read in rows of {home.width} values"
        first = view.offset // view.shape[-1]
        return home.part(first, view.shape[0])

    def _load(self, stored: Stored) -> None:
        size = 2 if stored.dtype == "int16" else 1
        home = make_tensor(self.listing, stored.buffer, REGION_OF[stored.dtype], stored.rows, stored.width, size)
        self.homes[stored.buffer] = home
        if stored.pitch % LINE_BYTES:
            self._load_contiguous(stored, home)
            return
        step = stored.pitch // LINE_BYTES
        for first, rows in self.limits.token_blocks(stored.rows):
            emit.load(self.listing, stored.window, stored.line + first * step, step, home.part(first, rows))

    def _load_contiguous(self, stored: Stored, home: OnChipTensor) -> None:
        """Load rows that lie in DRAM as on chip, one behind the other: in runs of whole lines, then the rest."""
        run = LINE_BYTES // math.gcd(stored.pitch, LINE_BYTES)
        lines = run * stored.pitch // LINE_BYTES
        whole, rest = divmod(stored.rows, run)
        for first, count, rows in ((0, whole, run), (whole, bool(rest), rest)):
            if count:
                part = OnChipTensor(home.at.on(first * run * home.stride), count, 0, home.itemsize, rows * home.stride)
                emit.load(self.listing, stored.window, stored.line + first * lines, lines, part)

    def store_output(self, view: View) -> None:
        """Store the result of a step in the output window, for readers outside the segment."""
        home = self.tensor(view)
        self.settle_all(home)
        itemsize = home.itemsize
        row = -(-pitch(self.listing.engine, view.shape[-1]) * itemsize // LINE_BYTES) * LINE_BYTES
        stored = self.reserve(view.buffer, "output", view.shape[0], view.shape[-1], view.dtype, row)
        for first, rows in self.limits.token_blocks(stored.rows):
            step = row // LINE_BYTES
            emit.store(self.listing, stored.window, stored.line + first * step, step, home.part(first, rows))

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


def sums(listing: Listing, name: str, high: OnChipTensor, low: OnChipTensor) -> None:
    """OPEN or SETTLE of rows."""
    touched = (emit.rows_of(high), emit.rows_of(low))
    reads = touched[:1] if name == "OPEN" else touched
    writes = touched if name == "OPEN" else touched[:1]
    at = {"high": high.at, "low": low.at}
    listing.append(name, at, reads, writes, operands=dict(stride=high.stride, rows=high.rows, width=high.width))
