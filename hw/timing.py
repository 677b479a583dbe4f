"""How long hardware takes beside the work itself: one table that the cycle simulator, the documents and RTL read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True)
class Latency:
    """So many cycles of ``what``; ``name`` is that of its constant in SystemVerilog."""

    name: str
    cycles: int
    what: str


MATRIX: Final = Latency("MATRIX", 48, "from the last row of an instruction of the matrix unit to its result")
LEAST_TILE: Final = Latency("LEAST_TILE", 4, "a tile of the array, however few rows it has")
TRANSPOSE: Final = Latency("TRANSPOSE", 28, "filling the transposers before the first tile of SCORES")
CONV_FILL: Final = Latency("CONV_FILL", 1, "a pixel that refills the shift register of a CONV at the end of a row")
SOFTMAX: Final = Latency("SOFTMAX", 40, "from the last row of a SOFTMAX to its result")
NORM: Final = Latency("NORM", 72, "from the last row of a NORM to its result: a root and a division, bit by bit")
COMBINE: Final = Latency("COMBINE", 24, "from the last row of a COMBINE to its result")
SUMS: Final = Latency("SUMS", 22, "from the last row of an OPEN or a SETTLE to its result")
ENLARGE: Final = Latency("ENLARGE", 28, "from the last row of an ENLARGE to its result")
VALUES: Final = Latency("VALUES", 22, "from the last granule of an ADD, MAP or RESCALE to its result")
TABLE: Final = Latency("TABLE", 64, "filling the tables of the lanes before a MAP: four entries a cycle")
MEAN: Final = Latency("MEAN", 24, "from the last pixel of a MEAN, or the last channel it writes, to its result")
CLASSES: Final = Latency("CLASSES", 30, "from the last pixel of a CLASSES to its result: comparators in stages")
ROUTE: Final = Latency("ROUTE", 52, "from the last token of a ROUTE to its place in the queues")
ROW: Final = Latency("ROW", 4, "each row of a SOFTMAX or NORM, beside its values")
COMBINE_ROW: Final = Latency("COMBINE_ROW", 1, "each row of a COMBINE, beside its values")
LINK: Final = Latency("LINK", 3, "one link of an expert's queue: a read of block memory that the next one waits for")
MEMORY: Final = Latency("MEMORY", 120, "from the end of a transfer from DRAM to its last byte on chip")

LATENCIES: Final = (
    MATRIX,
    LEAST_TILE,
    TRANSPOSE,
    CONV_FILL,
    SOFTMAX,
    NORM,
    COMBINE,
    SUMS,
    ENLARGE,
    VALUES,
    TABLE,
    MEAN,
    CLASSES,
    ROUTE,
    ROW,
    COMBINE_ROW,
    LINK,
    MEMORY,
)
LOGITS_PER_CYCLE: Final = 16
"""Logits of a token that the router reads in a cycle: 32 bytes."""
NORM_SHARE: Final = (6, 5)
"""A NORM takes so many times its cycles where the matrix unit writes the residual: its reads wait for the port."""
