"""What a CPU program is made of before it is compiled: views of buffers, and steps that run one kernel each.

A `View` is what numpy calls an array without its memory: a place in a named buffer, a shape and strides.
Whether a reshape, a transpose or a slice is free is numpy's own rule, asked on an array that is never
read.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]

IMAGE = "image"
OUTPUT = "output"
PREPARED = "prepared/"  # buffers under this name are made once at load and live outside the arena
ALIGNMENT = 64  # bytes: kernels use aligned vector loads


@dataclass(frozen=True)
class View:
    """Elements of one buffer seen through a shape; ``strides`` and ``offset`` count elements, not bytes."""

    buffer: str
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    offset: int = 0
    dtype: str = "float32"

    @property
    def size(self) -> int:
        """Number of elements seen."""
        return math.prod(self.shape)

    @property
    def itemsize(self) -> int:
        """Bytes of one element."""
        return np.dtype(self.dtype).itemsize

    @property
    def offset_bytes(self) -> int:
        """Where the first element lies in the buffer."""
        return self.offset * self.itemsize

    @property
    def nbytes(self) -> int:
        """Bytes of the elements, packed."""
        return self.size * self.itemsize

    @property
    def extent_bytes(self) -> int:
        """Bytes from the start of the buffer to the end of the last element seen."""
        last = sum((n - 1) * s for n, s in zip(self.shape, self.strides, strict=True))
        return (self.offset + last + 1) * self.itemsize

    @property
    def is_dense(self) -> bool:
        """Row-major without gaps, from an aligned address: what kernels read and write."""
        return self._ghost().flags.c_contiguous and self.offset_bytes % ALIGNMENT == 0

    def sees_as(self, other: View) -> bool:
        """Whether both see the same elements in the same order; strides of axes of one element do not matter."""
        ours, theirs = (
            (v.buffer, v.dtype, v.shape, v.offset, [t for n, t in zip(v.shape, v.strides, strict=True) if n > 1])
            for v in (self, other)
        )
        return ours == theirs

    def _ghost(self) -> Array:
        """An array of this shape and these strides; it owns no memory and must not be read."""
        strides = tuple(s * self.itemsize for s in self.strides)
        return np.lib.stride_tricks.as_strided(np.empty(0, self.dtype), self.shape, strides)

    def apply(self, operation: Callable[[Array], Array]) -> View:
        """The view numpy makes of this one; ``operation`` must return a view of its argument, not a copy."""
        ghost = self._ghost()
        seen = operation(ghost)
        moved = (seen.__array_interface__["data"][0] - ghost.__array_interface__["data"][0]) // self.itemsize
        strides = tuple(s // self.itemsize for s in seen.strides)
        return replace(self, shape=seen.shape, strides=strides, offset=self.offset + moved)

    def reshape(self, shape: tuple[int, ...]) -> View | None:
        """The same elements in another shape, or None where that needs a copy."""
        try:
            return self.apply(lambda a: np.reshape(a, shape, copy=False))
        except ValueError:
            return None

    def transpose(self, axes: tuple[int, ...]) -> View:
        """The same elements with the axes in another order."""
        return self.apply(lambda a: a.transpose(axes))


def space_of(buffer: str) -> str:
    """The memory space a buffer lies in: "image", "output", "prepared" or "arena"."""
    if buffer in (IMAGE, OUTPUT):
        return buffer
    return "prepared" if buffer.startswith(PREPARED) else "arena"


def dense(buffer: str, shape: tuple[int, ...], dtype: str = "float32") -> View:
    """A whole buffer in row-major order."""
    strides = tuple(math.prod(shape[i + 1 :]) for i in range(len(shape)))
    return View(buffer, shape, strides, 0, dtype)


@dataclass(frozen=True, eq=False)
class Constant:
    """One raw weight: what the model calls it, and its contents. Equal contents are equal constants."""

    name: str
    array: Array = field(repr=False)

    @cached_property
    def key(self) -> str:
        """Digest of type, shape and contents; made when first asked for, since it reads all the bytes."""
        contents = np.ascontiguousarray(self.array)
        digest = hashlib.sha256(f"{contents.dtype.str}{contents.shape}".encode())
        digest.update(contents.tobytes())
        return digest.hexdigest()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Constant) and self.key == other.key

    def __hash__(self) -> int:
        return hash(self.key)


@dataclass(frozen=True)
class Step:
    """One kernel call. ``spec`` decides the kernel; ``origin`` names the ONNX nodes it stands for.

    ``constants`` are what the kernel's packing turns into weight operands. Two steps are the same work where
    everything but the origin is equal.
    """

    spec: object
    inputs: tuple[View, ...]
    outputs: tuple[View, ...]
    constants: tuple[Constant, ...] = ()
    origin: tuple[str, ...] = field(default=(), compare=False)

    @property
    def buffers(self) -> tuple[str, ...]:
        """Names of the buffers it reads or writes."""
        return tuple(view.buffer for view in (*self.inputs, *self.outputs))


@dataclass(frozen=True)
class Lowered:
    """One task as steps: those of a run, and those that make the prepared buffers once.

    ``values``: where the first output of an ONNX node lies, by the node's name; fused away where there is none.
    """

    task: str
    steps: tuple[Step, ...]
    prepare: tuple[Step, ...] = ()
    values: Mapping[str, View] = field(default_factory=dict, repr=False)
