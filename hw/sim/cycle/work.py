"""What each instruction costs: the formulas of docs/accelerator.md, section Time."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from edgemtl.errors import IntegrityError
from edgemtl.hw.isa import LINE_BYTES, REGIONS, Instruction
from edgemtl.hw.regions import capacities
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
from edgemtl.hw.sim.cycle.words import Moved, Tiled, Timed, Work
from edgemtl.hw.spec import Engine

ROW_CYCLES = 4
"""Of a row of the softmax or vector unit, beside its values; a COMBINE has 1."""
UNIT_CYCLES = 12
"""From the last row of such a unit to its result."""


@dataclass(frozen=True)
class Place:
    """Where a word stands when it is looked at.

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
    """Rows that a word has when the router has decided: those of the entry's queue from `skip` on."""
    if not place.present:
        return 0
    rows = instruction["rows"]
    if place.entry is None:
        return rows
    return min(max(place.entry.tokens - instruction["skip"], 0), rows)


def work_of(instruction: Instruction, engine: Engine, place: Place) -> Work:
    """The cost of a word at its place.

    Raises IntegrityError, before anything is counted in pieces or tiles, for one that takes more bytes than the ring or
    a region has.
    """
    if instruction.unit == "matrix":
        return _tiled(instruction, engine, place)
    if instruction.unit == "weights":
        return _streamed(instruction, engine, place)
    if instruction.unit == "data":
        return Moved(instruction.name.lower(), _copied(instruction, engine), 0)
    rows = rows_of(instruction, place) if instruction.name == "COMBINE" else instruction["rows"]
    return Timed(_cycles(instruction, engine, rows), rows)


def _tiled(made: Instruction, engine: Engine, place: Place) -> Tiled:
    if made.name in ("SCORES", "MIX"):
        return Tiled(made["rows"], _attention(made, engine), 0, 0)
    tall, columns, load = engine.array_rows, engine.array_columns, engine.weight_load_bytes_per_cycle
    conv = made.name == "CONV"
    rows = made["rows"] * made["width"] if conv else rows_of(made, place)
    if rows:
        _check_weights(made, engine, place)
    deep = conv_depths(made["k"], tall, columns) if conv else depths(made["k"], tall)
    cached = not conv and bool(made["cached"])
    tiles = ring_tiles(deep, made["n"], columns, load, bool(made["table"]), cached) if rows else NONE
    release = made["release"] * LINE_BYTES if place.present else 0
    return Tiled(rows, tiles, (place.head + made["offset"]) * LINE_BYTES, release)


def _attention(made: Instruction, engine: Engine) -> Tiles:
    source, deep, columns = ("keys", "k", "count") if made.name == "SCORES" else ("values", "count", "n")
    if not made["rows"]:
        return NONE
    _check_size(made, made["count"] * made["k" if made.name == "SCORES" else "n"], engine, source)
    load = width(engine, region(made, source))
    return region_tiles(depths(made[deep], engine.array_rows), made[columns], engine.array_columns, load)


def _streamed(made: Instruction, engine: Engine, place: Place) -> Moved:
    _check_lines(made, made["lines"], _lines(engine) if made["cached"] else place.ring)
    wanted = place.present and not (made["cached"] and place.entry and not place.entry.load)
    return Moved("weights", made["lines"] * LINE_BYTES * wanted, 0 if made["cached"] else place.ring * LINE_BYTES)


def _copied(made: Instruction, engine: Engine) -> int:
    """Bytes that LOAD or STORE moves over the ports: whole lines, of each row where rows are apart."""
    size = made["size"] * engine.array_columns
    _check_size(made, made["rows"] * size, engine, "dst" if made.name == "LOAD" else "src")
    if made["step"] * LINE_BYTES == size:
        return made["rows"] * size
    return made["rows"] * up(size, LINE_BYTES) * LINE_BYTES


def _check_weights(made: Instruction, engine: Engine, place: Place) -> None:
    """Weights of LINEAR or CONV are in the ring, or in the cache, all at once."""
    deep, columns = made["k"] * (9 if made.name == "CONV" else 1), engine.array_columns
    size = TABLE_BYTES * made["table"] + up(made["n"], columns) * columns * (deep + COLUMN_BYTES)
    cached = made.name == "LINEAR" and made["cached"]
    _check_lines(made, up(size, LINE_BYTES), _lines(engine) if cached else place.ring)


def _lines(engine: Engine) -> int:
    return engine.weight_ring_bytes // LINE_BYTES


def _check_lines(made: Instruction, lines: int, most: int) -> None:
    if lines > most:
        raise IntegrityError(
            f"{made.name} must have weights of at most the {most} lines of their memory, not {lines}; "
            "compile the stream again"
        )


def _check_size(made: Instruction, size: int, engine: Engine, name: str) -> None:
    memory = region(made, name)
    if size > (most := _capacities(engine).get(memory, 0)):
        raise IntegrityError(
            f"{made.name}.{name} must be at most the {most} bytes of {memory}, not {size}; compile the stream again"
        )


_capacities = lru_cache(maxsize=8)(capacities)


def _cycles(made: Instruction, engine: Engine, rows: int) -> int:
    if made.name == "ROUTE":
        tokens = up(rows, engine.router_tokens_per_cycle)
        return tokens + made["k"] + UNIT_CYCLES + made["end"] * made["experts"]
    if not rows:
        return 0
    lanes = engine.vector_lanes
    if made.name == "SOFTMAX":
        return rows * (up(made["count"], engine.softmax_lanes) + ROW_CYCLES) + UNIT_CYCLES
    if made.name == "ENLARGE":
        return up(rows * 2 * made["width"] * made["stride"] * engine.array_columns, lanes) + UNIT_CYCLES
    more = {"NORM": ROW_CYCLES, "COMBINE": 1}.get(made.name, 0)
    return rows * (up(made["width"], lanes) + more) + UNIT_CYCLES
