"""On-chip memories: how much of each the plan uses, and the lifetime of every buffer in cycles."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from edgemtl.hw.regions import capacities
from edgemtl.hw.spec import Engine
from edgemtl.report.profile.facts import BufferFacts, SegmentFacts
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
    uses = []
    for memory, room in rooms.items():
        facts = [fact for segment in segments for fact in segment.memories if fact.memory == memory]
        if facts:
            most = max(facts, key=lambda fact: fact.bytes)
            bound = most.lower_bound
            gap = most.bytes / bound - 1 if bound else None if bound is None else 0.0
            uses.append(MemoryUse(memory, most.bytes, room, bound, gap, moved.get(memory)))
    return tuple(uses)


def make_buffers(segments: Sequence[SegmentFacts], spans: Sequence[InstructionSpan]) -> tuple[BufferLife, ...]:
    """The lifetime of every buffer in cycles; buffers whose instructions never ran are left out."""
    ran = {(span.segment, span.instruction): span for span in spans}
    lives = []
    for index, segment in enumerate(segments):
        for buffer in segment.buffers:
            first, last = ran.get((index, buffer.first)), ran.get((index, buffer.last))
            if first is not None and last is not None:
                lives.append(_life(buffer, first, last))
    return tuple(lives)


def _life(buffer: BufferFacts, first: InstructionSpan, last: InstructionSpan) -> BufferLife:
    end = max(first.end, last.end)
    return BufferLife(buffer.name, buffer.memory, first.layer, buffer.offset, buffer.bytes, first.start, end)
