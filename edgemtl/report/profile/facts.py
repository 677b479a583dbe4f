"""What the builder needs of a segment, wherever it comes from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy.typing as npt

from edgemtl.bundle import Region, SegmentLayer

Routes = tuple[npt.NDArray[Any], ...]
"""For each ROUTE with `end`, in order, the choices [tokens, k], as `hw.sim.cycle.Frame` takes them."""


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
class RouterFacts:
    """A router: the index of its layer, the number of its candidates, and its prefetch list."""

    layer: int
    experts: int
    early: tuple[int, ...]


@dataclass(frozen=True)
class SegmentFacts:
    """One segment as one frame ran it; routers in the order of their ROUTE instructions.

    tables: bytes of the memories on chip that nothing is planned in: the weight ring and the router's table.
    """

    layers: tuple[SegmentLayer, ...]
    instructions: tuple[InstructionFacts, ...]
    regions: tuple[Region, ...]
    tables: Mapping[str, int]
    routers: tuple[RouterFacts, ...]
