"""What an instruction reads and writes on chip, memory by memory, one function each.

Rows pass the array once for each tile, so they count each time. Called for instructions that have work only.
"""

from __future__ import annotations

from collections.abc import Iterator

from edgemtl.hw.isa import Instruction
from edgemtl.hw.sim.cycle.tiles import COLUMN_BYTES, TABLE_BYTES, conv_taps, up
from edgemtl.hw.sim.cycle.words import Moved, Tiled, Timed
from edgemtl.hw.sim.cycle.work import region
from edgemtl.hw.spec import Engine

Bytes = Iterator[tuple[str, int]]


def linear(made: Instruction, work: Tiled, engine: Engine) -> Bytes:
    """A LINEAR layer, with the residual it adds."""
    yield from _layer(made, work, engine, 1)
    if made["residual"]:
        yield region(made, "add"), _results(made, work, engine)


def conv(made: Instruction, work: Tiled, engine: Engine) -> Bytes:
    """A convolution: its rows pass once for each tap that has a tile of its own."""
    return _layer(made, work, engine, 9 // conv_taps(engine.array_rows, engine.array_columns))


def _layer(made: Instruction, work: Tiled, engine: Engine, passes: int) -> Bytes:
    columns = up(made["n"], engine.array_columns)
    yield "array", work.tiles.loaded
    yield region(made, "src"), work.rows * made["k"] * columns * passes
    yield region(made, "dst"), _results(made, work, engine)
    beside = columns * COLUMN_BYTES * engine.array_columns + TABLE_BYTES * made["table"]
    yield "ring", work.tiles.loaded + beside


def _results(made: Instruction, work: Tiled, engine: Engine) -> int:
    columns = up(made["n"], engine.array_columns) * engine.array_columns
    return work.rows * columns * (2 if made["wide"] else 1)


def scores(made: Instruction, work: Tiled, engine: Engine) -> Bytes:
    """Queries and keys to scores of 16 bits."""
    yield "array", work.tiles.loaded
    yield region(made, "src"), work.rows * made["k"] * up(made["count"], engine.array_columns)
    yield region(made, "keys"), work.tiles.loaded
    yield region(made, "dst"), work.rows * made["heads"] * made["count"] * 2


def mix(made: Instruction, work: Tiled, engine: Engine) -> Bytes:
    """Weights and values to rows of bytes."""
    yield "array", work.tiles.loaded
    yield region(made, "src"), work.rows * made["count"] * up(made["n"], engine.array_columns)
    yield region(made, "values"), work.tiles.loaded
    yield region(made, "dst"), work.rows * made["n"]


def stream(made: Instruction, work: Moved, engine: Engine) -> Bytes:
    """Weights into the ring."""
    yield "ring", work.size


def load(made: Instruction, work: Moved, engine: Engine) -> Bytes:
    """Rows into a region."""
    yield region(made, "dst"), made["rows"] * made["size"] * engine.array_columns


def store(made: Instruction, work: Moved, engine: Engine) -> Bytes:
    """Rows out of a region."""
    yield region(made, "src"), made["rows"] * made["size"] * engine.array_columns


def softmax(made: Instruction, work: Timed, engine: Engine) -> Bytes:
    """Scores read as 16 bits, weights written as 8."""
    yield region(made, "src"), work.rows * made["count"] * 3


def route(made: Instruction, work: Timed, engine: Engine) -> Bytes:
    """Logits, and what may be chosen."""
    yield region(made, "src"), work.rows * made["experts"] * 2
    yield region(made, "from"), 32 + made["early"]


def enlarge(made: Instruction, work: Timed, engine: Engine) -> Bytes:
    """Two source rows of half the width for each row made."""
    size = work.rows * 2 * made["width"] * made["stride"] * engine.array_columns
    yield region(made, "src"), size
    yield region(made, "dst"), size


def norm(made: Instruction, work: Timed, engine: Engine) -> Bytes:
    """Rows of 16 bits to rows of 8, and perhaps halvings and offsets."""
    yield region(made, "src"), work.rows * made["width"] * 2
    yield region(made, "dst"), work.rows * made["width"]
    if made["parameters"]:
        yield region(made, "from"), 2 * made["width"]


def sums(made: Instruction, work: Timed, engine: Engine) -> Bytes:
    """OPEN and SETTLE: upper halves read and written, lower ones written or read."""
    size = work.rows * made["width"] * 2
    yield region(made, "high"), 2 * size
    yield region(made, "low"), size


def combine(made: Instruction, work: Timed, engine: Engine) -> Bytes:
    """An expert's rows, and both halves of the sums read and written."""
    size = work.rows * made["width"] * 2
    yield region(made, "src"), size
    yield region(made, "high"), 2 * size
    yield region(made, "low"), 2 * size
