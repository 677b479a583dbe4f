"""Steps of a host CPU as a bundle holds them: an operator with its sizes, and where its operands lie."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import Annotated

from edgemtl.host.operators import OPERATORS
from edgemtl.operators import Operator, TensorType
from edgemtl.records import Field, members, one_of, read
from edgemtl.records.types import AnyShape, Bytes, Index

INPUT, OUTPUT = "input/", "output"
"""Buffers that are not the host's own: an input by its name behind this, and what the task of the step writes."""
SEGMENT = "segment"
"""The operator of a step that the accelerator runs."""
NATIVE = "native"
"""The operator of a step that has no definition in numpy: the host's library alone runs it."""
BUFFER_DTYPES = {"float32": 4, "int64": 8, "int32": 4, "int16": 2, "int8": 1, "uint8": 1, "bool": 1}
"""What buffers are made of, with the bytes of an element."""
OPERATOR = one_of(SEGMENT, NATIVE, *OPERATORS)


@dataclass(frozen=True)
class HostView:
    """Elements of one buffer seen through a shape; ``strides`` and ``offset`` count elements."""

    buffer: str
    shape: AnyShape
    strides: tuple[Bytes, ...]
    offset: Bytes
    dtype: Annotated[str, one_of(*BUFFER_DTYPES)]

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

    operator: Annotated[str, OPERATOR]
    sizes: Operator | None
    segment: Index | None
    inputs: tuple[HostView, ...]
    outputs: tuple[HostView, ...]
    constants: tuple[Index, ...]


def read_step(field: Field) -> HostStep:
    """One step of a document; a segment has no sizes of its own, and any other operator no number of a segment.

    Raises ConfigError.
    """
    entries = members(HostStep, field)
    sizes, segment = entries["sizes"], entries["segment"]
    name = OPERATOR.read(entries["operator"])
    if (name in OPERATORS) != (sizes.value is not None) or (name == SEGMENT) != (segment.value is not None):
        entries["operator"].fail(f"{SEGMENT} with the number of one, {NATIVE}, or another operator with its sizes")
    return read(HostStep, field, sizes=read(OPERATORS[name], sizes) if name in OPERATORS else None)
