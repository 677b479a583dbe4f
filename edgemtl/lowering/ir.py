"""What a CPU program is made of before it is compiled: views of buffers, and steps that run one kernel each.

A `View` is what numpy calls an array without its memory: a place in a named buffer, a shape and strides.
Whether a reshape, a transpose or a slice is free is numpy's own rule, asked on an array that is never
read.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np

from edgemtl.hw.law_weights4 import CodedWeight
from edgemtl.operators import Array, Operator, TensorType

INPUTS = "inputs"  # the memory space of what a run reads
OUTPUT = "output"
INPUT = "input/"  # an input's buffer is this and its name
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
    def type(self) -> TensorType:
        """Its shape and dtype."""
        return TensorType(self.shape, self.dtype)

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
    """The memory space a buffer lies in: "inputs", "output", "prepared" or "arena"."""
    if buffer == OUTPUT:
        return OUTPUT
    if buffer.startswith(INPUT):
        return INPUTS
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

    @property
    def type(self) -> TensorType:
        """Its shape and dtype."""
        return TensorType(self.array.shape, self.array.dtype.name)

    @property
    def stored_bytes(self) -> int:
        """Bytes that the weight takes in a bundle, without padding."""
        return self.array.nbytes

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


@dataclass(frozen=True, eq=False)
class CodedConstant(Constant):
    """An int8 weight stored in 4 bits: ``array`` is ``coded``, expanded."""

    coded: CodedWeight = field(repr=False)

    @property
    def stored_bytes(self) -> int:
        """Bytes of codes and multipliers."""
        return self.coded.nbytes


Constants = Mapping[str, Constant | Sequence[Constant]]
"""Constants by name: one, or one for each expert."""


@dataclass(frozen=True)
class Step:
    """One call of an operator. Operands lie in the order of its signature; ask for them by name.

    ``constants`` are what a kernel's packing turns into weight operands; ``origin`` names the ONNX nodes the step
    stands for. Two steps are the same work where everything but the origin is equal.
    """

    operator: Operator
    inputs: tuple[View, ...]
    outputs: tuple[View, ...]
    constants: tuple[Constant, ...] = ()
    origin: tuple[str, ...] = field(default=(), compare=False)

    def __getitem__(self, name: str) -> View:
        """The input or output of this name."""
        signature = self.operator.signature
        views = (*zip(signature.inputs, self.inputs, strict=True), *zip(signature.outputs, self.outputs, strict=True))
        return dict(views)[name]

    def reads(self, name: str) -> bool:
        """Whether it has an input of this name."""
        return name in self.operator.signature.inputs

    def constant(self, name: str, expert: int | None = None) -> Constant:
        """The constant of this name; ``expert`` says whose."""
        return self.constants[self.operator.signature.constant_position(name, expert)]

    def arrays(self, expert: int | None = None) -> dict[str, Array]:
        """The constants there are once, by name, and those of an expert where one is named."""
        signature = self.operator.signature
        of_expert = [] if expert is None else [(name, self.constant(name, expert)) for name in signature.repeated]
        once = [(name, self.constant(name)) for name in signature.constants]
        return {name: constant.array for name, constant in (*of_expert, *once)}

    def has_constant(self, name: str) -> bool:
        """Whether it has a constant of this name, once or for each expert."""
        signature = self.operator.signature
        return name in signature.constants or name in signature.repeated

    def with_constant(self, name: str, constant: Constant, expert: int | None = None) -> Step:
        """The same step with another constant of this name; ``expert`` says whose."""
        constants = list(self.constants)
        constants[self.operator.signature.constant_position(name, expert)] = constant
        return replace(self, constants=tuple(constants))

    @property
    def main_input(self) -> View:
        """The first input: what the operator works on. Routings and residuals come behind it."""
        return next(iter(self.inputs))

    @property
    def result(self) -> View:
        """The first output."""
        return next(iter(self.outputs))

    @property
    def views(self) -> tuple[View, ...]:
        """Everything it reads or writes."""
        return (*self.inputs, *self.outputs)

    @property
    def buffers(self) -> tuple[str, ...]:
        """Names of the buffers it reads or writes."""
        return tuple(view.buffer for view in self.views)


def make_step(
    operator: Operator, views: Mapping[str, View], constants: Constants, origin: tuple[str, ...] = ()
) -> Step:
    """A step of operands by name; a constant of each expert is a sequence. Raises KeyError for another set of names."""
    signature = operator.signature
    names = {*signature.inputs, *signature.outputs, *signature.constants, *signature.repeated}
    if odd := names.symmetric_difference({*views, *constants}):
        raise KeyError(f"{type(operator).__name__} must have operands {sorted(names)}, and {sorted(odd)} differ")
    of_experts = [constants[name] for name in signature.repeated]
    repeated = [c for each in zip(*of_experts, strict=True) for c in each]
    once = [constants[name] for name in signature.constants]
    inputs, outputs = (tuple(views[name] for name in side) for side in (signature.inputs, signature.outputs))
    return Step(operator, inputs, outputs, (*repeated, *once), origin)  # type: ignore[arg-type]  # single constants


@dataclass(frozen=True)
class Lowered:
    """One task as steps: those of a run, and those that make the prepared buffers once.

    ``values``: where the first output of an ONNX node lies, by the node's name; fused away where there is none.
    """

    task: str
    steps: tuple[Step, ...]
    prepare: tuple[Step, ...] = ()
    values: Mapping[str, View] = field(default_factory=dict, repr=False)
