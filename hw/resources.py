"""What an engine needs of a part: the sum, unit by unit, and the refusal of one that does not fit.

Bases of the numbers: "prototype" was synthesised and holds exactly for any size; "calculated" follows from bytes and
widths; "estimated" scales prototypes, or is an allowance for what was not built yet. Nothing is placed or routed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Final, Literal, get_args

from edgemtl.errors import ResourceError
from edgemtl.hw.geometry import HEADS
from edgemtl.hw.isa import INSTRUCTION_BYTES, UNITS
from edgemtl.hw.regions import ROW_STATES

if TYPE_CHECKING:
    from edgemtl.hw.spec import AcceleratorSpec, Buffer, Engine, Part

Resource = Literal["lut", "ff", "dsp", "bram36", "uram288"]
Basis = Literal["prototype", "calculated", "estimated"]

RESOURCES: Final[tuple[Resource, ...]] = get_args(Resource)
MEMORY_WORDS: Final = {"bram36": 512, "uram288": 4096}
"""Words of a block at its full width of 72 bits (UG573), of which 64 are used: 4 KiB and 32 KiB of data."""
WORD_BYTES: Final = 8
ADDRESS_STREAMS: Final = 10
"""Addresses that units compute at once."""
FETCHED_INSTRUCTIONS: Final = 256
"""Instructions fetched ahead of the queues."""
FF_PER_LUT: Final = 1.5
"""Of units whose flip-flops nobody counted; the synthesised arrays have 1.2 to 1.4."""


@dataclass(frozen=True)
class Row:
    """How much of one resource one unit needs, and where the number comes from."""

    unit: str
    resource: Resource
    amount: float
    formula: str
    basis: Basis


def resource_sum(spec: AcceleratorSpec) -> tuple[Row, ...]:
    """Every unit of the engine with what it needs. Amounts count blocks; half a BRAM is a block of 18 Kib."""
    engine = spec.engine
    units = (
        _array,
        _second_tile,
        _unpack,
        _finish,
        _softmax,
        _vector,
        _pixels,
        _attention,
        _crossbar,
        _row_state,
        _router,
        _dma,
        _sequencer,
        _memories,
    )
    rows = (row for unit in units for row in unit(engine) if row.amount)
    return (*rows, *_memory_controller()) if spec.board.option is not None else tuple(rows)


def totals(rows: Iterable[Row]) -> dict[Resource, float]:
    """The sum of every resource."""
    rows = tuple(rows)
    return {name: sum(row.amount for row in rows if row.resource == name) for name in RESOURCES}


def available(part: Part) -> dict[Resource, int]:
    """What the part has."""
    return {name: getattr(part, name) for name in RESOURCES}


def check_sum(spec: AcceleratorSpec, origin: str) -> None:
    """Raise ResourceError, with the sum of every resource the part has too little of; ``origin`` names the file."""
    rows, has = resource_sum(spec), available(spec.board.part)
    missing: dict[str, float] = {name: need - has[name] for name, need in totals(rows).items() if need > has[name]}
    if missing:
        sums = [f"{n} {_terms(rows, n)}, {spec.board.part.name} has {count(has[n])}" for n in RESOURCES if n in missing]
        raise ResourceError(f"{origin}: the engine", missing, sums)


def _terms(rows: Iterable[Row], resource: Resource) -> str:
    parts = [row for row in rows if row.resource == resource]
    return (
        f"{' + '.join(f'{row.unit} {count(row.amount)}' for row in parts)} = {count(sum(row.amount for row in parts))}"
    )


def count(amount: float) -> str:
    """A number of blocks as people read it; halves are of BRAM."""
    return f"{amount:,.1f}".removesuffix(".0")


def _array(engine: Engine) -> Iterator[Row]:
    """The matrix array.

    DSP: two int8 products a block, and one block a column to requantise; exact at 64x32, 64x48 and 96x32. BRAM: int32
    accumulators 512 deep, 36 bits a half; exact at 64x48 and 96x32. LUT and FF: lines through the syntheses of 64x48
    and 96x32, a part per column and a part per sum of a chain of eight rows; S = rows / 8, of which there are two a
    cycle where the DSP blocks run at twice the clock; W = rows loaded a cycle.
    """
    p, q, s = engine.array_rows, engine.array_columns, engine.segments * engine.dsp_clock_ratio
    w = engine.weight_load_bytes_per_cycle // q
    deep = _blocks(engine.accumulator_rows, 512)
    yield Row("array", "dsp", p * q // 2 + q, f"{p} * {q} / 2 + {q}", "prototype")
    yield Row("array", "bram36", _blocks(q * 32, 36) * deep / 2, f"ceil({q} * 32 / 36) * {deep} / 2", "prototype")
    yield Row(
        "array", "lut", q * (220 + 22 * s) + 10 * (w - 1), f"{q} * (220 + 22 * {s}) + 10 * ({w} - 1)", "estimated"
    )
    yield Row(
        "array", "ff", round(q * (112 + 45.5 * s + 8.5 * w)), f"{q} * (112 + 45.5 * {s} + 8.5 * {w})", "estimated"
    )


def _second_tile(engine: Engine) -> Iterator[Row]:
    """What DSP blocks at twice the clock need beside another sum a chain (docs/adr/0009); nothing was synthesised.

    FF: a packed word has 17 different bits, and two words wait before each block; 2 x 36 bits of sums a chain of blocks
    are captured; allowance of 5,000 at 96x32 for the second byte of each row and its skew. LUT, with 1.5 FF each: lanes
    and transposers of the other tile of keys, as of `_attention`; another gearbox; allowances of 5,000 for reads of two
    tiles and 5,000 for masks, column sums of keys and phases, at 96 rows.
    """
    if engine.dsp_clock_ratio == 1:
        return
    p, q, groups = engine.array_rows, engine.array_columns, _blocks(engine.array_rows, 32)
    blocks, chains = p * q // 2, engine.segments * q // 2
    words = f"34 * {blocks} + 72 * {chains} + 5000 / 1536 * {blocks}"
    yield Row("waiting weights", "ff", 34 * blocks + 72 * chains + _blocks(5000 * blocks, 1536), words, "estimated")
    lut = 47 * groups * q + 1333 * groups + 1500 + _blocks(10_000 * p, 96)
    formula = f"47 * {groups * q} + 1333 * {groups} + 1500 + 10000 / 96 * {p}"
    yield from _logic("second tile", lut, formula)


def _unpack(engine: Engine) -> Iterator[Row]:
    """What makes int8 of 4-bit weights in front of the array: a multiplier of 4 x 8 bits for each byte loaded a cycle.

    An allowance of 40 LUT each, without a prototype: two sums of two partial products, 10 LUT each; their sum with the
    rounding, 12; 8 to take a byte of int8 instead. The multipliers of two groups of rows in registers are in its FF.
    """
    lanes = engine.weight_load_bytes_per_cycle
    yield from _logic("unpackers", 40 * lanes, f"40 * {lanes}")


def _finish(engine: Engine) -> Iterator[Row]:
    """What follows the accumulators, and what leads to the array.

    An allowance of 6,000 LUT at 32 columns, of which tables take 2,308 in the prototype, and of 1,500 LUT for the
    gearbox that brings rows of a region to the width of the array's load.
    """
    columns = engine.array_columns
    yield from _logic("finish", _blocks(6000 * columns, 32) + 1500, f"6000 / 32 * {columns} + 1500")


def _softmax(engine: Engine) -> Iterator[Row]:
    """Softmax without DSP: 64 lanes with their sum took 3,719 LUT, the reciprocal, a bit a stage, 1,072."""
    lanes = engine.softmax_lanes
    yield from _logic("softmax", _blocks(3719 * lanes, 64) + 1072, f"3719 / 64 * {lanes} + 1072")


def _vector(engine: Engine) -> Iterator[Row]:
    """LayerNorm, residual, combine, bilinear: two DSP blocks a lane, one for squares and one for products, and eight a
    row: two each for n * sum x^2 and the square of the sum, the mantissa's product and that with the sum, two apiece.

    The prototype of LayerNorm, 8 lanes, has 3,940 LUT and 25 DSP blocks: three a lane, since it does not share them.
    """
    lanes = engine.vector_lanes
    yield Row("vector", "dsp", 2 * lanes + 8, f"2 * {lanes} + 8", "calculated")
    yield from _logic("vector", _blocks(3940 * lanes, 8), f"3940 / 8 * {lanes}")


def _pixels(engine: Engine) -> Iterator[Row]:
    """What ADD, MAP, MEAN, CLASSES and the modes of ENLARGE add to the vector unit, without a prototype of its own.

    They share its multipliers and shifters. LUT a lane: 2,308 / 32 for a table, as those behind the array take; 40 for
    64 sums of 32 bits (8 LUT hold 64 x 7 bits); 38 for a comparator of 20 bits that passes value and index on; an
    allowance of 60 for weights of 3, 5 and 7 quarters and eighths, and for the choice of operands.
    """
    lanes = engine.vector_lanes
    lut = _blocks(2308 * lanes, 32) + (8 * _blocks(32, 7) + 38 + 60) * lanes
    yield from _logic("pixels", lut, f"2308 / 32 * {lanes} + (40 + 38 + 60) * {lanes}")


def _attention(engine: Engine) -> Iterator[Row]:
    """Attention of several heads at once: lanes that shift and clamp, 47 LUT each, and transposers, 1,333 LUT each.

    A group of 32 rows has a transposer of 32 x 32 bytes, and every group but the first a lane a column. The study
    guesses 3,000 and 4,000 LUT for all of both at 96x32. A DSP block multiplies the reciprocal of a row of MIX.
    """
    groups = _blocks(engine.array_rows, 32)
    lanes = (groups - 1) * engine.array_columns
    yield Row("attention", "dsp", 1, "1", "calculated")
    yield from _logic("attention", 47 * lanes + 1333 * groups, f"47 * {lanes} + 1333 * {groups}")


def _crossbar(engine: Engine) -> Iterator[Row]:
    """Between units and memories: an allowance of 12,000 LUT at 96 rows, for the regions that addresses may name.

    Each of 10 address streams finds lane and line of a granule with a DSP block, 4 LUT and 81 FF; two more multiply
    tokens by strides.
    """
    rows = engine.array_rows
    yield Row("crossbar", "dsp", ADDRESS_STREAMS + 2, f"{ADDRESS_STREAMS} + 2", "estimated")
    formula = f"12000 / 96 * {rows} + 4 * {ADDRESS_STREAMS}"
    yield from _logic("crossbar", _blocks(12_000 * rows, 96) + 4 * ADDRESS_STREAMS, formula)


def _row_state(engine: Engine) -> Iterator[Row]:
    """What scores remember of each row, a memory a copy, in a bank for each head that SCORES updates in a cycle.

    A bank has a third of the rows, 40 bits each: a block, at most 512 deep at that width.
    """
    copies, banks = engine.buffers.scores.copies, HEADS[0]
    deep = _blocks(ROW_STATES // banks, MEMORY_WORDS["bram36"])
    formula = f"{copies} * {banks} * ceil({ROW_STATES // banks} / {MEMORY_WORDS['bram36']})"
    yield Row("row state", "bram36", copies * banks * deep, formula, "calculated")


def _router(engine: Engine) -> Iterator[Row]:
    """Top-k, queues, counts: the prototype's 470 + 133 LUT, and an allowance of 5,000 for weights and walks of queues,
    of which 48 LUT hold the matrix unit's 64 walks of 38 bits.

    BRAM: 4 bytes an entry, 8 an expert; the most experts, 256, take a block. DSP: weights of the chosen experts.
    """
    entries = engine.routing_entries
    yield Row("router", "dsp", 2, "2", "estimated")
    yield Row("router", "bram36", _blocks(entries * 4, 4096) + 1, f"ceil({entries} * 4 / 4096) + 1", "calculated")
    yield from _logic("router", 5603, "470 + 133 + 5000")


def _dma(engine: Engine) -> Iterator[Row]:
    """DMA, of which there is no prototype: an allowance of 1,500 LUT a port; BRAM 16 bytes x 512 words a direction."""
    ports = engine.dma_ports
    yield Row("dma", "bram36", 4 * ports, f"2 * 2 * {ports}", "estimated")
    yield from _logic("dma", 1500 * ports, f"1500 * {ports}")


def _memory_controller() -> Iterator[Row]:
    """Controller of a memory on the logic's side, with its physical layer: an allowance, nothing was built."""
    yield Row("memory controller", "dsp", 3, "3", "estimated")
    yield Row("memory controller", "bram36", 26, "26", "estimated")
    yield from _logic("memory controller", 15_000, "15000")


def _sequencer(_engine: Engine) -> Iterator[Row]:
    """Sequencer and control registers, of which there is no prototype: allowances of 3,000 and 2,000 LUT, and queues.

    BRAM: instructions fetched ahead. A queue holds 64 in distributed RAM: 8 LUT hold 64 x 7 bits, a RAM64M8 (UG574).
    """
    fetched, bits = FETCHED_INSTRUCTIONS * INSTRUCTION_BYTES, 8 * INSTRUCTION_BYTES
    yield _memory("sequencer", "bram36", fetched, INSTRUCTION_BYTES, 1)
    queues = len(UNITS) * 8 * _blocks(bits, 7)
    yield from _logic("sequencer", 5000 + queues, f"3000 + 2000 + {len(UNITS)} * 8 * ceil({bits} / 7)")


def _memories(engine: Engine) -> Iterator[Row]:
    """The weight ring and the buffers: w bytes wide and d words deep takes ceil(w / 8) * ceil(d / words) blocks."""
    ring, wide = engine.weight_ring_bytes, engine.weight_load_bytes_per_cycle
    yield _memory("weight ring", engine.weight_ring_memory, ring, wide, 1)
    for item in fields(engine.buffers):
        buffer: Buffer = getattr(engine.buffers, item.name)
        yield _memory(item.name, buffer.memory, buffer.bytes, buffer.width_bytes, buffer.copies)


def _memory(unit: str, memory: str, size: int, wide: int, copies: int) -> Row:
    if memory == "lut":
        return _lut_memory(unit, size, wide, copies)
    resource: Resource = "uram288" if memory == "uram288" else "bram36"
    words = MEMORY_WORDS[resource]
    across, deep = _blocks(wide, WORD_BYTES), _blocks(_blocks(size, wide), words)
    formula = f"{copies} * ceil({wide} / 8) * ceil({_blocks(size, wide)} / {words})"
    return Row(unit, resource, copies * across * deep, formula, "calculated")


def _lut_memory(unit: str, size: int, wide: int, copies: int) -> Row:
    """Distributed RAM: 8 LUT hold 32 x 14 bits, a RAM32M16 (UG574)."""
    deep = _blocks(size, wide)
    amount = copies * 8 * _blocks(deep, 32) * _blocks(8 * wide, 14)
    return Row(unit, "lut", amount, f"{copies} * 8 * ceil({deep} / 32) * ceil({8 * wide} / 14)", "calculated")


def _logic(unit: str, lut: int, formula: str) -> Iterator[Row]:
    yield Row(unit, "lut", lut, formula, "estimated")
    yield Row(unit, "ff", round(FF_PER_LUT * lut), f"{FF_PER_LUT} * {lut}", "estimated")


def _blocks(amount: int, each: int) -> int:
    """How many of ``each`` hold ``amount``."""
    return -(-amount // each)
