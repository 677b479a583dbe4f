"""ENLARGE: rows of an image of twice the size, bilinear."""

from __future__ import annotations

import numpy as np

from edgemtl.hw.arith import Wide, round_shift
from edgemtl.hw.isa import Instruction
from edgemtl.hw.sim.functional.chip import Chip
from edgemtl.hw.sim.functional.faults import Fault, set_to_something
from edgemtl.hw.sim.functional.memory import Mask, as_bytes


def enlarge(chip: Chip, instruction: Instruction) -> None:
    """Execute an ENLARGE: rows of the image of twice the size, edges clamped. Padding of a pixel stays padding."""
    set_to_something(instruction, "width", "height", "rows", "stride", "src_wrap", "dst_wrap")
    end, height = instruction["first"] + instruction["rows"], instruction["height"]
    if end > 2 * height:
        raise Fault(f"rows made must lie in the {2 * height} of the image, not end at {end}")
    target = chip.region(instruction, "dst")
    target.check_count(instruction["rows"] * 2 * instruction["width"] * instruction["stride"])
    rows = np.arange(instruction["first"], end)
    near = rows // 2
    far = np.clip(near + np.where(rows % 2, 1, -1), 0, height - 1)
    lines = np.arange(min(near.min(), far.min()), max(near.max(), far.max()) + 1)
    image, known = _source_rows(chip, instruction, lines)
    tall = 3 * image[near - lines[0]] + image[far - lines[0]]
    columns = np.arange(2 * instruction["width"])
    beside = np.clip(columns // 2 + np.where(columns % 2, 1, -1), 0, instruction["width"] - 1)
    large = round_shift(3 * tall[:, columns // 2] + tall[:, beside], 4).astype(np.int8)
    pixels = (rows % instruction["dst_wrap"])[:, None] * len(columns) + columns
    at = target.rows_at(instruction["dst"], pixels.reshape(-1), instruction["stride"], instruction["stride"])
    values = as_bytes(large).reshape(len(at), -1)
    target.write(at, values, np.broadcast_to(known, values.shape), apart=True)


def _source_rows(chip: Chip, instruction: Instruction, lines: Wide) -> tuple[Wide, Mask]:
    """Source rows int64 [lines, width, bytes of a pixel], and which bytes of a pixel are more than padding."""
    source, width = chip.region(instruction, "src"), instruction["width"]
    pixels = ((lines % instruction["src_wrap"])[:, None] * width + np.arange(width)).reshape(-1)
    at = source.rows_at(instruction["src"], pixels, instruction["stride"], instruction["stride"], apart=False)
    data, written = source.read_loose(at)
    known: Mask = np.asarray(written.any(0))
    source.check_written(at, written | ~known, written.shape[1])
    source.check_written(at, written, 1)
    return data.view(np.int8).reshape(len(lines), width, -1).astype(np.int64), known
