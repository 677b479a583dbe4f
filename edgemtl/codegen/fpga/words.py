"""A stream while it is written: words whose places are buffers, what they read and write, and what the ring holds.

Words are in program order: executed one after the other in that order they give the right answer. Where buffers lie
and which tokens make units keep to it is decided afterwards, from what each word reads and writes.
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
"""The router's queues and list, as something words read and write."""


@dataclass(frozen=True)
class Buffer:
    """Memory on chip that words share: which region it must lie in, and its size in granules."""

    name: str
    region: str
    granules: int


@dataclass(frozen=True)
class At:
    """A granule of a buffer."""

    buffer: Buffer
    granule: int = 0

    def on(self, granules: int) -> At:
        """So many granules further."""
        return At(self.buffer, self.granule + granules)


@dataclass(frozen=True)
class Rows:
    """``rows`` pieces of ``size`` granules each, ``stride`` granules apart, from ``at`` on."""

    at: At
    rows: int
    stride: int
    size: int


@dataclass(frozen=True)
class Word:
    """An instruction before its buffers have places. States are what it reads and writes beside buffers, by name."""

    name: str
    layer: int
    operands: Mapping[str, int]
    places: Mapping[str, At]
    reads: tuple[Rows, ...] = ()
    writes: tuple[Rows, ...] = ()
    read_states: tuple[str, ...] = ()
    written_states: tuple[str, ...] = ()


@dataclass(eq=False)
class Piece:
    """Weights in the ring, so many lines."""

    lines: int


@dataclass
class Parameters:
    """The window `parameters` of every task: contents by line, each once."""

    content: bytearray = field(default_factory=bytearray)
    known: dict[bytes, int] = field(default_factory=dict)

    def add(self, content: bytes) -> int:
        """The line where ``content`` begins, whole lines."""
        if content not in self.known:
            self.known[content] = len(self.content) // LINE_BYTES
            self.content += whole_lines(content)
        return self.known[content]


@dataclass
class Listing:
    """The words written so far. ``ring``: pieces that the ring holds, oldest first, at most ``ring_lines``."""

    engine: Engine
    ring_lines: int
    parameters: Parameters
    words: list[Word] = field(default_factory=list)
    ring: list[Piece] = field(default_factory=list)
    layer: int = 0
    _names: int = 0

    def buffer(self, what: str, region: str, granules: int) -> Buffer:
        """A new buffer."""
        self._names += 1
        return Buffer(f"{what}.{self._names}", region, granules)

    def word(
        self,
        name: str,
        places: Mapping[str, At],
        reads: tuple[Rows, ...] = (),
        writes: tuple[Rows, ...] = (),
        *,
        operands: Mapping[str, int],
        states: tuple[tuple[str, ...], tuple[str, ...]] = ((), ()),
    ) -> None:
        """Append a word; ``states`` are those it reads and those it writes."""
        self.words.append(Word(name, self.layer, operands, places, reads, writes, *states))

    def stream(self, line: int, lines: int) -> Piece:
        """Weights into the ring."""
        self.word("STREAM", {}, operands=dict(address=line, lines=lines, slot=0, stride=0, cached=0))
        return self.take(lines)

    def take(self, lines: int) -> Piece:
        """Count weights that a word brings into the ring. Raises BudgetError where the ring cannot hold them."""
        piece = Piece(lines)
        self.ring.append(piece)
        held = sum(part.lines for part in self.ring)
        if held > self.ring_lines:
            needed, there = held * LINE_BYTES, self.ring_lines * LINE_BYTES
            raise BudgetError("weights that are used together", needed, there, "allow a larger weight ring")
        return piece

    def use(self, piece: Piece, last: bool) -> dict[str, int]:
        """The operands of a word that reads ``piece``, which leaves the ring where this is its ``last`` use."""
        offset = sum(part.lines for part in self.ring[: self.ring.index(piece)])
        if not last:
            return {"offset": offset, "release": 0}
        assert self.ring[0] is piece, "weights leave the ring in the order they came"
        self.ring.pop(0)
        return {"offset": 0, "release": piece.lines}
