"""What the definition of an operator sees: one call of it, with operands, attributes and the outputs ONNX gives it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar, cast

import numpy as np
from tvm import te, tirx

from edgemtl.graph import input_index
from edgemtl.operators import Array, TensorType
from edgemtl.tvm_bridge.kernels.emit import within

Tensor = Any  # te.Tensor: TVM ships no types
Expr = Any
Attribute = TypeVar("Attribute", int, float, str, tuple[int, ...], tuple[float, ...])


class Refused(Exception):
    """A form of an operator that its definition does not cover; the text is the reason a user reads."""


@dataclass(frozen=True)
class Loops:
    """A definition written as loops instead of as an expression per element, for what runs in order.

    body(computed operands, constant operands, tables, outputs, workspaces): emits the code by the IR
    builder. Buffers have one axis.
    """

    body: Callable[..., None]
    workspaces: tuple[TensorType, ...] = ()


@dataclass(frozen=True)
class ConstantTable:
    """A constant of a definition's own. bounds: of indices, the least and the largest that lie inside, else None."""

    tensor: Tensor
    array: Array
    bounds: tuple[int, int] | None = None


@dataclass
class Call:
    """One call of an operator. Definitions ask for what they read; what they did not ask for is not an operand.

    They ask by the names of ONNX's definition; a name that the operator does not have is an InternalError.

    inputs: the type of each operand, None where it is left out. constants: the values of those that are known.
    opset: the version of the standard the node follows. used: operands so far, as (key, placeholder).
    """

    op: str
    opset: int
    attributes: Mapping[str, Any]
    inputs: tuple[TensorType | None, ...]
    constants: Mapping[int, Array]
    outputs: tuple[TensorType, ...]
    used: dict[int, Tensor] = field(default_factory=dict)
    tables: list[ConstantTable] = field(default_factory=list)
    asked: set[str] = field(default_factory=set)

    @property
    def result(self) -> TensorType:
        """The first output: the one that every call has."""
        return next(iter(self.outputs))

    def has(self, name: str) -> bool:
        """Whether the optional operand is given."""
        index = input_index("", self.op, name)
        return index < len(self.inputs) and self.inputs[index] is not None

    def type_of(self, name: str) -> TensorType:
        """Shape and dtype of an operand."""
        return self._type_at(input_index("", self.op, name))

    @property
    def main_type(self) -> TensorType:
        """Shape and dtype of the first operand."""
        return self._type_at(0)

    def tensor(self, name: str) -> Tensor:
        """An operand as a tensor to compute with."""
        return self._tensor_at(input_index("", self.op, name))

    def main(self) -> Tensor:
        """The first operand as a tensor: what the operator works on, whichever name ONNX gives it."""
        return self._tensor_at(0)

    def tensors(self) -> list[Tensor]:
        """All operands as tensors, in their order."""
        return [self._tensor_at(index) for index in range(len(self.inputs))]

    def types(self) -> list[TensorType]:
        """Shape and dtype of all operands, in their order."""
        return [self._type_at(index) for index in range(len(self.inputs))]

    def _type_at(self, index: int) -> TensorType:
        kind = self.inputs[index] if index < len(self.inputs) else None
        if kind is None:
            raise Refused(f"{self.op} must have an operand {index}, and it is left out")
        return kind

    def _tensor_at(self, index: int) -> Tensor:
        kind = self._type_at(index)
        if index not in self.used:
            self.used[index] = te.placeholder(kind.shape, kind.dtype, name=f"x{index}")
        return self.used[index]

    def constant(self, name: str) -> Array:
        """The value of an operand that must be a constant."""
        index = input_index("", self.op, name)
        if index not in self.constants:
            raise Refused(f"{name} of {self.op} must be a constant, not computed")
        return self.constants[index]

    def integers(self, name: str) -> tuple[int, ...] | None:
        """The integers of a constant operand, None where it is left out."""
        return tuple(int(v) for v in self.constant(name).reshape(-1)) if self.has(name) else None

    def table(self, array: Array) -> Tensor:
        """A new constant of the definition's own, stored with the weights."""
        return self._add_table(array, None)

    def index_table(self, array: Array, size: int) -> Callable[..., Expr]:
        """A new constant of indices into an axis of ``size``; what is read of it lies inside, whatever memory says."""
        tensor = self._add_table(array, (0, size - 1))
        return lambda *at: within(tensor(*at), tirx.const(0, tensor.dtype), tirx.const(size - 1, tensor.dtype))

    def _add_table(self, array: Array, bounds: tuple[int, int] | None) -> Tensor:
        tensor = te.placeholder(array.shape, str(array.dtype), name=f"t{len(self.tables)}")
        self.tables.append(ConstantTable(tensor, np.ascontiguousarray(array), bounds))
        return tensor

    def attribute(self, name: str, default: Attribute) -> Attribute:
        """An attribute or its default."""
        self.asked.add(name)
        value = self.attributes.get(name)
        if value is None:
            return default
        return cast(Attribute, tuple(value) if isinstance(value, (list, tuple)) else value)

    def given(self, name: str) -> bool:
        """Whether an attribute is set."""
        self.asked.add(name)
        return self.attributes.get(name) is not None

    def ordered(self, buffers: Sequence[Any]) -> list[Any]:
        """The operands asked for, in their order, out of a body's buffers: those begin with the computed ones."""
        given = [i for i in self.used if i not in self.constants] + [i for i in self.used if i in self.constants]
        return [buffer for _, buffer in sorted(zip(given, buffers, strict=False), key=lambda pair: pair[0])]

    def check_attributes(self) -> None:
        """Raises Refused where the node sets an attribute that the definition never looked at."""
        if ignored := sorted(set(self.attributes) - self.asked):
            raise Refused(f"attribute {ignored[0]} of {self.op} is not implemented")


Result = Tensor | Sequence[Tensor] | Loops
Definition = Callable[[Call], Result]
