"""ENLARGE, and CLASSES of an image or of an upsampled one: rows of pixels in rings."""

from __future__ import annotations

import numpy as np

from edgemtl.hw.arith import Wide, round_shift
from edgemtl.hw.geometry import enlarged_from
from edgemtl.hw.isa import Instruction
from edgemtl.hw.sim.functional.chip import Chip
from edgemtl.hw.sim.functional.faults import Fault, set_to_something
from edgemtl.hw.sim.functional.memory import Mask, as_bytes


def enlarge(chip: Chip, instruction: Instruction) -> None:
    """Execute an ENLARGE: rows of a larger image, edges clamped. Padding of a pixel stays padding."""
    set_to_something(instruction, "width", "height", "rows", "stride", "src_wrap", "dst_wrap")
    factor, nearest = instruction["factor"], bool(instruction["nearest"])
    rows, across = _rows_written(instruction, factor), factor * instruction["width"]
    target = chip.region(instruction, "dst")
    target.check_count(instruction["rows"] * across * instruction["stride"])
    lines = enlarged_from(instruction["first"], instruction["rows"], instruction["height"], factor, nearest)
    image, known = _source_rows(chip, instruction, np.array(lines))
    if nearest:
        large = image[rows // factor - lines[0]][:, np.arange(across) // factor]
    else:
        tall = _between(image, rows, factor, lines[0], instruction["height"])
        wide = _between(tall.swapaxes(0, 1), np.arange(across), factor, 0, instruction["width"]).swapaxes(0, 1)
        large = round_shift(wide, 2 * factor.bit_length())
    pixels = (rows % instruction["dst_wrap"])[:, None] * across + np.arange(across)
    at = target.rows_at(instruction["dst"], pixels.reshape(-1), instruction["stride"], instruction["stride"])
    values = as_bytes(large.astype(_dtype(instruction))).reshape(len(at), -1)
    target.write(at, values, np.broadcast_to(known, values.shape), apart=True)


def classes(chip: Chip, instruction: Instruction) -> None:
    """Execute a CLASSES: of each pixel the channel of the largest value, the lowest of equal ones."""
    set_to_something(instruction, "width", "height", "rows", "stride", "src_wrap", "classes")
    factor = 1 + instruction["enlarge"]
    rows, across, height = _rows_written(instruction, factor), factor * instruction["width"], instruction["height"]
    count = instruction["classes"]
    if count * (1 + instruction["wide"]) > instruction["stride"] * chip.columns:
        raise Fault(f"classes must lie in the {instruction['stride']} granules of a pixel, not be {count}")
    lines = enlarged_from(instruction["first"], instruction["rows"], height, 2, False) if factor == 2 else rows
    image, known = _source_rows(chip, instruction, np.array(lines))
    if not known[: count * (1 + instruction["wide"])].all():
        raise Fault(f"classes must be at most those that the pixels have, not {count}")
    logits = image[:, :, :count]
    if factor == 2:
        tall = _between(logits, rows, 2, lines[0], height)
        logits = _between(tall.swapaxes(0, 1), np.arange(across), 2, 0, instruction["width"]).swapaxes(0, 1)
    target = chip.region(instruction, "dst")
    at = target.rows_at(instruction["dst"], instruction["rows"], instruction["dst_stride"], target.span(across))
    target.write(at, logits.argmax(-1).astype(np.uint8), apart=True)


def _rows_written(instruction: Instruction, factor: int) -> Wide:
    end, height = instruction["first"] + instruction["rows"], factor * instruction["height"]
    if end > height:
        raise Fault(f"rows written must lie in the {height} of the image, not end at {end}")
    return np.arange(instruction["first"], end)


def _between(image: Wide, positions: Wide, factor: int, first: int, size: int) -> Wide:
    """2 ``factor`` times the lines between those of the first axis, which holds those from ``first`` on of ``size``."""
    below, part = np.divmod(2 * positions + 1 - factor, 2 * factor)
    part = part[:, None, None]
    near, far = (np.clip(line, 0, size - 1) - first for line in (below, below + 1))
    return np.asarray((2 * factor - part) * image[near] + part * image[far])


def _dtype(instruction: Instruction) -> str:
    return "<i2" if instruction["wide"] else "i1"


def _source_rows(chip: Chip, instruction: Instruction, lines: Wide) -> tuple[Wide, Mask]:
    """Source rows int64 [lines, width, values of a pixel], and which bytes of a pixel are more than padding."""
    source, width = chip.region(instruction, "src"), instruction["width"]
    pixels = ((lines % instruction["src_wrap"])[:, None] * width + np.arange(width)).reshape(-1)
    at = source.rows_at(instruction["src"], pixels, instruction["stride"], instruction["stride"], apart=False)
    data, written = source.read_loose(at)
    known: Mask = np.asarray(written.any(0))
    source.check_written(at, written | ~known, written.shape[1])
    source.check_written(at, written, 1)
    values = np.ascontiguousarray(data).view(_dtype(instruction))
    return values.reshape(len(lines), width, -1).astype(np.int64), known
