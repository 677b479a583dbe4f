"""Where the inputs of a run lie: one behind the other in one space, in the order of the signature."""

from __future__ import annotations

from collections.abc import Iterable
from math import prod
from typing import Protocol

import numpy as np

from edgemtl.bundle.npy import Array

ALIGNMENT = 64
"""Bytes: kernels read aligned vectors."""


UNBOUNDED = {"bool": (0, 1), "uint8": (0, 255), "int32": (0, 1), "int64": (0, 1)}
"""The least and the largest number that is drawn where nothing says what an integer may be."""


class InputType(Protocol):
    """The name, shape and dtype of an input; bounds: of integers that look something up, what is there."""

    @property
    def name(self) -> str: ...
    @property
    def shape(self) -> tuple[int, ...]: ...
    @property
    def dtype(self) -> str: ...
    @property
    def bounds(self) -> tuple[int, int] | None: ...


def input_bytes(entry: InputType) -> int:
    """The bytes of an input."""
    return prod(entry.shape) * np.dtype(entry.dtype).itemsize


def input_layout(inputs: Iterable[InputType]) -> tuple[dict[str, int], int]:
    """Where each input begins in the space of inputs, and how large that is, in bytes."""
    offsets: dict[str, int] = {}
    end = 0
    for entry in inputs:
        offsets[entry.name] = -(-end // ALIGNMENT) * ALIGNMENT
        end = offsets[entry.name] + input_bytes(entry)
    return offsets, end


def draw_frame(inputs: Iterable[InputType], generator: np.random.Generator) -> dict[str, Array]:
    """An array for each input, by name: normal noise for float32, and integers that are valid."""
    return {entry.name: draw_input(entry, generator) for entry in inputs}


def draw_input(entry: InputType, generator: np.random.Generator) -> Array:
    """Normal noise for float32, or integers that are valid."""
    if entry.dtype == "float32":
        return np.asarray(generator.standard_normal(entry.shape, np.float32))
    least, most = (0, entry.bounds[1]) if entry.bounds is not None else UNBOUNDED[entry.dtype]
    return np.asarray(generator.integers(least, most, entry.shape, endpoint=True)).astype(entry.dtype)
