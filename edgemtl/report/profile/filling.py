"""Facts of a segment, from its entry in a bundle."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from edgemtl import bundle
from edgemtl.hw.encoding import Stream, disassemble
from edgemtl.hw.isa import LINE_BYTES
from edgemtl.hw.sim.cycle import Frame
from edgemtl.hw.sim.cycle.instructions import Moved
from edgemtl.hw.sim.cycle.plan import plan
from edgemtl.hw.spec import Engine
from edgemtl.report.profile.facts import InstructionFacts, RouterFacts, Routes, SegmentFacts

Early = tuple[tuple[int, ...], ...]

ENTRY_BYTES: Final = 4
EXPERT_BYTES: Final = 8
"""Bytes in the router's table for each pair of token and expert, and for each expert."""


def facts_of_bundle(
    segment: bundle.Segment, stream: Stream, layer: Sequence[int], routes: Routes, engine: Engine
) -> SegmentFacts:
    """The facts of a bundle's segment; ``stream`` and ``layer`` are the members it names, decoded.

    Raises what `instructions_of` raises.
    """
    table = (ENTRY_BYTES * router.tokens * router.top_k + EXPERT_BYTES * router.experts for router in segment.routing)
    return SegmentFacts(
        segment.layers,
        instructions_of(stream, layer, routes, segment.early, engine),
        segment.regions,
        {"ring": _ring_bytes(stream), "routing": max(table, default=0)},
        routers_of(stream, layer, segment.early),
    )


def instructions_of(
    stream: Stream, layer: Sequence[int], routes: Routes, early: Early, engine: Engine
) -> tuple[InstructionFacts, ...]:
    """Every instruction of a stream, with the bytes it transfers for these ``routes``; ``layer``: the layer of each.

    Raises what `hw.sim.cycle.simulate` raises for the frame, and ValueError where ``layer`` has another length.
    """
    (program,) = plan([Frame(stream, routes, early)], engine)
    facts = []
    for word, instruction, place in zip(program.instructions, stream.instructions, layer, strict=True):
        kind, size = (word.work.kind, word.work.size) if isinstance(word.work, Moved) and word.work.size else ("", 0)
        facts.append(InstructionFacts(disassemble(instruction), int(place), kind, size))
    return tuple(facts)


def routers_of(stream: Stream, layer: Sequence[int], early: Early) -> tuple[RouterFacts, ...]:
    """One router for each ROUTE that writes a list.

    The number of candidates is that of the entries its layer has instructions for; in token order, where each entry is
    a visit, that of the logits.
    """
    ends = [(at, route) for at, route in enumerate(stream.instructions) if route.name == "ROUTE" and route["end"]]
    return tuple(
        RouterFacts(
            int(layer[at]), route["experts"] if route["cache"] else _slots(stream, layer, int(layer[at])), first
        )
        for (at, route), first in zip(ends, early or ((),) * len(ends), strict=True)
    )


def _slots(stream: Stream, layer: Sequence[int], place: int) -> int:
    own = (instruction for instruction, of in zip(stream.instructions, layer, strict=True) if int(of) == place)
    return max(instruction.operands.get("slot", 0) for instruction in own)


def _ring_bytes(stream: Stream) -> int:
    """Bytes of the ring, and of the cache of experts behind it where instructions use one."""
    instructions = stream.instructions
    cached = any(instruction.operands.get("cached", 0) for instruction in instructions)
    cache = max(
        (instruction["cache"] * instruction["lines"] for instruction in instructions if instruction.name == "ROUTE"),
        default=0,
    )
    return (stream.ring_lines + cached * cache) * LINE_BYTES
