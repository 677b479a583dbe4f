"""What the builder needs of a segment, wherever it comes from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy.typing as npt

Routes = tuple[npt.NDArray[Any], ...]
"""For each ROUTE with `end`, in order, the choices [tokens, k], as `hw.sim.cycle.Frame` takes them."""


@dataclass(frozen=True)
class LayerFacts:
    """A layer: its kind, the nodes of the model it computes, and its multiply-accumulates without padding."""

    name: str
    origin: tuple[str, ...]
    macs: int


@dataclass(frozen=True)
class InstructionFacts:
    """One instruction of the stream. ``text``: its disassembly; ``layer``: index of its layer.

    kind, bytes: its DRAM traffic in this frame; "" and 0 for none.
    """

    text: str
    layer: int
    kind: str = ""
    bytes: int = 0


@dataclass(frozen=True)
class BufferFacts:
    """A buffer: its memory, its offset and size in bytes, and the first and last instruction that touches it."""

    name: str
    memory: str
    offset: int
    bytes: int
    first: int
    last: int


@dataclass(frozen=True)
class MemoryFacts:
    """Bytes of a memory that the plan uses, and its lower bound; None where nothing was planned."""

    memory: str
    bytes: int
    lower_bound: int | None


@dataclass(frozen=True)
class RouterFacts:
    """A router: the index of its layer, the number of its candidates, and its prefetch list."""

    layer: int
    experts: int
    early: tuple[int, ...]


@dataclass(frozen=True)
class SegmentFacts:
    """One segment as one frame ran it; routers in the order of their ROUTE instructions."""

    layers: tuple[LayerFacts, ...]
    instructions: tuple[InstructionFacts, ...]
    buffers: tuple[BufferFacts, ...]
    memories: tuple[MemoryFacts, ...]
    routers: tuple[RouterFacts, ...]
