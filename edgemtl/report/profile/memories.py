"""On-chip memories: how much of each the plan uses, and the lifetime of every buffer in cycles."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from edgemtl.bundle import ChipBuffer
from edgemtl.hw.regions import capacities
from edgemtl.hw.spec import Engine
from edgemtl.report.profile.facts import SegmentFacts
from edgemtl.report.profile.parts import BufferLife, InstructionSpan, MemoryUse

ROUTING_ENTRY_BYTES: Final = 4
MOST_EXPERTS_BYTES: Final = 8 * 256
"""Bytes of the router's table for the most experts there can be, 8 bytes each."""


def make_memories(segments: Sequence[SegmentFacts], moved: Mapping[str, int], engine: Engine) -> tuple[MemoryUse, ...]:
    """The most that any segment uses of each memory, with the lower bound of that segment."""
    rooms = capacities(engine) | {
        "ring": engine.weight_ring_bytes,
        "routing": engine.routing_entries * ROUTING_ENTRY_BYTES + MOST_EXPERTS_BYTES,
    }
    rows = []
    for memory, room in rooms.items():
        uses = [use for segment in segments for use in _uses(segment, memory)]
        if uses:
            size, bound = max(uses, key=lambda use: use[0])
            gap = size / bound - 1 if bound else None if bound is None else 0.0
            rows.append(MemoryUse(memory, size, room, bound, gap, moved.get(memory)))
    return tuple(rows)


def _uses(segment: SegmentFacts, memory: str) -> Iterator[tuple[int, int | None]]:
    """Bytes that a segment takes of a memory, and the least any plan could; None where nothing is planned."""
    yield from ((r.arena_bytes, r.lower_bound_bytes) for r in segment.regions if r.name == memory)
    if memory in segment.tables:
        yield segment.tables[memory], None


def make_buffers(segments: Sequence[SegmentFacts], spans: Sequence[InstructionSpan]) -> tuple[BufferLife, ...]:
    """The lifetime of every buffer in cycles; buffers whose instructions never ran are left out."""
    ran = {(span.segment, span.instruction): span for span in spans}
    lives = []
    for index, segment in enumerate(segments):
        for memory, buffer in ((region.name, each) for region in segment.regions for each in region.buffers):
            first, last = ran.get((index, buffer.first)), ran.get((index, buffer.last))
            if first is not None and last is not None:
                lives.append(_life(memory, buffer, first, last))
    return tuple(lives)


def _life(memory: str, buffer: ChipBuffer, first: InstructionSpan, last: InstructionSpan) -> BufferLife:
    end = max(first.end, last.end)
    return BufferLife(buffer.name, memory, first.layer, buffer.offset, buffer.bytes, first.start, end)
