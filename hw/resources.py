"""What an engine needs of a part: the sum, unit by unit, and the refusal of one that does not fit.

Bases of the numbers: "prototype" was synthesised and holds exactly for any size; "calculated" follows from bytes and
widths; "estimated" scales prototypes, or is an allowance for what was not built yet. Nothing is placed or routed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Final, Literal, get_args

from edgemtl.errors import ResourceError
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
BRAM_BITS: Final = 36 * 1024
STATE_BITS: Final = 40
"""Of a row of scores, whole bytes: the largest of them, 16, and the reciprocal of their sum, 17 + 6."""
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
    units = (_array, _softmax, _vector, _attention, _row_state, _router, _dma, _sequencer, _memories)
    return tuple(row for unit in units for row in unit(engine) if row.amount)


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
    and 96x32, a part per column and a part per chain of eight rows; S = rows / 8, W = rows loaded a cycle.
    """
    p, q, s = engine.array_rows, engine.array_columns, engine.segments
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


def _softmax(engine: Engine) -> Iterator[Row]:
    """Softmax: a DSP block a lane and two a unit, LUT in proportion; the prototype, 16 lanes, has 4,147 LUT, 18 DSP."""
    lanes = engine.softmax_lanes
    yield Row("softmax", "dsp", lanes + 2, f"{lanes} + 2", "estimated")
    yield from _logic("softmax", _blocks(4147 * lanes, 16), f"4147 / 16 * {lanes}")


def _vector(engine: Engine) -> Iterator[Row]:
    """LayerNorm, residual, combine, tables, bilinear: a budget of two DSP blocks a lane and one a unit.

    The prototype of LayerNorm, 8 lanes, has 3,940 LUT and 25 DSP blocks: three a lane, which the budget forbids.
    """
    lanes = engine.vector_lanes
    yield Row("vector", "dsp", 2 * lanes + 1, f"2 * {lanes} + 1", "estimated")
    yield from _logic("vector", _blocks(3940 * lanes, 8), f"3940 / 8 * {lanes}")


def _attention(engine: Engine) -> Iterator[Row]:
    """Attention of several heads at once: lanes that shift and clamp, 47 LUT each, and transposers, 1,333 LUT each.

    A group of 32 rows has a transposer of 32 x 32 bytes, and every group but the first a lane a column. The study
    guesses 3,000 and 4,000 LUT for all of both at 96x32.
    """
    groups = _blocks(engine.array_rows, 32)
    lanes = (groups - 1) * engine.array_columns
    yield from _logic("attention", 47 * lanes + 1333 * groups, f"47 * {lanes} + 1333 * {groups}")


def _row_state(engine: Engine) -> Iterator[Row]:
    """What scores remember of each row, a memory a copy.

    Blocks share its width: 36 bits of 1,536 rows take a block and a half, the bits beyond them half a block.
    """
    copies, blocks = engine.buffers.scores.copies, _blocks(ROW_STATES * STATE_BITS, BRAM_BITS)
    formula = f"{copies} * ceil({ROW_STATES} * {STATE_BITS} / {BRAM_BITS})"
    yield Row("row state", "bram36", copies * blocks, formula, "calculated")


def _router(engine: Engine) -> Iterator[Row]:
    """Top-k, queues, counts: the prototype's 470 + 133 LUT, and the study's 500 LUT for a token a cycle.

    BRAM: 4 bytes an entry, 8 an expert; the most experts, 256, take a block.
    """
    tokens, entries = engine.router_tokens_per_cycle, engine.routing_entries
    yield Row("router", "bram36", _blocks(entries * 4, 4096) + 1, f"ceil({entries} * 4 / 4096) + 1", "calculated")
    yield from _logic("router", 603 + 500 * tokens, f"470 + 133 + 500 * {tokens}")


def _dma(engine: Engine) -> Iterator[Row]:
    """DMA, of which there is no prototype: an allowance of 1,500 LUT a port; BRAM 16 bytes x 512 words a direction."""
    ports = engine.dma_ports
    yield Row("dma", "bram36", 4 * ports, f"2 * 2 * {ports}", "estimated")
    yield from _logic("dma", 1500 * ports, f"1500 * {ports}")


def _sequencer(_engine: Engine) -> Iterator[Row]:
    """The sequencer, of which there is no prototype: an allowance of 3,000 LUT, and the queues of the units.

    BRAM: instructions fetched ahead. A queue holds 64 in distributed RAM: 8 LUT hold 64 x 7 bits, a RAM64M8 (UG574).
    """
    fetched, bits = FETCHED_INSTRUCTIONS * INSTRUCTION_BYTES, 8 * INSTRUCTION_BYTES
    yield _memory("sequencer", "bram36", fetched, INSTRUCTION_BYTES, 1)
    queues = len(UNITS) * 8 * _blocks(bits, 7)
    yield from _logic("sequencer", 3000 + queues, f"3000 + {len(UNITS)} * 8 * ceil({bits} / 7)")


def _memories(engine: Engine) -> Iterator[Row]:
    """The weight ring and the buffers: w bytes wide and d words deep takes ceil(w / 8) * ceil(d / words) blocks."""
    ring, wide = engine.weight_ring_bytes, engine.weight_load_bytes_per_cycle
    yield _memory("weight ring", engine.weight_ring_memory, ring, wide, 1)
    for item in fields(engine.buffers):
        buffer: Buffer = getattr(engine.buffers, item.name)
        yield _memory(item.name, buffer.memory, buffer.bytes, buffer.width_bytes, buffer.copies)


def _memory(unit: str, memory: str, size: int, wide: int, copies: int) -> Row:
    resource: Resource = "uram288" if memory == "uram288" else "bram36"
    words = MEMORY_WORDS[resource]
    across, deep = _blocks(wide, WORD_BYTES), _blocks(_blocks(size, wide), words)
    formula = f"{copies} * ceil({wide} / 8) * ceil({_blocks(size, wide)} / {words})"
    return Row(unit, resource, copies * across * deep, formula, "calculated")


def _logic(unit: str, lut: int, formula: str) -> Iterator[Row]:
    yield Row(unit, "lut", lut, formula, "estimated")
    yield Row(unit, "ff", round(FF_PER_LUT * lut), f"{FF_PER_LUT} * {lut}", "estimated")


def _blocks(amount: int, each: int) -> int:
    """How many of ``each`` hold ``amount``."""
    return -(-amount // each)
