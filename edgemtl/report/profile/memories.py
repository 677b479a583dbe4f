"""What lies where on chip: how much of each memory the plan takes, and every buffer with its cycles."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from edgemtl.hw.regions import capacities
from edgemtl.hw.spec import Engine
from edgemtl.report.profile.facts import BufferFacts, SegmentFacts
from edgemtl.report.profile.parts import BufferLife, InstructionSpan, MemoryUse

ROUTING_ENTRY_BYTES: Final = 4
MOST_EXPERTS_BYTES: Final = 8 * 256
"""Of the router's table: 8 bytes an expert, and the most experts there can be."""


def make_memories(segments: Sequence[SegmentFacts], moved: Mapping[str, int], engine: Engine) -> tuple[MemoryUse, ...]:
    """The most that any segment takes of each memory, with the bound of that segment."""
    rooms = capacities(engine) | {
        "ring": engine.weight_ring_bytes,
        "routing": engine.routing_entries * ROUTING_ENTRY_BYTES + MOST_EXPERTS_BYTES,
    }
    made = []
    for memory, room in rooms.items():
        held = [fact for segment in segments for fact in segment.memories if fact.memory == memory]
        if held:
            most = max(held, key=lambda fact: fact.bytes)
            bound = most.lower_bound
            gap = most.bytes / bound - 1 if bound else None if bound is None else 0.0
            made.append(MemoryUse(memory, most.bytes, room, bound, gap, moved.get(memory)))
    return tuple(made)


def make_buffers(segments: Sequence[SegmentFacts], spans: Sequence[InstructionSpan]) -> tuple[BufferLife, ...]:
    """Every buffer with cycles for words; one whose words never ran is left out."""
    ran = {(span.segment, span.instruction): span for span in spans}
    made = []
    for index, segment in enumerate(segments):
        for held in segment.buffers:
            first, last = ran.get((index, held.first)), ran.get((index, held.last))
            if first is not None and last is not None:
                made.append(_life(held, first, last))
    return tuple(made)


def _life(held: BufferFacts, first: InstructionSpan, last: InstructionSpan) -> BufferLife:
    end = max(first.end, last.end)
    return BufferLife(held.name, held.memory, first.layer, held.offset, held.bytes, first.start, end)
