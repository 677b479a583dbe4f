"""Facts of a segment, from what a bundle says."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from edgemtl import bundle
from edgemtl.hw.encoding import Stream, disassemble
from edgemtl.hw.isa import LINE_BYTES
from edgemtl.hw.sim.cycle import Frame
from edgemtl.hw.sim.cycle.plan import plan
from edgemtl.hw.sim.cycle.words import Moved
from edgemtl.hw.spec import Engine
from edgemtl.report.profile.facts import RouterFacts, Routes, SegmentFacts, WordFacts

Early = tuple[tuple[int, ...], ...]

ENTRY_BYTES: Final = 4
EXPERT_BYTES: Final = 8
"""Of the router's table, for a pair of token and expert, and for an expert."""


def facts_of_bundle(
    held: bundle.Segment, stream: Stream, layer: Sequence[int], routes: Routes, engine: Engine
) -> SegmentFacts:
    """The facts of a bundle's segment; ``stream`` and ``layer`` are the members it names, decoded.

    Raises what `words_of` raises.
    """
    table = (ENTRY_BYTES * router.tokens * router.top_k + EXPERT_BYTES * router.experts for router in held.routing)
    return SegmentFacts(
        held.layers,
        words_of(stream, layer, routes, held.early, engine),
        held.regions,
        {"ring": _ring_bytes(stream), "routing": max(table, default=0)},
        routers_of(stream, layer, held.early),
    )


def words_of(
    stream: Stream, layer: Sequence[int], routes: Routes, early: Early, engine: Engine
) -> tuple[WordFacts, ...]:
    """Every word of a stream, with the bytes it moves when the routers decide so; ``layer`` has each one's layer.

    Raises what `hw.sim.cycle.simulate` raises for the frame, and ValueError where ``layer`` has another length.
    """
    (program,) = plan([Frame(stream, routes, early)], engine)
    made = []
    for word, instruction, place in zip(program.words, stream.instructions, layer, strict=True):
        moved = word.work if isinstance(word.work, Moved) and word.work.size else Moved("", 0, 0)
        made.append(WordFacts(disassemble(instruction), int(place), moved.kind, moved.size))
    return tuple(made)


def routers_of(stream: Stream, layer: Sequence[int], early: Early) -> tuple[RouterFacts, ...]:
    """One for each ROUTE that makes a list.

    Its candidates are as many as its layer has words for entries; in order of tokens, where an entry is a visit, as
    many as there are logits.
    """
    ends = [(at, made) for at, made in enumerate(stream.instructions) if made.name == "ROUTE" and made["end"]]
    return tuple(
        RouterFacts(int(layer[at]), made["experts"] if made["cache"] else _slots(stream, layer, int(layer[at])), first)
        for (at, made), first in zip(ends, early or ((),) * len(ends), strict=True)
    )


def _slots(stream: Stream, layer: Sequence[int], place: int) -> int:
    own = (made for made, of in zip(stream.instructions, layer, strict=True) if int(of) == place)
    return max(made.operands.get("slot", 0) for made in own)


def _ring_bytes(stream: Stream) -> int:
    """The ring, and the cache of experts behind it where words use one."""
    words = stream.instructions
    cached = any(made.operands.get("cached", 0) for made in words)
    cache = max((made["cache"] * made["lines"] for made in words if made.name == "ROUTE"), default=0)
    return (stream.ring_lines + cached * cache) * LINE_BYTES
