"""The instruction set of the accelerator: one table, from which encoder, decoder, documents and SystemVerilog follow.

An instruction has 256 bits, little-endian. Its header says what it is, which units it waits for and which it signals;
operands follow from bit `OPERAND_BIT` on in the order of the table, and the bits behind them are 0. A stream is a
HEAD, instructions, and an END. Each unit executes its own instructions in order; see
docs/accelerator.md for what each one does. Addresses on chip count granules, the bytes of one array row
(`array_columns`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from edgemtl.hw import isa_vector as vector
from edgemtl.hw import operands
from edgemtl.hw.operands import BYTE, MUL, ROWS, SCORES, SHIFT, SKIP, SLOT, Field, Operation, place, stride

INSTRUCTION_BYTES: Final = 32
MAGIC: Final = 0x4C544D45  # "EMTL"
VERSION: Final = 2
LINE_BYTES: Final = 64
"""The unit of weight addresses, of the weight ring's offsets and of memory addresses: a burst is a multiple of it."""

UNITS: Final = ("weights", "data", "matrix", "softmax", "vector", "router")
"""Units in the order of their bits in wait and signal masks; the sequencer takes HEAD and END itself."""
SEQUENCER: Final = "sequencer"

REGIONS: Final = operands.REGIONS
"""Memories on chip by the number an address names them with."""
INT8_WEIGHTS, CODED_WEIGHTS = 0, 1
"""Formats of weights in the ring: int8, and the codes and multipliers of `hw/law_weights4.py`."""
WINDOWS: Final = ("parameters", "input", "output", "scratch")
"""Windows of DRAM in the order of the numbers by which LOAD and STORE name them; STREAM reads parameters."""

FAULTS: Final = ("none", "instruction", "stream", "crc", "access", "memory", "credits", "watchdog")
"""Why hardware stopped, by number: an instruction that is not legal; HEAD, length or place of END; the CRC; an address
outside a region or window; an error that DRAM answered with; too many credits; nothing started or ended in time."""


_CACHED: Final = Field("cached", 1, "addresses the entry's cache slot instead of the ring")
_RING: Final = (
    Field("offset", 17, "lines from the head of the weight ring to the first line read"),
    Field("release", 17, "lines by which the ring's head advances on completion"),
)
_FINISH: Final = (
    Field("wide", 1, "results are 16 bits, from 0 on where `low` is 0, before a residual"),
    Field("table", 1, "results pass through a lookup table, which comes first in the ring"),
    *BYTE,
)
_FORMAT: Final = Field(
    "format",
    2,
    "format of the weights in the ring: 0 is int8, 1 is 4-bit codes, the others are reserved",
    allowed=(INT8_WEIGHTS, CODED_WEIGHTS),
)
_AS_STORED: Final = Field(
    "format", 2, "conversion on the way: 0 is none, lines of either format; the others are reserved", allowed=(0,)
)


def _copied(end: str, *regions: str) -> tuple[Field, ...]:
    """What LOAD and STORE say alike: rows in memory, and on chip at ``end``."""
    return (
        Field("window", 2, "window of DRAM"),
        Field("address", 32, "first line in the window"),
        Field("step", 20, "lines from one row to the next in DRAM"),
        *place(end, "the rows", *regions),
        stride("stride", "row"),
        ROWS,
        Field("size", 14, "granules of a row"),
    )


HEAD: Final = Operation(
    "HEAD",
    1,
    SEQUENCER,
    "starts a stream and describes it",
    (
        Field("magic", 32, f"{MAGIC:#x}"),
        Field("version", 8, f"version of this table, {VERSION}"),
        Field("words", 24, "instructions of the stream, including HEAD and END"),
        Field("crc", 32, "CRC-32 (IEEE 802.3) of the whole stream, with this field 0"),
        Field("ring", 17, "lines of the weight ring, at least 1; the rest of its memory is the expert cache"),
        Field("engine", 64, "digest of the engine the stream is for"),
    ),
)
END: Final = Operation("END", 2, SEQUENCER, "ends a stream; the task is done when every unit is", ())

OPERATIONS: Final = (
    HEAD,
    END,
    Operation(
        "STREAM",
        3,
        "weights",
        "reads weights from DRAM into the ring; with a slot, those of its expert, or nothing if the entry is missing",
        (
            Field("address", 32, "first line in the window `parameters`"),
            Field("lines", 20, "lines"),
            SLOT,
            Field("stride", 20, "lines from one expert to the next"),
            _CACHED,
            _AS_STORED,
        ),
    ),
    Operation(
        "LOAD",
        4,
        "data",
        "copies rows from DRAM to a region",
        _copied("dst", "residual", "hidden", "input", "constants"),
    ),
    Operation(
        "STORE",
        5,
        "data",
        "copies rows from a region to DRAM",
        _copied("src", "residual", "input"),
    ),
    Operation(
        "LINEAR",
        6,
        "matrix",
        "multiplies rows by weights from the ring and requantises; with a slot, the rows of that expert's queue",
        (
            *place("src", "the rows read", "residual", "hidden", "input", *SCORES, "queries"),
            stride("src_stride", "row"),
            ROWS,
            Field("k", 13, "bytes of a row"),
            Field("n", 13, "columns"),
            *place("dst", "the rows written", "residual", "hidden", *SCORES, "queries"),
            stride("dst_stride", "row"),
            Field("dst_tile", 17, "granules from one tile of columns to the next"),
            *_RING,
            *_FINISH,
            Field("residual", 1, "16-bit results are added to the residual at `add`"),
            *place("add", "the residual, laid out as the rows written", "residual"),
            SLOT,
            _CACHED,
            SKIP,
            Field("gather", 1, "rows are read through the queue: row t of `src` for token t"),
            _FORMAT,
        ),
    ),
    Operation(
        "CONV",
        7,
        "matrix",
        "a convolution over whole rows of an image, requantised",
        (
            *place("src", "the image's rows", "hidden", "input"),
            Field("wrap", 11, "rows of the source buffer: row y is at y modulo this"),
            Field("width", 11, "pixels of a row"),
            Field("height", 11, "rows of the image"),
            Field("first", 11, "first output row"),
            Field("rows", 6, "output rows"),
            Field("k", 13, "input channels"),
            Field("n", 13, "output channels"),
            stride("src_stride", "pixel"),
            *place("dst", "the output pixels", "residual"),
            stride("dst_stride", "pixel"),
            Field("pad", 8, "value of bytes outside the image", signed=True),
            *_RING,
            *_FINISH,
            Field("kernel_height", 3, "rows of the kernel, at least 1"),
            Field("kernel_width", 3, "columns of the kernel, at least 1"),
            Field("stride", 3, "rows and pixels of the image from one output row or pixel to the next, at least 1"),
            Field("dilation", 6, "rows and pixels of the image from one tap to the next, at least 1"),
            Field("top", 6, "rows of padding above the image"),
            Field("left", 6, "pixels of padding on its left"),
            Field("out_width", 11, "pixels of an output row"),
        ),
    ),
    Operation(
        "SCORES",
        8,
        "matrix",
        "multiplies queries by keys: 16-bit scores of each of `heads` heads, and the largest of each row",
        (
            *place("src", "the queries", "queries"),
            stride("src_stride", "query"),
            ROWS,
            Field("k", 13, "bytes of a query: the channels of all heads computed here"),
            Field("heads", 2, "heads computed at once, each in its own chains of the array"),
            *place("keys", "the keys", "hidden"),
            stride("keys_stride", "key"),
            Field("count", 14, "keys"),
            *place("dst", "the scores: row r of head h is row r * heads + h", *SCORES),
            stride("dst_stride", "row of scores"),
            SHIFT,
        ),
    ),
    Operation(
        "MIX",
        9,
        "matrix",
        "multiplies attention weights by values and divides by the sum of the weights",
        (
            *place("src", "the weights of the head's first row", *SCORES),
            stride("src_stride", "row of weights of one query"),
            Field("heads", 2, "heads side by side in the score rows"),
            Field("head", 2, "which of these heads"),
            ROWS,
            *place("values", "the values", "hidden"),
            stride("values_stride", "key"),
            Field("values_tile", 17, "granules from one tile of channels to the next"),
            Field("count", 14, "keys"),
            Field("n", 13, "channels of the head"),
            *place("dst", "the rows written", "queries"),
            stride("dst_stride", "row"),
            MUL,
            SHIFT,
        ),
    ),
    Operation(
        "SOFTMAX",
        10,
        "softmax",
        "turns 16-bit scores into 8-bit weights in place, and computes the reciprocal of each row's sum",
        (
            *place("src", "the scores", *SCORES),
            stride("stride", "row"),
            Field("rows", 13, "rows of scores"),
            Field("count", 14, "keys"),
        ),
    ),
    *vector.OPERATIONS,
    Operation(
        "ROUTE",
        16,
        "router",
        "chooses the k experts of each token with their weights, and fills the experts' queues",
        (
            *place("src", "the logits of the first token, 16 bits", "queries"),
            stride("src_stride", "token"),
            Field("token", 13, "first token"),
            ROWS,
            Field("experts", 9, "experts that have a logit"),
            Field("k", 4, "experts per token"),
            Field("normalize", 1, "weights are relative to the chosen experts, not to all"),
            Field("threshold", 16, "weights below this become 0"),
            *place("from", "the candidates, one bit per expert in 32 bytes, then the prefetch list", "constants"),
            Field(
                "cache", 9, "0 for a list in expert order; else a list in token order, for a cache of this many experts"
            ),
            Field("lines", 17, "lines of a cache slot"),
            Field("early", 9, "experts in the prefetch list, which come first in the router's list"),
            Field("begin", 1, "empties the queues first"),
            Field("end", 1, "writes the list when done"),
            Field("coarse", 2, "by how many the fraction bits of the logits are fewer than 10"),
        ),
    ),
)
BY_NAME: Final[Mapping[str, Operation]] = MappingProxyType({operation.name: operation for operation in OPERATIONS})
BY_CODE: Final[Mapping[int, Operation]] = MappingProxyType({operation.code: operation for operation in OPERATIONS})


@dataclass(frozen=True)
class Instruction:
    """One instruction. ``waits`` and ``signals`` name units: it consumes a credit from each, and posts one to each."""

    name: str
    operands: Mapping[str, int]
    waits: frozenset[str] = frozenset()
    signals: frozenset[str] = frozenset()

    @property
    def operation(self) -> Operation:
        """The table's entry."""
        return BY_NAME[self.name]

    @property
    def unit(self) -> str:
        """The unit that executes it."""
        return self.operation.unit

    def __getitem__(self, field: str) -> int:
        return self.operands[field]
