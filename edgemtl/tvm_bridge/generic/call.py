"""What the definition of an operator sees: one call of it, with operands, attributes and the outputs ONNX gives it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar, cast

import numpy as np
from tvm import te, tirx

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

    def has(self, index: int) -> bool:
        """Whether the optional operand is given."""
        return index < len(self.inputs) and self.inputs[index] is not None

    def type_of(self, index: int) -> TensorType:
        """Shape and dtype of an operand."""
        kind = self.inputs[index] if index < len(self.inputs) else None
        if kind is None:
            raise Refused(f"{self.op} must have an operand {index}, and it is left out")
        return kind

    def tensor(self, index: int) -> Tensor:
        """An operand as a tensor to compute with."""
        kind = self.type_of(index)
        if index not in self.used:
            self.used[index] = te.placeholder(kind.shape, kind.dtype, name=f"x{index}")
        return self.used[index]

    def constant(self, index: int, what: str) -> Array:
        """The value of an operand that must be a constant; ``what`` names it in the refusal."""
        if index not in self.constants:
            raise Refused(f"{what} of {self.op} must be a constant, not computed")
        return self.constants[index]

    def integers(self, index: int, what: str) -> tuple[int, ...] | None:
        """The integers of a constant operand, None where it is left out."""
        return tuple(int(v) for v in self.constant(index, what).reshape(-1)) if self.has(index) else None

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
