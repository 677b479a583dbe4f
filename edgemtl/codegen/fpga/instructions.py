"""A stream while it is written: instructions on buffers, what they read and write, and the contents of the weight ring.

Instructions are in program order: executed one after the other, they compute the right result. The addresses of buffers
and the credits that make the units respect this order are decided afterwards, from what each instruction reads and
writes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from edgemtl.codegen.fpga.weights import whole_lines
from edgemtl.errors import BudgetError
from edgemtl.hw.isa import LINE_BYTES
from edgemtl.hw.spec import Engine

ROUTES: Final = "routes"
"""The router's queues and list: a state that instructions read and write."""


@dataclass(frozen=True)
class OnChipBuffer:
    """On-chip memory that instructions share: the region it must lie in, and its size in granules."""

    name: str
    region: str
    granules: int


@dataclass(frozen=True)
class At:
    """A granule of a buffer."""

    buffer: OnChipBuffer
    granule: int = 0

    def on(self, granules: int) -> At:
        """The granule ``granules`` further."""
        return At(self.buffer, self.granule + granules)


@dataclass(frozen=True)
class RowRange:
    """``rows`` rows of ``size`` granules each, ``stride`` granules apart, from ``at`` on."""

    at: At
    rows: int
    stride: int
    size: int


@dataclass(frozen=True)
class PendingInstruction:
    """An instruction before its buffers have addresses.

    at: the granule each address operand stands for. States are what it reads and writes besides buffers, by name.
    """

    name: str
    layer: int
    operands: Mapping[str, int]
    at: Mapping[str, At]
    reads: tuple[RowRange, ...] = ()
    writes: tuple[RowRange, ...] = ()
    read_states: tuple[str, ...] = ()
    written_states: tuple[str, ...] = ()


@dataclass(eq=False)
class Piece:
    """Weights in the ring; their size in lines."""

    lines: int


def stream_operands(line: int, lines: int, slot: int = 0, stride: int = 0, cached: bool = False) -> dict[str, int]:
    """The operands of STREAM."""
    return {"address": line, "lines": lines, "slot": slot, "stride": stride, "cached": int(cached), "format": 0}


@dataclass
class ParameterWindow:
    """The window `parameters`, which all tasks share: whole lines, equal contents stored once."""

    content: bytearray = field(default_factory=bytearray)
    known: dict[bytes, int] = field(default_factory=dict)

    def add(self, content: bytes) -> int:
        """Store ``content``, padded to whole lines, unless it is there already; the line where it begins."""
        if content not in self.known:
            self.known[content] = len(self.content) // LINE_BYTES
            self.content += whole_lines(content)
        return self.known[content]

    def rewind(self, size: int) -> None:
        """Forget what lies behind the first ``size`` bytes."""
        del self.content[size:]
        self.known = {content: line for content, line in self.known.items() if line * LINE_BYTES < size}


@dataclass
class Listing:
    """The instructions written so far. ``ring``: the weights in the ring, oldest first, at most ``ring_lines``."""

    engine: Engine
    ring_lines: int
    parameters: ParameterWindow
    instructions: list[PendingInstruction] = field(default_factory=list)
    ring: list[Piece] = field(default_factory=list)
    layer: int = 0
    _names: int = 0

    def buffer(self, what: str, region: str, granules: int) -> OnChipBuffer:
        """A new buffer."""
        self._names += 1
        return OnChipBuffer(f"{what}.{self._names}", region, granules)

    def append(
        self,
        name: str,
        at: Mapping[str, At],
        reads: tuple[RowRange, ...] = (),
        writes: tuple[RowRange, ...] = (),
        *,
        operands: Mapping[str, int],
        states: tuple[tuple[str, ...], tuple[str, ...]] = ((), ()),
    ) -> None:
        """Append an instruction; ``states`` are those it reads and those it writes."""
        self.instructions.append(PendingInstruction(name, self.layer, operands, at, reads, writes, *states))

    def stream(self, line: int, lines: int) -> Piece:
        """Fetch weights into the ring."""
        self.append("STREAM", {}, operands=stream_operands(line, lines))
        return self.take(lines)

    def take(self, lines: int) -> Piece:
        """Account for weights that an instruction fetches into the ring. Raises BudgetError where they do not fit."""
        piece = Piece(lines)
        self.ring.append(piece)
        lines_in_ring = sum(part.lines for part in self.ring)
        if lines_in_ring > self.ring_lines:
            needed, there = lines_in_ring * LINE_BYTES, self.ring_lines * LINE_BYTES
            raise BudgetError("weights that are used together", needed, there, "allow a larger weight ring")
        return piece

    def use(self, piece: Piece, last: bool) -> dict[str, int]:
        """The ring operands of an instruction that reads ``piece``; at its ``last`` use the piece leaves the ring."""
        offset = sum(part.lines for part in self.ring[: self.ring.index(piece)])
        if not last:
            return {"offset": offset, "release": 0}
        assert self.ring[0] is piece, "weights leave the ring in the order they came"
        self.ring.pop(0)
        return {"offset": 0, "release": piece.lines}
