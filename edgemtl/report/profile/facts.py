"""What the builder needs of a compiled segment, wherever it comes from: a `Segment`, or a bundle's manifest."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy.typing as npt

from edgemtl.hw.isa import Stream, decode_stream, disassemble
from edgemtl.hw.sim.cycle import Frame
from edgemtl.hw.sim.cycle.plan import plan
from edgemtl.hw.sim.cycle.words import Moved
from edgemtl.hw.spec import AcceleratorSpec, Engine

if TYPE_CHECKING:
    from edgemtl.codegen.fpga.segment import Segment

Routes = tuple[npt.NDArray[Any], ...]
"""For each ROUTE with `end`, in order, the choices [tokens, k], as `hw.sim.cycle.Frame` takes them."""


@dataclass(frozen=True)
class LayerFacts:
    """A layer: what it is, the nodes of the model it stands for, and its products without padding."""

    name: str
    origin: tuple[str, ...]
    macs: int


@dataclass(frozen=True)
class WordFacts:
    """An instruction in its place of the stream. ``text``: its disassembly; ``layer``: its place in the layers.

    kind and bytes: what it moved of the board's memory in this frame; "" and 0 for none.
    """

    text: str
    layer: int
    kind: str = ""
    bytes: int = 0


@dataclass(frozen=True)
class BufferFacts:
    """A buffer's place in its memory, in bytes, and the first and last word that touches it."""

    name: str
    memory: str
    offset: int
    bytes: int
    first: int
    last: int


@dataclass(frozen=True)
class MemoryFacts:
    """Bytes that a plan takes of a memory and the least any plan could, None where nothing was planned."""

    memory: str
    bytes: int
    lower_bound: int | None


@dataclass(frozen=True)
class RouterFacts:
    """A layer of experts: its place in the layers, how many candidates it has, and those fetched early."""

    layer: int
    experts: int
    early: tuple[int, ...]


@dataclass(frozen=True)
class SegmentFacts:
    """One segment as one frame ran it; routers in the order of their ROUTE words."""

    layers: tuple[LayerFacts, ...]
    words: tuple[WordFacts, ...]
    buffers: tuple[BufferFacts, ...]
    memories: tuple[MemoryFacts, ...]
    routers: tuple[RouterFacts, ...]


def words_of(
    stream: Stream, layer: Sequence[int], routes: Routes, early: tuple[tuple[int, ...], ...], engine: Engine
) -> tuple[WordFacts, ...]:
    """Every word of a stream, with the bytes it moves when the routers decide so.

    Raises what `hw.sim.cycle.simulate` raises for the frame, and ValueError where ``layer`` has another length.
    """
    (program,) = plan([Frame(stream, routes, early)], engine)
    made = []
    for word, instruction, place in zip(program.words, stream.instructions, layer, strict=True):
        moved = word.work if isinstance(word.work, Moved) and word.work.size else Moved("", 0, 0)
        made.append(WordFacts(disassemble(instruction), place, moved.kind, moved.size))
    return tuple(made)


def facts_of(segment: Segment, routes: Routes, spec: AcceleratorSpec) -> SegmentFacts:
    """The facts of a compiled segment. Raises what `words_of` and `decode_stream` raise."""
    stream = decode_stream(segment.stream, spec.engine)
    return SegmentFacts(
        tuple(LayerFacts(layer.name, layer.origin, layer.macs) for layer in segment.layers),
        words_of(stream, segment.layer, routes, segment.early, spec.engine),
        _buffers(segment, spec.engine.array_columns),
        _memories(segment),
        _routers(segment),
    )


def _buffers(segment: Segment, granule: int) -> tuple[BufferFacts, ...]:
    placed = segment.placement
    return tuple(
        BufferFacts(
            held.name,
            held.region,
            placed.addresses[held.name] * granule,
            held.granules * granule,
            *placed.lives[held.name],
        )
        for held in placed.buffers
    )


def _memories(segment: Segment) -> tuple[MemoryFacts, ...]:
    plans = segment.placement.plans
    bounds = {memory: made.lower_bound_bytes for memory, made in plans.items()}
    return tuple(MemoryFacts(memory, size, bounds.get(memory)) for memory, size in segment.on_chip.items())


def _routers(segment: Segment) -> tuple[RouterFacts, ...]:
    """One for each layer of experts; layers and routers stand in the same order."""
    places = [index for index, layer in enumerate(segment.layers) if layer.name == "experts"]
    routers = zip(places, segment.routing, segment.early, strict=True)
    return tuple(RouterFacts(place, experts, early) for place, (_, _, experts), early in routers)
