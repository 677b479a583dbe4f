"""What the builder needs of a segment, wherever it comes from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy.typing as npt

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
    """A router: the place of its layer in the layers, how many candidates it has, and those fetched early."""

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
