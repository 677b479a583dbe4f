"""NORM, and sums of experts: OPEN, COMBINE, SETTLE."""

from __future__ import annotations

import numpy as np

from edgemtl.hw.arith import INT8, INT16, Wide, reciprocal_sqrt, requantise, saturate, scale_mantissa
from edgemtl.hw.isa import Instruction
from edgemtl.hw.sim.functional.chip import Chip
from edgemtl.hw.sim.functional.faults import Fault, in_range, set_to_something
from edgemtl.hw.sim.functional.hazards import Index
from edgemtl.hw.sim.functional.matrix import block_of, rows_of_block
from edgemtl.hw.sim.functional.memory import as_bytes
from edgemtl.hw.sim.functional.products import check_shifts

_HALF = 15
"""Fraction bits of a weight, and of a sum of experts."""


def norm(chip: Chip, instruction: Instruction) -> None:
    """Execute a NORM. Raises Fault for operands the machine cannot follow."""
    in_range(instruction, width=1024, epsilon=2**48)
    set_to_something(instruction, "rows")
    source, target, width = chip.region(instruction, "src"), chip.region(instruction, "dst"), instruction["width"]
    out = target.rows_at(instruction["dst"], instruction["rows"], instruction["dst_stride"], target.span(width))
    at = source.rows_at(
        instruction["src"], instruction["rows"], instruction["src_stride"], source.span(2 * width), apart=False
    )
    x = source.read(at, 2 * width).view("<i2").astype(np.int64)
    halvings, offsets = _norm_parameters(chip, instruction)
    total, squares = x.sum(1, keepdims=True), (x * x).sum(1, keepdims=True)
    spread = width * squares - total * total
    mantissa, exponent = reciprocal_sqrt(spread + instruction["epsilon"])
    shift = 16 + exponent + instruction["shift"] + halvings
    # A constant row is 0 by any shift.
    check_shifts(shift[spread[:, 0] > 0], "shift with a row's exponent and halvings")
    scaled = requantise(width * x - total, scale_mantissa(mantissa, instruction["mul"]), shift)
    results = saturate(scaled + offsets, *INT8).astype(np.int8)
    target.write(out, as_bytes(results), apart=True)


def _norm_parameters(chip: Chip, instruction: Instruction) -> tuple[Wide, Wide]:
    """Halvings and offsets, int64 [width]."""
    width = instruction["width"]
    if not instruction["parameters"]:
        return np.zeros(width, np.int64), np.zeros(width, np.int64)
    memory = chip.region(instruction, "from")
    at = memory.rows_at(instruction["from"], 2, memory.span(width), memory.span(width))
    halvings, offsets = memory.read(at, width).view(np.int8).astype(np.int64)
    if halvings.min() < 0 or halvings.max() > 7:
        raise Fault(f"halvings must be in 0..7, not {halvings.min()}..{halvings.max()}")
    return halvings, offsets


def _sums_at(chip: Chip, instruction: Instruction, operand: str, rows: int | Wide) -> Index:
    memory = chip.region(instruction, operand)
    span = memory.span(2 * instruction["width"])
    return memory.rows_at(instruction[operand], rows, instruction["stride"], span)


def _read_half(chip: Chip, instruction: Instruction, operand: str, rows: int | Wide, kind: str) -> Wide:
    """Half the bits of the sums, or values, int64 [rows, width]."""
    at = _sums_at(chip, instruction, operand, rows)
    return chip.region(instruction, operand).read(at, 2 * instruction["width"]).view(kind).astype(np.int64)


def _write_half(chip: Chip, instruction: Instruction, operand: str, rows: int | Wide, values: Wide) -> None:
    at = _sums_at(chip, instruction, operand, rows)
    chip.region(instruction, operand).write(at, as_bytes((values & 0xFFFF).astype("<u2")))


def open_sums(chip: Chip, instruction: Instruction) -> None:
    """Execute an OPEN: sum = value * 2^15 + 2^14."""
    set_to_something(instruction, "rows", "width")
    sums = (_read_half(chip, instruction, "high", instruction["rows"], "<i2") << _HALF) + (1 << (_HALF - 1))
    _write_half(chip, instruction, "high", instruction["rows"], sums >> 16)
    _write_half(chip, instruction, "low", instruction["rows"], sums)


def combine(chip: Chip, instruction: Instruction) -> None:
    """Execute a COMBINE: an expert's rows, each times its weight, to the sums of their tokens."""
    set_to_something(instruction, "rows", "width", "slot")
    entry = chip.router.entry(instruction["slot"])
    rows = 0 if entry is None else rows_of_block(instruction, entry)
    if entry is None or not rows:
        return
    block, source, size = block_of(instruction, entry, rows), chip.region(instruction, "src"), 2 * instruction["width"]
    y = source.read(
        source.rows_at(instruction["src"], rows, instruction["src_stride"], source.span(size), apart=False), size
    ).view("<i2")
    tokens, weights = entry.tokens[block], entry.weights[block]
    sums = _read_half(chip, instruction, "high", tokens, "<i2") << 16 | _read_half(
        chip, instruction, "low", tokens, "<u2"
    )
    sums = saturate(sums + weights[:, None] * y.astype(np.int64), -(2**31), 2**31 - 1)
    _write_half(chip, instruction, "high", tokens, sums >> 16)
    _write_half(chip, instruction, "low", tokens, sums)


def settle(chip: Chip, instruction: Instruction) -> None:
    """Execute a SETTLE: value = sum >> 15, saturated to 16 bits."""
    set_to_something(instruction, "rows", "width")
    high, low = (
        _read_half(chip, instruction, *part)
        for part in (("high", instruction["rows"], "<i2"), ("low", instruction["rows"], "<u2"))
    )
    _write_half(chip, instruction, "high", instruction["rows"], saturate((high << 16 | low) >> _HALF, *INT16))
