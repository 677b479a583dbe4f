"""CONV: a 3 x 3 convolution over whole rows of an image."""

from __future__ import annotations

import numpy as np

from edgemtl.hw.arith import Ints, Wide
from edgemtl.hw.geometry import TAPS, weight_lines
from edgemtl.hw.isa import Instruction
from edgemtl.hw.sim.functional.chip import Chip
from edgemtl.hw.sim.functional.faults import Fault, set_to_something
from edgemtl.hw.sim.functional.products import finish, product, unpack_weights


def conv(chip: Chip, instruction: Instruction) -> None:
    """Execute a CONV. Raises Fault for operands the machine cannot follow."""
    set_to_something(instruction, "wrap", "width", "rows", "k", "n")
    _check(chip, instruction)
    lines = weight_lines(chip.columns, TAPS * instruction["k"], instruction["n"], instruction["table"])
    data = chip.ring.read(instruction["offset"], lines)
    weights = unpack_weights(data, chip.engine, TAPS * instruction["k"], instruction["n"], instruction["table"])
    results = finish(product(_windows(chip, instruction), weights.w), weights, instruction)
    pixels, target = instruction["rows"] * instruction["width"], chip.region(instruction, "dst")
    at = target.rows_at(instruction["dst"], pixels, instruction["dst_stride"], results.shape[1] // chip.columns)
    target.write(at, results, apart=True)
    chip.ring.release(instruction["release"])


def _check(chip: Chip, instruction: Instruction) -> None:
    pixels, most, end = (
        instruction["rows"] * instruction["width"],
        chip.engine.accumulator_rows,
        instruction["first"] + instruction["rows"],
    )
    if pixels > most:
        raise Fault(f"rows * width must be at most the accumulator's {most} rows, not {pixels}")
    if end > instruction["height"]:
        raise Fault(f"rows made must lie in the {instruction['height']} of the image, not end at {end}")
    if instruction["wide"] and instruction["table"]:
        raise Fault("table must be 0 where results are 16 bits, not 1")


def tap_order(array_rows: int, columns: int, k: int) -> Wide:
    """Where each row of weights looks, int64 [9 k, 3]: (dy, dx, channel), in the order of the array's tiles."""
    together = 3 if array_rows % 3 == 0 and array_rows // 3 >= columns else 1
    size = array_rows // together
    groups = [np.arange(first, min(first + size, k)) for first in range(0, k, size)]
    rows = [
        (dy, dx, channel)
        for dy in range(3)
        for taps in ([range(3)] if together == 3 else [(0,), (1,), (2,)])
        for group in groups
        for dx in taps
        for channel in group
    ]
    return np.array(rows, np.int64)


def _windows(chip: Chip, instruction: Instruction) -> Ints:
    """What the array sees of each pixel, int8 [rows * width, 9 k]."""
    rows, width, order = instruction["rows"], instruction["width"], tap_order(chip.rows, chip.columns, instruction["k"])
    image = np.full((rows + 2, width + 2, instruction["k"]), instruction["pad"], np.int8)
    first, last = max(instruction["first"] - 1, 0), min(instruction["first"] + rows + 1, instruction["height"])
    source = chip.region(instruction, "src")
    lines = np.arange(first, last) % instruction["wrap"]
    pixels = (lines[:, None] * width + np.arange(width)).reshape(-1)
    at = source.rows_at(
        instruction["src"], pixels, instruction["src_stride"], source.span(instruction["k"]), apart=False
    )
    seen = source.read(at, instruction["k"]).view(np.int8).reshape(last - first, width, -1)
    top = first - (instruction["first"] - 1)
    image[top : top + last - first, 1:-1] = seen
    return _taps(image, order, rows, width)


def _taps(image: Ints, order: Wide, rows: int, width: int) -> Ints:
    """The padded image [rows + 2, width + 2, k], shifted nine times, in the order of the weights' rows."""
    shifted = [image[dy : dy + rows, dx : dx + width].reshape(rows * width, -1) for dy in range(3) for dx in range(3)]
    side_by_side = np.concatenate(shifted, 1)
    return side_by_side[:, (order[:, 0] * 3 + order[:, 1]) * image.shape[2] + order[:, 2]]
