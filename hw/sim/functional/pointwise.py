"""ADD, MAP, RESCALE and MEAN: values of tensors that lie in whole granules, value by value or summed up over rows."""

from __future__ import annotations

import numpy as np

from edgemtl.hw.arith import INT8, INT16, Ints, Wide, requantise, round_shift, saturate
from edgemtl.hw.geometry import TABLE_BYTES
from edgemtl.hw.isa import Instruction
from edgemtl.hw.sim.functional.chip import Chip
from edgemtl.hw.sim.functional.faults import in_range, set_to_something
from edgemtl.hw.sim.functional.hazards import Index
from edgemtl.hw.sim.functional.memory import Mask, as_bytes


def add(chip: Chip, instruction: Instruction) -> None:
    """Execute an ADD. Padding of both operands stays padding."""
    set_to_something(instruction, "size")
    in_range(instruction, shift=29)
    (a, there), (b, also_there) = (_values(chip, instruction, name) for name in ("a", "b"))
    total = a * instruction["mul_a"] + b * instruction["mul_b"] + instruction["offset"]
    _put(chip, instruction, _finished(round_shift(total, instruction["shift"]), instruction), there & also_there)


def look_up(chip: Chip, instruction: Instruction) -> None:
    """Execute a MAP."""
    set_to_something(instruction, "size")
    table = chip.constants(instruction, "from", TABLE_BYTES).view(np.int8)
    source, target = chip.region(instruction, "src"), chip.region(instruction, "dst")
    at = source.rows_at(instruction["src"], instruction["size"], 1, 1)
    data, written = source.read_loose(at)
    source.check_written(at, written, 1)
    out = target.rows_at(instruction["dst"], instruction["size"], 1, 1)
    target.write(out, as_bytes(table[data.view(np.int8).astype(np.int64) + 128]), written, apart=True)


def mean(chip: Chip, instruction: Instruction) -> None:
    """Execute a MEAN. Sums of an image that goes on stay in the unit."""
    set_to_something(instruction, "rows", "width", "stride")
    source, width = chip.region(instruction, "src"), instruction["width"]
    span = source.span(width)
    at = source.rows_at(instruction["src"], instruction["rows"], instruction["stride"], span, apart=False)
    x = source.read(at, width).view(np.int8).astype(np.int64) - instruction["src_zero"]
    sums = x.sum(0) + (0 if instruction["begin"] else chip.sums)
    chip.sums = sums
    if instruction["end"]:
        y = _finished(requantise(sums, instruction["mul"], instruction["shift"]), instruction)
        target = chip.region(instruction, "dst")
        whole = span * y.dtype.itemsize
        padded = np.pad(y, (0, span * chip.columns - width))[None]
        target.write(target.rows_at(instruction["dst"], 1, whole, whole), as_bytes(padded), apart=True)


def rescale(chip: Chip, instruction: Instruction) -> None:
    """Execute a RESCALE. Padding stays padding."""
    set_to_something(instruction, "rows", "size")
    x, written = _values(chip, instruction, "src", instruction["rows"])
    value = requantise(x - instruction["src_zero"], instruction["mul"], instruction["shift"]) + instruction["zero"]
    y = saturate(value, *INT16).astype("<i2") if instruction["wide"] else saturate(value, *INT8).astype(np.int8)
    _put(chip, instruction, y, written, instruction["rows"])


def _finished(value: Wide, instruction: Instruction) -> Ints:
    low = instruction["low"]
    if instruction["wide"]:
        return saturate(value, 0 if low == 0 else INT16[0], INT16[1]).astype("<i2")
    return saturate(value + instruction["zero"], low, INT8[1]).astype(np.int8)


def _values(chip: Chip, instruction: Instruction, operand: str, rows: int = 1) -> tuple[Wide, Mask]:
    """An operand's values int64 [granules of values, values], and which are more than padding."""
    memory, wide = chip.region(instruction, operand), instruction[f"{operand}_wide"]
    at = _granules(chip, instruction, operand, rows, 1 + wide)
    data, written = memory.read_loose(at)
    memory.check_written(at, written, 1 + wide)
    values = np.ascontiguousarray(data).view("<i2" if wide else "i1").astype(np.int64)
    return values, np.asarray(written.reshape(*values.shape, 1 + wide).all(-1))


def _put(chip: Chip, instruction: Instruction, values: Ints, written: Mask, rows: int = 1) -> None:
    memory, wide = chip.region(instruction, "dst"), instruction["wide"]
    at = _granules(chip, instruction, "dst", rows, 1 + wide)
    memory.write(at, as_bytes(values), np.repeat(written, 1 + wide, 1), apart=True)


def _granules(chip: Chip, instruction: Instruction, operand: str, rows: int, itemsize: int) -> Index:
    """The granules of each granule of values, int64 [rows * size, itemsize]."""
    span = instruction["size"] * itemsize
    stride = instruction[f"{operand}_stride"] if rows > 1 else span
    return chip.region(instruction, operand).rows_at(instruction[operand], rows, stride, span).reshape(-1, itemsize)
