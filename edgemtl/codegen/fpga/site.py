"""Where the tensors of a segment are while it is written, and how they come onto the chip and leave it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from edgemtl.codegen.fpga import emit
from edgemtl.codegen.fpga.emit import Tensor, make_tensor
from edgemtl.codegen.fpga.weights import pitch
from edgemtl.codegen.fpga.words import Buffer, Listing
from edgemtl.hw.isa import LINE_BYTES
from edgemtl.lowering.ir import View
from edgemtl.schedule.tiling import Limits

REGION_OF = {"int16": "residual", "int8": "input"}
"""Where rows go that come from memory."""


@dataclass(frozen=True)
class Stored:
    """Rows in the board's memory: ``width`` values each, ``lines`` or parts of lines (``pitch`` bytes) apart."""

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
    """How experts come onto the chip. ``early``: by a gate's output, those fetched before it has decided.

    ``by_token``: an expert comes when a token needs it, for comparison; ``cache`` experts are held then and the least
    recently used one is replaced, 0 fetches one at every visit. ``resident``: all experts of a layer are on chip at
    once, for comparison.
    """

    early: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    by_token: bool = False
    cache: int = 0
    resident: bool = False

    def early_of(self, gate: str, candidates: int) -> tuple[int, ...]:
        """The early ones of ``candidates`` experts, of the gate whose output is ``gate``; none in token order."""
        if self.resident:
            return tuple(range(candidates))
        return () if self.by_token else self.early.get(gate, ())


@dataclass
class Site:
    """``homes``: rows on chip by buffer of the steps. ``stored``: rows in memory.

    ``open``: lower halves of sums whose upper halves are a home. ``outgoing``: buffers that somebody outside the
    segment reads.
    """

    listing: Listing
    limits: Limits
    experts: ExpertOrder
    outgoing: frozenset[str]
    homes: dict[str, Tensor] = field(default_factory=dict)
    stored: dict[str, Stored] = field(default_factory=dict)
    open: dict[Buffer, Tensor] = field(default_factory=dict)
    sizes: dict[str, int] = field(default_factory=lambda: {"input": 0, "output": 0, "scratch": 0})

    def reserve(self, buffer: str, window: str, rows: int, width: int, dtype: str, pitch_bytes: int) -> Stored:
        """Memory for the rows of ``buffer``."""
        made = Stored(buffer, window, self.sizes[window] // LINE_BYTES, rows, width, dtype, pitch_bytes)
        self.stored[buffer] = made
        self.sizes[window] += made.bytes
        return made

    def tensor(self, view: View) -> Tensor:
        """The rows a step reads, brought from memory where they are not on chip."""
        if view.buffer not in self.homes:
            self._bring(self.stored[view.buffer])
        home = self.homes[view.buffer]
        first = view.offset // view.shape[-1]
        return home.part(first, view.shape[0])

    def _bring(self, held: Stored) -> None:
        size = 2 if held.dtype == "int16" else 1
        home = make_tensor(self.listing, held.buffer, REGION_OF[held.dtype], held.rows, held.width, size)
        self.homes[held.buffer] = home
        step = held.pitch // LINE_BYTES
        for first, rows in self.limits.token_blocks(held.rows):
            emit.load(self.listing, held.window, held.line + first * step, step, home.part(first, rows))

    def keep(self, view: View) -> None:
        """Store the rows a step made in the output window: somebody outside the segment reads them."""
        home = self.tensor(view)
        self.settle_all(home)
        itemsize = home.itemsize
        row = -(-pitch(self.listing.engine, view.shape[-1]) * itemsize // LINE_BYTES) * LINE_BYTES
        held = self.reserve(view.buffer, "output", view.shape[0], view.shape[-1], view.dtype, row)
        for first, rows in self.limits.token_blocks(held.rows):
            step = row // LINE_BYTES
            emit.store(self.listing, held.window, held.line + first * step, step, home.part(first, rows))

    def settle(self, home: Tensor, first: int, rows: int) -> None:
        """Make sums of experts rows of 16 bits again, where they are not yet."""
        low = self.open.get(home.at.buffer)
        if low is not None:
            start = home.at.granule + first * home.stride
            part = low.part(start // low.stride, rows)
            sums(self.listing, "SETTLE", home.part(first, rows), part)

    def settle_all(self, home: Tensor) -> None:
        """`settle` of all rows."""
        for first, rows in self.limits.token_blocks(home.rows):
            self.settle(home, first, rows)
        self.open.pop(home.at.buffer, None)


def sums(listing: Listing, name: str, high: Tensor, low: Tensor) -> None:
    """OPEN or SETTLE of rows."""
    touched = (emit.rows_of(high), emit.rows_of(low))
    reads = touched[:1] if name == "OPEN" else touched
    writes = touched if name == "OPEN" else touched[:1]
    places = {"high": high.at, "low": low.at}
    listing.word(name, places, reads, writes, operands=dict(stride=high.stride, rows=high.rows, width=high.width))
