"""What a bundle says about one segment: its stream, its rows in memory, its plan on chip."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from edgemtl.hw.isa import REGIONS
from edgemtl.records import integer, one_of
from edgemtl.records.types import MAX_BYTES, Bytes, Count, Index, Macs

ROW_DTYPES = {"int8": 1, "uint8": 1, "int16": 2}
"""Types of the rows that cross between host CPU and accelerator, with their bytes."""


@dataclass(frozen=True)
class Rows:
    """Rows in a window: from line ``line`` of 64 bytes on, ``width`` values each, ``pitch`` bytes apart."""

    buffer: str
    line: Bytes
    rows: Count
    width: Count
    dtype: Annotated[str, one_of(*ROW_DTYPES)]
    pitch: Annotated[int, integer(1, MAX_BYTES)]

    @property
    def row_bytes(self) -> int:
        """Bytes of a row without what pads it."""
        return self.width * ROW_DTYPES[self.dtype]


@dataclass(frozen=True)
class SegmentLayer:
    """A group of steps as a user reads it: what it is, its ONNX nodes, its multiply-accumulates without padding."""

    name: str
    origin: tuple[str, ...]
    macs: Macs


@dataclass(frozen=True)
class Windows:
    """Bytes of DRAM that a segment works in, besides the parameters that all segments share."""

    input: Bytes
    output: Bytes
    scratch: Bytes


@dataclass(frozen=True)
class Routing:
    """One router: its tokens, the experts each picks, and the experts that have a logit."""

    tokens: Count
    top_k: Count
    experts: Count


@dataclass(frozen=True)
class ChipBuffer:
    """A buffer on chip: its bytes from ``offset`` in its region, in use from instruction ``first`` to ``last``."""

    name: str
    offset: Bytes
    bytes: Bytes
    first: Index
    last: Index


@dataclass(frozen=True)
class Region:
    """The plan of one region in bytes; no plan of the same instructions can be below ``lower_bound_bytes``."""

    name: Annotated[str, one_of(*REGIONS)]
    arena_bytes: Bytes
    lower_bound_bytes: Bytes
    buffers: tuple[ChipBuffer, ...]


@dataclass(frozen=True)
class Segment:
    """Neighbouring layers as one instruction stream.

    stream, layer_index: members; the second holds the place in ``layers`` of each instruction, uint16, little-endian.
    early: for each router, the experts fetched before it decides, by their place among the candidates.
    """

    stream: str
    layer_index: str
    layers: tuple[SegmentLayer, ...]
    inputs: tuple[Rows, ...]
    outputs: tuple[Rows, ...]
    windows: Windows
    early: tuple[tuple[Index, ...], ...]
    routing: tuple[Routing, ...]
    regions: tuple[Region, ...]

    @property
    def macs(self) -> int:
        """Multiply-accumulates of one run."""
        return sum(layer.macs for layer in self.layers)
