"""Golden pairs: the inputs of a task and the output it must give, at most 1 MiB a pair.

A large input is stored as its first corner, which is repeated to fill it, a skewed one as its corner and the value
everywhere else; a large output as every n-th element of the flat array. All are exact values, never rounded.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import prod

import numpy as np

from edgemtl.bundle.manifest import PLAIN, SKEWED, GoldenEntry, GoldenInput, golden_paths
from edgemtl.bundle.npy import Array, write_npy

INPUT_BYTES = 480_000
"""Of all inputs of a pair."""
OUTPUT_BYTES = {PLAIN: 480_000, SKEWED: 65_536}


@dataclass(frozen=True)
class Golden:
    """A golden pair as a test needs it: the whole inputs by name, the stored elements of the flat output."""

    task: str
    case: str
    inputs: Mapping[str, Array] = field(repr=False)
    output: Array = field(repr=False)
    output_stride: int
    tolerance: float


@dataclass(frozen=True)
class StoredInput:
    """The part of an input that a bundle stores; ``fill`` is the value everywhere else, None where it is repeated."""

    part: Array = field(repr=False)
    fill: float | None = None


def crop_input(array: Array, inputs: int = 1) -> Array:
    """The part of an input that a bundle stores where there are ``inputs``: all of it, or the first corner of a large
    one. The first two axes, batch and channels, are cut last.
    """
    left = INPUT_BYTES // inputs // array.itemsize
    sizes = list(array.shape)
    for axis in (*range(min(2, array.ndim)), *reversed(range(2, array.ndim))):
        sizes[axis] = min(sizes[axis], max(1, left))
        left //= sizes[axis]
    return np.array(array[tuple(map(slice, sizes))], order="C")


def expand_input(stored: StoredInput, shape: tuple[int, ...]) -> Array:
    """The input of ``shape`` that a stored part stands for: repeated, or the first corner of what is ``fill``."""
    part = stored.part
    if stored.fill is not None:
        whole = np.full(shape, stored.fill, part.dtype)
        whole[tuple(map(slice, part.shape))] = part
        return whole
    places = [np.arange(size) % given for size, given in zip(shape, part.shape, strict=True)]
    return np.array(part[np.ix_(*places)] if places else part, order="C")


def pack_golden(
    task: str, stored: Mapping[str, StoredInput], output: Array, tolerance: float, case: str = PLAIN
) -> tuple[GoldenEntry, dict[str, bytes]]:
    """A golden pair as a manifest entry and its sections; ``output``: what the task must give for the inputs that
    ``stored`` stand for, by name.
    """
    stride = -(-output.nbytes // OUTPUT_BYTES[case])
    stored_output = np.array(output, order="C").reshape(-1)[::stride]
    inputs = tuple(GoldenInput(name, of.part.shape, of.fill) for name, of in stored.items())
    entry = GoldenEntry(task, case, inputs, stride, stored_output.size, float(tolerance))
    members = [write_npy(array) for array in (*(of.part for of in stored.values()), stored_output)]
    return entry, dict(zip(golden_paths(task, case, len(inputs)), members, strict=True))


def stored_elements(shape: tuple[int, ...], stride: int) -> int:
    """How many elements of an output are stored where every ``stride``-th is."""
    return -(-prod(shape) // stride)
