"""Golden pairs: an input and the output it must give, at most 1 MiB a pair.

A large input is stored as a corner of it that is repeated to fill the image, a skewed one as its corner and the value
everywhere else; a large output as every n-th element of the flat array. Both are exact values, never rounded.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from edgemtl.bundle.manifest import PLAIN, SKEWED, GoldenEntry, golden_paths
from edgemtl.bundle.npy import FloatArray, write_npy

INPUT_ELEMENTS = 120_000
OUTPUT_ELEMENTS = {PLAIN: 120_000, SKEWED: 16_384}


@dataclass(frozen=True)
class Golden:
    """A golden pair as a test needs it: the whole input [1,C,H,W], the stored elements of the flat output."""

    task: str
    case: str
    input: FloatArray = field(repr=False)
    output: FloatArray = field(repr=False)
    output_stride: int
    tolerance: float


def crop_input(image: FloatArray) -> FloatArray:
    """The part of an input [1,C,H,W] a bundle stores: all of it, or the upper left corner of a large one."""
    _, channels, height, width = image.shape
    columns = min(width, max(1, INPUT_ELEMENTS // channels))
    rows = min(height, max(1, INPUT_ELEMENTS // (channels * columns)))
    return np.ascontiguousarray(image[:, :, :rows, :columns], dtype=np.float32)


def expand_input(stored: FloatArray, shape: tuple[int, ...], fill: float | None = None) -> FloatArray:
    """The input of ``shape`` [1,C,H,W] that a stored part stands for: repeated, or a corner of what is ``fill``."""
    if fill is not None:
        image = np.full(shape, fill, np.float32)
        image[:, :, : stored.shape[2], : stored.shape[3]] = stored
        return image
    rows = np.arange(shape[2]) % stored.shape[2]
    columns = np.arange(shape[3]) % stored.shape[3]
    return np.ascontiguousarray(stored[:, :, rows[:, None], columns])


def pack_golden(
    task: str,
    stored: FloatArray,
    output: FloatArray,
    tolerance: float,
    case: str = PLAIN,
    fill: float | None = None,
) -> tuple[GoldenEntry, dict[str, bytes]]:
    """A golden pair as a manifest entry and its two sections.

    stored: from ``crop_input``, or a corner. output: float32, what the task must give for
    ``expand_input(stored, shape, fill)``.
    """
    stride = -(-output.size // OUTPUT_ELEMENTS[case])
    stored_output = np.ascontiguousarray(output, dtype=np.float32).reshape(-1)[::stride]
    entry = GoldenEntry(task, case, stored.shape, fill, stride, stored_output.size, float(tolerance))
    return entry, dict(zip(golden_paths(task, case), (write_npy(stored), write_npy(stored_output)), strict=True))
