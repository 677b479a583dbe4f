"""NORM, and sums of experts: OPEN, COMBINE, SETTLE."""

from __future__ import annotations

import numpy as np

from edgemtl.hw.arith import INT8, INT16, Wide, reciprocal_sqrt, requantise, saturate, scale_mantissa
from edgemtl.hw.isa import Instruction
from edgemtl.hw.sim.functional.chip import Chip
from edgemtl.hw.sim.functional.faults import Fault, in_range, set_to_something
from edgemtl.hw.sim.functional.hazards import Index
from edgemtl.hw.sim.functional.matrix import block_of, rows_made
from edgemtl.hw.sim.functional.memory import as_bytes

_HALF = 15
"""Fraction bits of a weight, and of a sum of experts."""


def norm(chip: Chip, word: Instruction) -> None:
    """Execute a NORM. Raises Fault for operands the machine cannot follow."""
    in_range(word, width=1024, epsilon=2**48)
    set_to_something(word, "rows")
    source, target, width = chip.region(word, "src"), chip.region(word, "dst"), word["width"]
    out = target.rows_at(word["dst"], word["rows"], word["dst_stride"], target.span(width))
    at = source.rows_at(word["src"], word["rows"], word["src_stride"], source.span(2 * width), apart=False)
    x = source.read(at, 2 * width).view("<i2").astype(np.int64)
    halvings, offsets = _norm_parameters(chip, word)
    total, squares = x.sum(1, keepdims=True), (x * x).sum(1, keepdims=True)
    mantissa, exponent = reciprocal_sqrt(width * squares - total * total + word["epsilon"])
    shift = 16 + exponent + word["shift"] + halvings
    if shift.min() < 1 or shift.max() > 62:
        raise Fault(f"shift with a row's exponent and halvings must be in 1..62, not {shift.min()}..{shift.max()}")
    scaled = requantise(width * x - total, scale_mantissa(mantissa, word["mul"]), shift)
    made = saturate(scaled + offsets, *INT8).astype(np.int8)
    target.write(out, as_bytes(made), apart=True)


def _norm_parameters(chip: Chip, word: Instruction) -> tuple[Wide, Wide]:
    """Halvings and offsets, int64 [width]."""
    width = word["width"]
    if not word["parameters"]:
        return np.zeros(width, np.int64), np.zeros(width, np.int64)
    memory = chip.region(word, "from")
    at = memory.rows_at(word["from"], 2, memory.span(width), memory.span(width))
    halvings, offsets = memory.read(at, width).view(np.int8).astype(np.int64)
    if halvings.min() < 0 or halvings.max() > 7:
        raise Fault(f"halvings must be in 0..7, not {halvings.min()}..{halvings.max()}")
    return halvings, offsets


def _sums_at(chip: Chip, word: Instruction, operand: str, rows: int | Wide) -> Index:
    memory = chip.region(word, operand)
    span = memory.span(2 * word["width"])
    return memory.rows_at(word[operand], rows, word["stride"], span)


def _read_half(chip: Chip, word: Instruction, operand: str, rows: int | Wide, kind: str) -> Wide:
    """Half the bits of the sums, or values, int64 [rows, width]."""
    at = _sums_at(chip, word, operand, rows)
    return chip.region(word, operand).read(at, 2 * word["width"]).view(kind).astype(np.int64)


def _write_half(chip: Chip, word: Instruction, operand: str, rows: int | Wide, values: Wide) -> None:
    at = _sums_at(chip, word, operand, rows)
    chip.region(word, operand).write(at, as_bytes((values & 0xFFFF).astype("<u2")))


def open_sums(chip: Chip, word: Instruction) -> None:
    """Execute an OPEN: sum = value * 2^15 + 2^14."""
    set_to_something(word, "rows", "width")
    sums = (_read_half(chip, word, "high", word["rows"], "<i2") << _HALF) + (1 << (_HALF - 1))
    _write_half(chip, word, "high", word["rows"], sums >> 16)
    _write_half(chip, word, "low", word["rows"], sums)


def combine(chip: Chip, word: Instruction) -> None:
    """Execute a COMBINE: an expert's rows, each times its weight, to the sums of their tokens."""
    set_to_something(word, "rows", "width", "slot")
    entry = chip.router.entry(word["slot"])
    rows = 0 if entry is None else rows_made(word, entry)
    if entry is None or not rows:
        return
    block, source, size = block_of(word, entry, rows), chip.region(word, "src"), 2 * word["width"]
    y = source.read(source.rows_at(word["src"], rows, word["src_stride"], source.span(size), apart=False), size).view(
        "<i2"
    )
    tokens, weights = entry.tokens[block], entry.weights[block]
    sums = _read_half(chip, word, "high", tokens, "<i2") << 16 | _read_half(chip, word, "low", tokens, "<u2")
    sums = saturate(sums + weights[:, None] * y.astype(np.int64), -(2**31), 2**31 - 1)
    _write_half(chip, word, "high", tokens, sums >> 16)
    _write_half(chip, word, "low", tokens, sums)


def settle(chip: Chip, word: Instruction) -> None:
    """Execute a SETTLE: value = sum >> 15, saturated to 16 bits."""
    set_to_something(word, "rows", "width")
    high, low = (
        _read_half(chip, word, *part) for part in (("high", word["rows"], "<i2"), ("low", word["rows"], "<u2"))
    )
    _write_half(chip, word, "high", word["rows"], saturate((high << 16 | low) >> _HALF, *INT16))
