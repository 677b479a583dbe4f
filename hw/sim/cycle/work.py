"""What each instruction costs: the formulas of docs/accelerator.md, section Time, one function each.

They raise IntegrityError, before anything is counted in pieces or tiles, for an instruction that takes more bytes than
the ring or a region has.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache

from edgemtl.errors import IntegrityError
from edgemtl.hw import timing
from edgemtl.hw.geometry import depth_of, lanes_of, lie_apart, taps_in_tile, weight_lines
from edgemtl.hw.isa import CODED_WEIGHTS, INT8_WEIGHTS, LINE_BYTES, REGIONS, WINDOWS, Instruction
from edgemtl.hw.regions import capacities
from edgemtl.hw.sim.cycle.instructions import Moved, Tiled, Timed
from edgemtl.hw.sim.cycle.lists import Entry
from edgemtl.hw.sim.cycle.memory import WINDOW_BYTES
from edgemtl.hw.sim.cycle.tiles import (
    NONE,
    Tiles,
    coded_tiles,
    conv_depths,
    depths,
    region_tiles,
    ring_tiles,
    up,
)
from edgemtl.hw.spec import Engine
from edgemtl.hw.timing import Latency

PARAMETERS = WINDOWS.index("parameters")


@dataclass(frozen=True)
class Place:
    """The state of router and ring in which an instruction runs.

    ``present``: the entry its slot names exists (True without a slot). ``entry``: that entry. ``head``: lines that
    had left the ring before it. ``ring``: lines of its stream's ring. ``walked``: places of the entry's queue that its
    unit has walked past.
    """

    present: bool
    entry: Entry | None
    head: int
    ring: int
    walked: int = 0


def region(instruction: Instruction, name: str) -> str:
    """The memory that an address names."""
    return REGIONS[instruction[f"{name}_region"]]


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


def links_of(instruction: Instruction, place: Place) -> int:
    """Links of an entry's queue that its rows are found by: those from where the unit stands to its last row."""
    walks = "skip" in instruction.operands and instruction.operands.get("gather", 1)
    rows = rows_of(instruction, place) if walks and place.entry is not None else 0
    return instruction["skip"] + rows - place.walked if rows else 0


def linear(instruction: Instruction, engine: Engine, place: Place) -> Tiled:
    """Rows through the weights of the ring, or of the cache."""
    rows, cached = rows_of(instruction, place), bool(instruction["cached"])
    if not rows:
        return _tiled(instruction, place, 0, NONE)
    _check_weights(instruction, engine, _lines(engine) if cached else place.ring)
    tiles = coded_tiles if instruction["format"] == CODED_WEIGHTS else ring_tiles
    deep = depths(instruction["k"], engine.array_rows * engine.dsp_clock_ratio)
    load = engine.weight_load_bytes_per_cycle
    return _tiled(
        instruction,
        place,
        rows,
        tiles(deep, instruction["n"], engine.array_columns, load, bool(instruction["table"]), cached),
        walk=links_of(instruction, place) * timing.LINK.cycles,
        both_ports=region(instruction, "src") == "input" and _reads_through_both_ports(engine, instruction["k"]),
    )


def _reads_through_both_ports(engine: Engine, k: int) -> bool:
    """Whether an array that works on two tiles takes more bytes of a row in a cycle than `input` has lanes for."""
    return min(k, engine.array_rows * engine.dsp_clock_ratio) > max(width(engine, "input"), engine.array_rows)


def conv(instruction: Instruction, engine: Engine, place: Place) -> Tiled:
    """Rows of pixels through the weights of the ring, tap by tap."""
    rows = instruction["rows"] * instruction["out_width"]
    if not rows:
        return _tiled(instruction, place, 0, NONE)
    _check_weights(instruction, engine, place.ring)
    taps, together = instruction["kernel_height"] * instruction["kernel_width"], taps_of(instruction, engine)
    deep = conv_depths(instruction["k"], engine.array_rows, taps, together, engine.dsp_clock_ratio)
    load = engine.weight_load_bytes_per_cycle
    whole_pixels = together == 1 and region(instruction, "src") == "input"
    return _tiled(
        instruction,
        place,
        rows,
        ring_tiles(deep, instruction["n"], engine.array_columns, load, bool(instruction["table"]), False),
        refill=_refill(instruction, engine),
        both_ports=whole_pixels and _reads_through_both_ports(engine, instruction["k"]),
    )


def taps_of(instruction: Instruction, engine: Engine) -> int:
    """Horizontal taps of a CONV that share a tile."""
    geometry = (instruction[name] for name in ("k", "kernel_width", "stride", "dilation"))
    return taps_in_tile(engine.array_rows, engine.array_columns, *geometry)


def _refill(instruction: Instruction, engine: Engine) -> int:
    """Cycles of a tile beside its pixels, in which the shift register takes pixels of the image.

    A row of the output begins with a full register, and each of its pixels takes ``stride`` more. These are taken at
    once if they lie in different lanes; if one more does, it fills the register for the next row.
    """
    stride, lanes = instruction["stride"], lanes_of(engine, region(instruction, "src"))
    apart = [lie_apart((i * instruction["src_stride"] for i in range(count)), lanes) for count in (stride, stride + 1)]
    if taps_of(instruction, engine) == 1 or apart[1]:
        return 0
    first = max(instruction["kernel_width"] - stride, 0) * timing.CONV_FILL.cycles
    others = 0 if apart[0] else instruction["out_width"] * (stride - 1)
    return int(instruction["rows"] * (first + others))


def _tiled(
    instruction: Instruction,
    place: Place,
    rows: int,
    tiles: Tiles,
    walk: int = 0,
    refill: int = 0,
    both_ports: bool = False,
) -> Tiled:
    release = instruction["release"] * LINE_BYTES if place.present else 0
    return Tiled(rows, tiles, (place.head + instruction["offset"]) * LINE_BYTES, release, walk, refill, both_ports)


def scores(instruction: Instruction, engine: Engine, place: Place) -> Tiled:
    """Queries through the keys of a region: two tiles of keys at once where the DSP blocks run at twice the clock."""
    if not _reads(instruction, engine, "keys", (k := instruction["k"]) * (keys := instruction["count"])):
        return Tiled(0, NONE, 0, 0)
    load, fill = width(engine, region(instruction, "keys")), timing.TRANSPOSE.cycles
    deep = depths(k, engine.array_rows)
    tiles = region_tiles(deep, keys, engine.array_columns, load, fill, engine.dsp_clock_ratio)
    return Tiled(instruction["rows"], tiles, 0, 0)


def mix(instruction: Instruction, engine: Engine, place: Place) -> Tiled:
    """Scores through the values of a region: two tiles of k at once where the DSP blocks run at twice the clock."""
    if not _reads(instruction, engine, "values", (keys := instruction["count"]) * (n := instruction["n"])):
        return Tiled(0, NONE, 0, 0)
    load = width(engine, region(instruction, "values"))
    deep = depths(keys, engine.array_rows * engine.dsp_clock_ratio)
    return Tiled(instruction["rows"], region_tiles(deep, n, engine.array_columns, load, 0, 1), 0, 0)


def _reads(instruction: Instruction, engine: Engine, source: str, size: int) -> bool:
    """Whether there are rows to compute, from ``size`` bytes of a region that has as many."""
    if instruction["rows"]:
        _check_size(instruction, size, engine, source)
    return bool(instruction["rows"])


def stream(instruction: Instruction, engine: Engine, place: Place) -> Moved:
    """Weights into the ring, or an expert's into the cache where it is not there yet."""
    _check_lines(instruction, instruction["lines"], _lines(engine) if instruction["cached"] else place.ring)
    fetched = place.present and not (instruction["cached"] and place.entry and not place.entry.load)
    size, ring = instruction["lines"] * LINE_BYTES * fetched, 0 if instruction["cached"] else place.ring * LINE_BYTES
    line = instruction["address"] + (place.entry.expert * instruction["stride"] if place.entry else 0)
    return Moved("weights", size, ring, in_dram(PARAMETERS, line), size)


def load(instruction: Instruction, engine: Engine, place: Place) -> Moved:
    """Rows from DRAM."""
    return _move("load", instruction, _copied(instruction, engine, "dst"))


def store(instruction: Instruction, engine: Engine, place: Place) -> Moved:
    """Rows to DRAM."""
    return _move("store", instruction, _copied(instruction, engine, "src"))


def _move(kind: str, instruction: Instruction, size: int) -> Moved:
    span = max(size, instruction["rows"] * instruction["step"] * LINE_BYTES)
    return Moved(kind, size, 0, in_dram(instruction["window"], instruction["address"]), span)


def in_dram(window: int, line: int) -> int:
    """The address in DRAM of a line of a window; each window begins with a row of the first bank."""
    return window * WINDOW_BYTES + line * LINE_BYTES


def _copied(instruction: Instruction, engine: Engine, name: str) -> int:
    """Bytes over the ports: whole lines, of each row where rows are apart."""
    size = instruction["size"] * engine.array_columns
    _check_size(instruction, instruction["rows"] * size, engine, name)
    if instruction["step"] * LINE_BYTES == size:
        return instruction["rows"] * size
    return instruction["rows"] * up(size, LINE_BYTES) * LINE_BYTES


def route(instruction: Instruction, engine: Engine, place: Place) -> Timed:
    """The choices of tokens and, at the end, the list of experts."""
    rows, experts = instruction["rows"], instruction["experts"]
    token = max(instruction["k"], up(experts, timing.LOGITS_PER_CYCLE))
    return Timed(rows * token + timing.ROUTE.cycles + instruction["end"] * experts, rows)


def softmax(instruction: Instruction, engine: Engine, place: Place) -> Timed:
    """Rows of scores."""
    rows, row = instruction["rows"], up(instruction["count"], engine.softmax_lanes) + timing.ROW.cycles
    return _timed(rows, rows * row, timing.SOFTMAX)


def norm(instruction: Instruction, engine: Engine, place: Place) -> Timed:
    """Rows of the residual."""
    rows, row = instruction["rows"], up(instruction["width"], engine.vector_lanes) + timing.ROW.cycles
    times, parts = timing.NORM_SHARE
    writes = rows * up(instruction["width"], width(engine, "input")) if region(instruction, "dst") == "input" else 0
    return replace(_timed(rows, up(rows * row * times, parts), timing.NORM), port_writes=writes)


def sums(instruction: Instruction, engine: Engine, place: Place) -> Timed:
    """OPEN and SETTLE."""
    rows = instruction["rows"]
    return _timed(rows, rows * up(instruction["width"], engine.vector_lanes), timing.SUMS)


def combine(instruction: Instruction, engine: Engine, place: Place) -> Timed:
    """Rows of one expert."""
    rows, row = rows_of(instruction, place), up(instruction["width"], engine.vector_lanes) + timing.COMBINE_ROW.cycles
    links = links_of(instruction, place) * timing.LINK.cycles
    return _timed(rows, max(rows * row, links), timing.COMBINE)


def enlarge(instruction: Instruction, engine: Engine, place: Place) -> Timed:
    """Rows of pixels, ``factor`` times as many and as long."""
    rows = instruction["rows"]
    values = rows * instruction["factor"] * instruction["width"] * instruction["stride"] * engine.array_columns
    return _timed(rows, up(values, engine.vector_lanes), timing.ENLARGE)


def add(instruction: Instruction, engine: Engine, place: Place) -> Timed:
    """Values of two operands, which are read one after the other where one region holds both."""
    size, times = instruction["size"], 1 + (instruction["a_region"] == instruction["b_region"])
    return _timed(size, times * up(size * engine.array_columns, engine.vector_lanes), timing.VALUES)


def look_up(instruction: Instruction, engine: Engine, place: Place) -> Timed:
    """The table, then the bytes."""
    size = instruction["size"]
    cycles = timing.TABLE.cycles + up(size * engine.array_columns, engine.vector_lanes)
    return _timed(size, cycles, timing.VALUES)


def rescale(instruction: Instruction, engine: Engine, place: Place) -> Timed:
    """Rows of values."""
    size = instruction["rows"] * instruction["size"]
    return _timed(size, up(size * engine.array_columns, engine.vector_lanes), timing.VALUES)


def mean(instruction: Instruction, engine: Engine, place: Place) -> Timed:
    """Channels of pixels, and those written at the end."""
    rows, channels = instruction["rows"], up(instruction["width"], engine.vector_lanes)
    return _timed(rows, (rows + instruction["end"]) * channels, timing.MEAN)


def classes(instruction: Instruction, engine: Engine, place: Place) -> Timed:
    """Channels of the pixels written."""
    pixels = instruction["rows"] * (1 + instruction["enlarge"]) * instruction["width"]
    return _timed(pixels, pixels * up(instruction["classes"], engine.vector_lanes), timing.CLASSES)


def _timed(rows: int, cycles: int, latency: Latency) -> Timed:
    return Timed(cycles + latency.cycles if rows else 0, rows)


def _check_weights(instruction: Instruction, engine: Engine, most: int) -> None:
    """The weights of an instruction are all at once in a memory of ``most`` lines."""
    how = instruction["table"], instruction.operands.get("format", INT8_WEIGHTS)
    _check_lines(instruction, weight_lines(engine.array_columns, depth_of(instruction), instruction["n"], *how), most)


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
