"""What each instruction costs: the formulas of docs/accelerator.md, section Time, one function each.

They raise IntegrityError, before anything is counted in pieces or tiles, for an instruction that takes more bytes than
the ring or a region has.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from edgemtl.errors import IntegrityError
from edgemtl.hw.isa import LINE_BYTES, REGIONS, Instruction
from edgemtl.hw.regions import capacities
from edgemtl.hw.sim.cycle.instructions import Moved, Tiled, Timed
from edgemtl.hw.sim.cycle.lists import Entry
from edgemtl.hw.sim.cycle.tiles import (
    COLUMN_BYTES,
    NONE,
    TABLE_BYTES,
    Tiles,
    conv_depths,
    depths,
    region_tiles,
    ring_tiles,
    up,
)
from edgemtl.hw.spec import Engine

ROW_CYCLES = 4
"""Extra cycles of each row in the softmax and vector units; a COMBINE has 1."""
UNIT_CYCLES = 12
"""Cycles from the last row of such a unit to its result."""


@dataclass(frozen=True)
class Place:
    """The state of router and ring in which an instruction runs.

    ``present``: the entry its slot names exists (True without a slot). ``entry``: that entry. ``head``: lines that
    had left the ring before it. ``ring``: lines of its stream's ring.
    """

    present: bool
    entry: Entry | None
    head: int
    ring: int


def region(instruction: Instruction, name: str) -> str:
    """The memory that an address names. Raises IntegrityError for a number that is none."""
    number = instruction[f"{name}_region"]
    if number >= len(REGIONS):
        raise IntegrityError(f"{instruction.name}.{name}_region must be below {len(REGIONS)}, not {number}")
    return REGIONS[number]


def width(engine: Engine, name: str) -> int:
    """Bytes a cycle of a region."""
    return int(getattr(engine.buffers, name.rstrip("01")).width_bytes)


def rows_of(instruction: Instruction, place: Place) -> int:
    """Rows that an instruction processes once the router has decided: those of the entry's queue from `skip` on."""
    if not place.present:
        return 0
    rows = instruction["rows"]
    if place.entry is None:
        return rows
    return min(max(place.entry.tokens - instruction["skip"], 0), rows)


def linear(instruction: Instruction, engine: Engine, place: Place) -> Tiled:
    """Rows through the weights of the ring, or of the cache."""
    rows, cached = rows_of(instruction, place), bool(instruction["cached"])
    if not rows:
        return _tiled(instruction, place, 0, NONE)
    _check_weights(instruction, engine, instruction["k"], _lines(engine) if cached else place.ring)
    deep = depths(instruction["k"], engine.array_rows)
    load = engine.weight_load_bytes_per_cycle
    return _tiled(
        instruction,
        place,
        rows,
        ring_tiles(deep, instruction["n"], engine.array_columns, load, bool(instruction["table"]), cached),
    )


def conv(instruction: Instruction, engine: Engine, place: Place) -> Tiled:
    """Rows of pixels through the weights of the ring, tap by tap."""
    rows = instruction["rows"] * instruction["width"]
    if not rows:
        return _tiled(instruction, place, 0, NONE)
    _check_weights(instruction, engine, 9 * instruction["k"], place.ring)
    deep = conv_depths(instruction["k"], engine.array_rows, engine.array_columns)
    load = engine.weight_load_bytes_per_cycle
    return _tiled(
        instruction,
        place,
        rows,
        ring_tiles(deep, instruction["n"], engine.array_columns, load, bool(instruction["table"]), False),
    )


def _tiled(instruction: Instruction, place: Place, rows: int, tiles: Tiles) -> Tiled:
    release = instruction["release"] * LINE_BYTES if place.present else 0
    return Tiled(rows, tiles, (place.head + instruction["offset"]) * LINE_BYTES, release)


def scores(instruction: Instruction, engine: Engine, place: Place) -> Tiled:
    """Queries through the keys of a region."""
    return _attention(instruction, engine, "keys", instruction["k"], instruction["count"])


def mix(instruction: Instruction, engine: Engine, place: Place) -> Tiled:
    """Scores through the values of a region."""
    return _attention(instruction, engine, "values", instruction["count"], instruction["n"])


def _attention(instruction: Instruction, engine: Engine, source: str, deep: int, columns: int) -> Tiled:
    if not instruction["rows"]:
        return Tiled(0, NONE, 0, 0)
    _check_size(instruction, deep * columns, engine, source)
    load = width(engine, region(instruction, source))
    tiles = region_tiles(depths(deep, engine.array_rows), columns, engine.array_columns, load)
    return Tiled(instruction["rows"], tiles, 0, 0)


def stream(instruction: Instruction, engine: Engine, place: Place) -> Moved:
    """Weights into the ring, or an expert's into the cache where it is not there yet."""
    _check_lines(instruction, instruction["lines"], _lines(engine) if instruction["cached"] else place.ring)
    fetched = place.present and not (instruction["cached"] and place.entry and not place.entry.load)
    return Moved(
        "weights", instruction["lines"] * LINE_BYTES * fetched, 0 if instruction["cached"] else place.ring * LINE_BYTES
    )


def load(instruction: Instruction, engine: Engine, place: Place) -> Moved:
    """Rows from DRAM."""
    return Moved("load", _copied(instruction, engine, "dst"), 0)


def store(instruction: Instruction, engine: Engine, place: Place) -> Moved:
    """Rows to DRAM."""
    return Moved("store", _copied(instruction, engine, "src"), 0)


def _copied(instruction: Instruction, engine: Engine, name: str) -> int:
    """Bytes over the ports: whole lines, of each row where rows are apart."""
    size = instruction["size"] * engine.array_columns
    _check_size(instruction, instruction["rows"] * size, engine, name)
    if instruction["step"] * LINE_BYTES == size:
        return instruction["rows"] * size
    return instruction["rows"] * up(size, LINE_BYTES) * LINE_BYTES


def route(instruction: Instruction, engine: Engine, place: Place) -> Timed:
    """The choices of tokens and, at the end, the list of experts."""
    tokens = up(instruction["rows"], engine.router_tokens_per_cycle)
    return Timed(
        tokens + instruction["k"] + UNIT_CYCLES + instruction["end"] * instruction["experts"], instruction["rows"]
    )


def softmax(instruction: Instruction, engine: Engine, place: Place) -> Timed:
    """Rows of scores."""
    return _rows(instruction["rows"], up(instruction["count"], engine.softmax_lanes) + ROW_CYCLES)


def norm(instruction: Instruction, engine: Engine, place: Place) -> Timed:
    """Rows of the residual."""
    return _rows(instruction["rows"], up(instruction["width"], engine.vector_lanes) + ROW_CYCLES)


def sums(instruction: Instruction, engine: Engine, place: Place) -> Timed:
    """OPEN and SETTLE."""
    return _rows(instruction["rows"], up(instruction["width"], engine.vector_lanes))


def combine(instruction: Instruction, engine: Engine, place: Place) -> Timed:
    """Rows of one expert."""
    return _rows(rows_of(instruction, place), up(instruction["width"], engine.vector_lanes) + 1)


def enlarge(instruction: Instruction, engine: Engine, place: Place) -> Timed:
    """Rows of pixels, twice as many and twice as long."""
    rows = instruction["rows"]
    values = rows * 2 * instruction["width"] * instruction["stride"] * engine.array_columns
    return Timed(up(values, engine.vector_lanes) + UNIT_CYCLES if rows else 0, rows)


def _rows(rows: int, cycles: int) -> Timed:
    return Timed(rows * cycles + UNIT_CYCLES if rows else 0, rows)


def _check_weights(instruction: Instruction, engine: Engine, deep: int, most: int) -> None:
    """The weights of columns of ``deep`` bytes are all at once in a memory of ``most`` lines."""
    columns = engine.array_columns
    size = TABLE_BYTES * instruction["table"] + up(instruction["n"], columns) * columns * (deep + COLUMN_BYTES)
    _check_lines(instruction, up(size, LINE_BYTES), most)


def _lines(engine: Engine) -> int:
    return engine.weight_ring_bytes // LINE_BYTES


def _check_lines(instruction: Instruction, lines: int, most: int) -> None:
    if lines > most:
        raise IntegrityError(
            f"{instruction.name} must have weights of at most the {most} lines of their memory, not {lines}; "
            "compile the stream again"
        )


def _check_size(instruction: Instruction, size: int, engine: Engine, name: str) -> None:
    memory = region(instruction, name)
    if size > (most := _capacities(engine).get(memory, 0)):
        raise IntegrityError(
            f"{instruction.name}.{name} must be at most the {most} bytes of {memory}, not {size}; "
            "compile the stream again"
        )


_capacities = lru_cache(maxsize=8)(capacities)
