"""CONV: a convolution over whole rows of an image."""

from __future__ import annotations

import numpy as np

from edgemtl.hw.arith import Ints, Wide
from edgemtl.hw.geometry import depth_of, rows_read, taps_in_tile, weight_lines
from edgemtl.hw.isa import Instruction
from edgemtl.hw.sim.functional.chip import Chip
from edgemtl.hw.sim.functional.faults import Fault, set_to_something
from edgemtl.hw.sim.functional.products import finish, product, unpack_weights

SIZES = ("wrap", "width", "rows", "k", "n", "kernel_height", "kernel_width", "stride", "dilation", "out_width")


def conv(chip: Chip, instruction: Instruction) -> None:
    """Execute a CONV. Raises Fault for operands the machine cannot follow."""
    set_to_something(instruction, *SIZES)
    _check(chip, instruction)
    deep = depth_of(instruction)
    lines = weight_lines(chip.columns, deep, instruction["n"], instruction["table"])
    data = chip.ring.read(instruction["offset"], lines)
    weights = unpack_weights(data, chip.engine, deep, instruction["n"], instruction["table"])
    results = finish(product(_windows(chip, instruction), weights.w), weights, instruction)
    pixels, target = instruction["rows"] * instruction["out_width"], chip.region(instruction, "dst")
    at = target.rows_at(instruction["dst"], pixels, instruction["dst_stride"], results.shape[1] // chip.columns)
    target.write(at, results, apart=True)
    chip.ring.release(instruction["release"])


def _check(chip: Chip, instruction: Instruction) -> None:
    pixels, most = instruction["rows"] * instruction["out_width"], chip.engine.accumulator_rows
    if pixels > most:
        raise Fault(f"rows * out_width must be at most the accumulator's {most} rows, not {pixels}")
    if instruction["wide"] and instruction["table"]:
        raise Fault("table must be 0 where results are 16 bits, not 1")


def tap_order(chip: Chip, instruction: Instruction) -> Wide:
    """Where each row of weights looks, int64 [taps * k, 3]: (dy, dx, channel), in the order of the array's tiles."""
    height, width, k = (instruction[name] for name in ("kernel_height", "kernel_width", "k"))
    together = taps_in_tile(chip.rows, chip.columns, k, width, instruction["stride"], instruction["dilation"])
    size = chip.rows // together
    groups = [np.arange(first, min(first + size, k)) for first in range(0, k, size)]
    rows = [
        (dy, dx, channel)
        for dy in range(height)
        for first in range(0, width, together)
        for group in groups
        for dx in range(first, first + together)
        for channel in group
    ]
    return np.array(rows, np.int64)


def _windows(chip: Chip, instruction: Instruction) -> Ints:
    """What the array sees of each pixel, int8 [rows * out_width, taps * k]; outside the image that is `pad`."""
    stride, dilation, wide = (instruction[name] for name in ("stride", "dilation", "kernel_width"))
    rows = np.arange(instruction["rows"])[:, None] + instruction["first"]
    columns = np.arange(instruction["out_width"])[:, None]
    at_rows = rows * stride + np.arange(instruction["kernel_height"]) * dilation - instruction["top"]
    at_columns = columns * stride + np.arange(wide) * dilation - instruction["left"]
    image = _padded_image(chip, instruction)
    lines = np.array(rows_read(instruction), np.int64)
    # Row and column 0 of the padded image are padding, for all that lies outside.
    inside = (at_columns >= 0) & (at_columns < instruction["width"])
    at_columns = np.where(inside, at_columns + 1, 0)
    at_rows = np.where(np.isin(at_rows, lines), np.searchsorted(lines, at_rows) + 1, 0)
    seen = image[at_rows[:, None, :, None], at_columns[None, :, None, :]]
    order = tap_order(chip, instruction)
    flat = seen.reshape(len(rows) * len(at_columns), -1)
    return np.asarray(flat[:, (order[:, 0] * wide + order[:, 1]) * image.shape[2] + order[:, 2]])


def _padded_image(chip: Chip, instruction: Instruction) -> Ints:
    """The rows that are read, int8 [1 + rows, 1 + width, k], behind a row and a column of `pad`."""
    lines, width, k = np.array(rows_read(instruction), np.int64), instruction["width"], instruction["k"]
    image = np.full((len(lines) + 1, width + 1, k), instruction["pad"], np.int8)
    if len(lines):
        source = chip.region(instruction, "src")
        pixels = (lines[:, None] % instruction["wrap"] * width + np.arange(width)).reshape(-1)
        at = source.rows_at(instruction["src"], pixels, instruction["src_stride"], source.span(k), apart=False)
        image[1:, 1:] = source.read(at, k).view(np.int8).reshape(len(lines), width, k)
    return image
