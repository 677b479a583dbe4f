"""What a word reads and writes on chip, and the products it makes."""

from __future__ import annotations

from collections.abc import Iterator

from edgemtl.hw.isa import Instruction
from edgemtl.hw.sim.cycle.tiles import COLUMN_BYTES, TABLE_BYTES, conv_taps, up
from edgemtl.hw.sim.cycle.words import Moved, Tiled, Work
from edgemtl.hw.sim.cycle.work import region
from edgemtl.hw.spec import Engine

Bytes = Iterator[tuple[str, int]]


def macs_of(made: Instruction, work: Work) -> int:
    """Products that count: none of padding, those of a convolution's border included."""
    if not isinstance(work, Tiled) or not work.tiles.loads:
        return 0
    if made.name in ("SCORES", "MIX"):
        return work.rows * made["count"] * made["k" if made.name == "SCORES" else "n"]
    return work.rows * made["k"] * made["n"] * (9 if made.name == "CONV" else 1)


def on_chip_of(made: Instruction, work: Work, engine: Engine) -> dict[str, int]:
    """Bytes by memory, read and written together. Rows pass the array once for each tile, so they count each time."""
    found: dict[str, int] = {}
    for name, size in _all(made, work, engine):
        found[name] = found.get(name, 0) + size
    return found


def _all(made: Instruction, work: Work, engine: Engine) -> Bytes:
    if isinstance(work, Tiled):
        yield from _matrix(made, work, engine) if work.tiles.loads else ()
    elif isinstance(work, Moved):
        target = {"STREAM": "ring", "LOAD": "dst", "STORE": "src"}[made.name]
        size = work.size if target == "ring" else made["rows"] * made["size"] * engine.array_columns
        yield target if target == "ring" else region(made, target), size
    elif work.cycles:
        yield from _row_unit(made, work.rows, engine)


def _matrix(made: Instruction, work: Tiled, engine: Engine) -> Bytes:
    yield "array", work.tiles.loaded
    yield from _attention(made, work, engine) if made.name in ("SCORES", "MIX") else _layer(made, work, engine)


def _layer(made: Instruction, work: Tiled, engine: Engine) -> Bytes:
    columns = up(made["n"], engine.array_columns)
    size = work.rows * columns * engine.array_columns * (2 if made["wide"] else 1)
    passes = 1
    if made.name == "CONV":
        passes = 9 // conv_taps(engine.array_rows, engine.array_columns)
    yield region(made, "src"), work.rows * made["k"] * columns * passes
    yield region(made, "dst"), size
    if made.name == "LINEAR" and made["residual"]:
        yield region(made, "add"), size
    beside = columns * COLUMN_BYTES * engine.array_columns + TABLE_BYTES * made["table"]
    yield "ring", work.tiles.loaded + beside


def _attention(made: Instruction, work: Tiled, engine: Engine) -> Bytes:
    rows, columns = work.rows, engine.array_columns
    if made.name == "SCORES":
        yield region(made, "src"), rows * made["k"] * up(made["count"], columns)
        yield region(made, "keys"), work.tiles.loaded
        yield region(made, "dst"), rows * made["heads"] * made["count"] * 2
    else:
        yield region(made, "src"), rows * made["count"] * up(made["n"], columns)
        yield region(made, "values"), work.tiles.loaded
        yield region(made, "dst"), rows * made["n"]


def _row_unit(made: Instruction, rows: int, engine: Engine) -> Bytes:
    if made.name == "SOFTMAX":
        yield region(made, "src"), rows * made["count"] * 3  # read as 16 bits, written as 8
    elif made.name == "ROUTE":
        yield region(made, "src"), rows * made["experts"] * 2
        yield region(made, "from"), 32 + made["early"]
    elif made.name == "ENLARGE":
        size = rows * 2 * made["width"] * made["stride"] * engine.array_columns
        yield region(made, "src"), size  # two source rows of half the width for each row made
        yield region(made, "dst"), size
    elif made.name == "NORM":
        yield region(made, "src"), rows * made["width"] * 2
        yield region(made, "dst"), rows * made["width"]
        if made["parameters"]:
            yield region(made, "from"), 2 * made["width"]
    else:
        yield from _sums(made, rows)


def _sums(made: Instruction, rows: int) -> Bytes:
    """OPEN, COMBINE and SETTLE: halves of 16 bits read and written."""
    size = rows * made["width"] * 2
    if made.name == "COMBINE":
        yield region(made, "src"), size
    yield region(made, "high"), 2 * size
    yield region(made, "low"), size * (2 if made.name == "COMBINE" else 1)
