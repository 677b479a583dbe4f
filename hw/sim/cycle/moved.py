"""What an instruction reads and writes on chip, memory by memory, one function each.

Rows pass the array once for each tile, so they count each time. Called for instructions that have work only.
"""

from __future__ import annotations

from collections.abc import Iterator

from edgemtl.hw.geometry import TABLE_BYTES, depth_of, weight_bytes
from edgemtl.hw.isa import INT8_WEIGHTS, Instruction
from edgemtl.hw.sim.cycle.instructions import Moved, Tiled, Timed
from edgemtl.hw.sim.cycle.tiles import up
from edgemtl.hw.sim.cycle.work import region, taps_of
from edgemtl.hw.spec import Engine

Bytes = Iterator[tuple[str, int]]


def linear(instruction: Instruction, work: Tiled, engine: Engine) -> Bytes:
    """A LINEAR layer, with the residual it adds."""
    yield from _layer(instruction, work, engine, 1)
    if instruction["residual"]:
        yield region(instruction, "add"), _results(instruction, work, engine)


def conv(instruction: Instruction, work: Tiled, engine: Engine) -> Bytes:
    """A convolution: its rows pass once for each tap that has a tile of its own."""
    taps = instruction["kernel_height"] * instruction["kernel_width"]
    return _layer(instruction, work, engine, taps // taps_of(instruction, engine))


def _layer(instruction: Instruction, work: Tiled, engine: Engine, passes: int) -> Bytes:
    columns = up(instruction["n"], engine.array_columns)
    yield "array", work.tiles.loaded
    yield region(instruction, "src"), work.rows * instruction["k"] * columns * passes
    yield region(instruction, "dst"), _results(instruction, work, engine)
    how = instruction["table"], instruction.operands.get("format", INT8_WEIGHTS)
    yield "ring", weight_bytes(engine.array_columns, depth_of(instruction), instruction["n"], *how)


def _results(instruction: Instruction, work: Tiled, engine: Engine) -> int:
    columns = up(instruction["n"], engine.array_columns) * engine.array_columns
    return work.rows * columns * (2 if instruction["wide"] else 1)


def scores(instruction: Instruction, work: Tiled, engine: Engine) -> Bytes:
    """Queries and keys to scores of 16 bits."""
    yield "array", work.tiles.loaded
    keys = engine.array_columns * engine.dsp_clock_ratio
    yield region(instruction, "src"), work.rows * instruction["k"] * up(instruction["count"], keys)
    yield region(instruction, "keys"), work.tiles.loaded
    yield region(instruction, "dst"), work.rows * instruction["heads"] * instruction["count"] * 2


def mix(instruction: Instruction, work: Tiled, engine: Engine) -> Bytes:
    """Weights and values to rows of bytes."""
    yield "array", work.tiles.loaded
    yield region(instruction, "src"), work.rows * instruction["count"] * up(instruction["n"], engine.array_columns)
    yield region(instruction, "values"), work.tiles.loaded
    yield region(instruction, "dst"), work.rows * instruction["n"]


def stream(instruction: Instruction, work: Moved, engine: Engine) -> Bytes:
    """Weights into the ring."""
    yield "ring", work.size


def load(instruction: Instruction, work: Moved, engine: Engine) -> Bytes:
    """Rows into a region."""
    yield region(instruction, "dst"), instruction["rows"] * instruction["size"] * engine.array_columns


def store(instruction: Instruction, work: Moved, engine: Engine) -> Bytes:
    """Rows out of a region."""
    yield region(instruction, "src"), instruction["rows"] * instruction["size"] * engine.array_columns


def softmax(instruction: Instruction, work: Timed, engine: Engine) -> Bytes:
    """Scores read as 16 bits, weights written as 8."""
    yield region(instruction, "src"), work.rows * instruction["count"] * 3


def route(instruction: Instruction, work: Timed, engine: Engine) -> Bytes:
    """Logits, and what may be chosen."""
    yield region(instruction, "src"), work.rows * instruction["experts"] * 2
    yield region(instruction, "from"), 32 + instruction["early"]


def enlarge(instruction: Instruction, work: Timed, engine: Engine) -> Bytes:
    """Two source rows for each row written, as long as that over the factor, read twice; nearest reads one."""
    size = work.rows * instruction["width"] * instruction["stride"] * engine.array_columns
    yield region(instruction, "src"), (1 if instruction["nearest"] else 2) * size
    yield region(instruction, "dst"), instruction["factor"] * size


def add(instruction: Instruction, work: Timed, engine: Engine) -> Bytes:
    """Two operands read, one written."""
    size = instruction["size"] * engine.array_columns
    for name, wide in (("a", "a_wide"), ("b", "b_wide"), ("dst", "wide")):
        yield region(instruction, name), size * (1 + instruction[wide])


def look_up(instruction: Instruction, work: Timed, engine: Engine) -> Bytes:
    """A table, bytes read and bytes written."""
    yield region(instruction, "from"), TABLE_BYTES
    for name in ("src", "dst"):
        yield region(instruction, name), instruction["size"] * engine.array_columns


def rescale(instruction: Instruction, work: Timed, engine: Engine) -> Bytes:
    """Rows read and rows written."""
    size = work.rows * engine.array_columns
    yield region(instruction, "src"), size * (1 + instruction["src_wide"])
    yield region(instruction, "dst"), size * (1 + instruction["wide"])


def mean(instruction: Instruction, work: Timed, engine: Engine) -> Bytes:
    """Pixels, and at the end the row."""
    yield region(instruction, "src"), work.rows * instruction["width"]
    if instruction["end"]:
        yield region(instruction, "dst"), instruction["width"] * (1 + instruction["wide"])


def classes(instruction: Instruction, work: Timed, engine: Engine) -> Bytes:
    """Logits of a pixel, or of two rows for two rows and columns written, and a byte for each pixel written."""
    factor = 1 + instruction["enlarge"]
    size = instruction["classes"] * (1 + instruction["wide"])
    yield region(instruction, "src"), instruction["rows"] * factor * instruction["width"] * size
    yield region(instruction, "dst"), work.rows


def norm(instruction: Instruction, work: Timed, engine: Engine) -> Bytes:
    """Rows of 16 bits to rows of 8, and perhaps halvings and offsets."""
    yield region(instruction, "src"), work.rows * instruction["width"] * 2
    yield region(instruction, "dst"), work.rows * instruction["width"]
    if instruction["parameters"]:
        yield region(instruction, "from"), 2 * instruction["width"]


def sums(instruction: Instruction, work: Timed, engine: Engine) -> Bytes:
    """OPEN and SETTLE: upper halves read and written, lower ones written or read."""
    size = work.rows * instruction["width"] * 2
    yield region(instruction, "high"), 2 * size
    yield region(instruction, "low"), size


def combine(instruction: Instruction, work: Timed, engine: Engine) -> Bytes:
    """An expert's rows, and both halves of the sums read and written."""
    size = work.rows * instruction["width"] * 2
    yield region(instruction, "src"), size
    yield region(instruction, "high"), 2 * size
    yield region(instruction, "low"), 2 * size
