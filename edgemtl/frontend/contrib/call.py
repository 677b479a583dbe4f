"""One node of a contributed operator, as the functions that expand it see it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import onnx

from edgemtl.errors import UnsupportedError

CONTRIBUTED_HINT = "save the model before onnxruntime optimises it, or replace the node by standard operators"
Types = Mapping[str, onnx.TypeProto]


@dataclass(frozen=True)
class Call:
    """node: what is expanded.  types: of the graph's values, as far as known.  opset: to expand in."""

    node: onnx.NodeProto
    types: Types
    opset: int

    def has(self, place: int) -> bool:
        """Whether the input at `place` is given."""
        return len(self.node.input) > place and self.node.input[place] != ""

    def makes(self, place: int) -> bool:
        """Whether the output at `place` is asked for."""
        return len(self.node.output) > place and self.node.output[place] != ""

    def get(self, name: str, default: Any) -> Any:
        """An attribute, strings as `str`."""
        values = (onnx.helper.get_attribute_value(a) for a in self.node.attribute if a.name == name)
        value = next(values, default)
        return value.decode() if isinstance(value, bytes) else value

    def rank(self, place: int) -> int:
        """The rank of an input; `UnsupportedError` where it is unknown."""
        kind = self.types.get(self.node.input[place])
        if kind is None or not kind.tensor_type.HasField("shape"):
            raise self.refusal(f"the rank of its input {self.node.input[place]} is unknown")
        return len(kind.tensor_type.shape.dim)

    def refuse_inputs(self, **places: int) -> None:
        """`UnsupportedError` for an input that the expansion does not have."""
        for name, place in places.items():
            if self.has(place):
                raise self.refusal(f"its input {name} is not expanded")

    def refuse_outputs(self, **places: int) -> None:
        """`UnsupportedError` for an output that the expansion does not have."""
        for name, place in places.items():
            if self.makes(place):
                raise self.refusal(f"its output {name} is not expanded")

    def refusal(self, reason: str) -> UnsupportedError:
        """The error that names the node and its operator."""
        node, domain = self.node, f"{self.node.domain}::" if self.node.domain else ""
        what = f"{domain}{node.op_type} has no expansion to standard operators"
        return UnsupportedError(f"node {node.name or node.op_type}", f"{what}: {reason}", CONTRIBUTED_HINT)


@dataclass(frozen=True)
class Formals:
    """Names of an operator's inputs and outputs, in its schema's order."""

    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


def formals(inputs: str, outputs: str) -> Formals:
    """Of names separated by spaces."""
    return Formals(tuple(inputs.split()), tuple(outputs.split()))


def attributes_text(call: Call, *names: str) -> str:
    """The node's attributes of these names as ONNX text, with angle brackets, empty where it has none."""
    given = {a.name: onnx.helper.get_attribute_value(a) for a in call.node.attribute if a.name in names}
    parts = [f"{name} = {_literal(value)}" for name, value in given.items()]
    return f"<{', '.join(parts)}>" if parts else ""


def _literal(value: object) -> str:
    if isinstance(value, bytes):
        return f'"{value.decode()}"'
    if isinstance(value, float):
        return number(value)
    return f"[{', '.join(_literal(v) for v in value)}]" if isinstance(value, (list, tuple)) else str(value)


def number(value: float) -> str:
    """A float32 as ONNX text."""
    return f"{value:.9e}"


def constant(name: str, value: float) -> str:
    """A line that makes a float constant."""
    return f"{name} = Constant <value = float {{{number(value)}}}> ()"


def integers(name: str, *values: int) -> str:
    """A line that makes a vector of int64."""
    return f"{name} = Constant <value = int64[{len(values)}] {{{', '.join(map(str, values))}}}> ()"
