"""The integers of a section of weights by which kernels find memory: read when a bundle is opened, before one runs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from edgemtl.bundle.program import OFFSETS, WeightEntry
from edgemtl.errors import ConfigError

WORD_BYTES = 4


def check_indices(tensors: Sequence[WeightEntry], section: str, data: memoryview) -> None:
    """Raise ConfigError where integers of the section ``data`` leave their range, or offsets name no tensor of it."""
    starts = np.array([entry.offset // WORD_BYTES for entry in tensors])
    for entry in tensors:
        if entry.range is None:
            continue
        values = np.frombuffer(data[entry.offset :][: entry.bytes], np.dtype(entry.dtype).newbyteorder("<"))
        _check_range(entry, section, values, entry.range)
        if entry.role == OFFSETS and not np.isin(values, starts).all():
            stray = int(values[~np.isin(values, starts)][0])
            _fail(entry, section, "the places of its tensors in words", str(stray))


def _check_range(
    entry: WeightEntry, section: str, values: np.ndarray[tuple[int, ...], np.dtype[Any]], bounds: tuple[int, int]
) -> None:
    low, high = int(values.min()), int(values.max())
    if low < bounds[0] or high > bounds[1]:
        _fail(entry, section, f"integers from {bounds[0]} to {bounds[1]}", f"from {low} to {high}")


def _fail(entry: WeightEntry, section: str, must: str, actual: str) -> None:
    raise ConfigError(f"{section}: {entry.name} must hold {must}, not {actual}; compile the bundle again")
