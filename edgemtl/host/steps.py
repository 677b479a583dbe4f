"""Steps of a host CPU as a bundle holds them: an operator with its sizes, and where its operands lie."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

from edgemtl.operators import Operator, TensorType

IMAGE, OUTPUT = "image", "output"
"""Buffers that are not the host's own: what a run reads, and what the task of the step writes."""
SEGMENT = "segment"
"""The operator of a step that the accelerator runs."""
NATIVE = "native"
"""The operator of a step that has no definition in numpy: the host's library alone runs it."""
BUFFER_DTYPES = {"float32": 4, "int32": 4, "int16": 2, "int8": 1}
"""What buffers are made of, with the bytes of an element."""


@dataclass(frozen=True)
class HostView:
    """Elements of one buffer seen through a shape; ``strides`` and ``offset`` count elements."""

    buffer: str
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    offset: int
    dtype: str

    @property
    def type(self) -> TensorType:
        """Its shape and dtype."""
        return TensorType(self.shape, self.dtype)

    @property
    def extent(self) -> int:
        """Elements from the start of the buffer to the end of the last one seen."""
        return self.offset + sum((n - 1) * s for n, s in zip(self.shape, self.strides, strict=True)) + 1

    @property
    def is_dense(self) -> bool:
        """Row-major without gaps."""
        expected = [prod(self.shape[axis + 1 :]) for axis in range(len(self.shape))]
        pairs = zip(self.shape, self.strides, expected, strict=True)
        return all(stride == dense for size, stride, dense in pairs if size > 1)


@dataclass(frozen=True)
class HostStep:
    """One step: the name of its operator and the operator with its sizes, or the number of the segment that runs in its
    place; neither where it is native code.

    constants: the places of its constants in the program's list, in the order of the operator.
    """

    operator: str
    sizes: Operator | None
    segment: int | None
    inputs: tuple[HostView, ...]
    outputs: tuple[HostView, ...]
    constants: tuple[int, ...]
