"""An ONNX graph while it is written: equal nodes and equal constants are one, so that tasks share what they share."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType

import numpy as np
import onnx
from onnx import helper, numpy_helper

from edgemtl.operators import Array
from edgemtl.quantize.tensors import Tensor

Attributes = Mapping[str, int | float | str | Sequence[int]]
NONE: Attributes = MappingProxyType({})
Function = tuple[str, str]


@dataclass(frozen=True)
class Value:
    """A value of the graph by its name, and its shape; ``tensor`` is what integers stand for, None of real numbers."""

    name: str
    shape: tuple[int, ...]
    tensor: Tensor | None = None

    @property
    def size(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)


@dataclass
class GraphBuilder:
    """Nodes and initializers in the order they were written; ``origin`` begins the names of new nodes.

    ``taken`` are names that no new node or value may have; ``functions`` are by name and overload.
    """

    taken: set[str]
    origin: str = ""
    nodes: list[onnx.NodeProto] = field(default_factory=list)
    initializers: list[onnx.TensorProto] = field(default_factory=list)
    functions: dict[tuple[str, str], onnx.FunctionProto] = field(default_factory=dict)
    _known: dict[Hashable, tuple[str, ...]] = field(default_factory=dict)
    _makers: dict[str, tuple[str, Value, tuple[int, ...]]] = field(default_factory=dict)

    def node(
        self,
        kind: str,
        inputs: Sequence[str],
        attributes: Attributes = NONE,
        count: int = 1,
        function: Function = ("", ""),
    ) -> tuple[str, ...]:
        """The outputs of a node; one that is there already where it would be the same.

        ``function``: domain and overload of a node that is no standard operator.
        """
        frozen = tuple((k, v if isinstance(v, int | float | str) else tuple(v)) for k, v in sorted(attributes.items()))
        key = (kind, function, tuple(inputs), count, frozen)
        if key not in self._known:
            name = self.unused(f"{self.origin}/{kind}" if self.origin else kind)
            outputs = tuple(f"{name}:{i}" for i in range(count)) if count > 1 else (f"{name}:out",)
            proto = helper.make_node(kind, list(inputs), list(outputs), name, None, *function)
            proto.attribute.extend(helper.make_attribute(k, v) for k, v in attributes.items())
            self.nodes.append(proto)
            self._known[key] = outputs
        return self._known[key]

    def op(
        self,
        kind: str,
        inputs: Sequence[Value],
        shape: tuple[int, ...],
        attributes: Attributes = NONE,
        function: Function = ("", ""),
    ) -> Value:
        """The one output, of this shape, of a node."""
        (output,) = self.node(kind, [value.name for value in inputs], attributes, 1, function)
        return Value(output, shape)

    def constant(self, name: str, array: Array) -> Value:
        """An initializer; one of the same contents where there is one."""
        array = np.ascontiguousarray(array)
        key = (array.dtype.str, array.shape, hashlib.sha256(array.tobytes()).digest())
        if key not in self._known:
            unused = self.unused(name)
            self.initializers.append(numpy_helper.from_array(array, unused))
            self._known[key] = (unused,)
        return Value(self._known[key][0], array.shape)

    def ints(self, values: Sequence[int]) -> Value:
        """A constant of shape parameters."""
        return self.constant("ints", np.array(values, np.int64))

    def unused(self, name: str) -> str:
        """``name``, with a number behind it where it is taken."""
        candidate, number = name, 1
        while candidate in self.taken:
            number += 1
            candidate = f"{name}_{number}"
        self.taken.add(candidate)
        return candidate

    def reshape(self, x: Value, shape: tuple[int, ...]) -> Value:
        """The elements in another shape; reshapes in a row are one."""
        kind, source, _ = self._makers.get(x.name, ("", x, ()))
        if kind == "Reshape":
            x = source
        if x.shape == shape:
            return x
        reshaped = replace(self.op("Reshape", (x, self.ints(shape)), shape), tensor=x.tensor)
        self._makers[reshaped.name] = "Reshape", x, ()
        return reshaped

    def transpose(self, x: Value, perm: tuple[int, ...]) -> Value:
        """The axes in another order; one that undoes the one before is neither."""
        kind, source, before = self._makers.get(x.name, ("", x, ()))
        if perm == tuple(range(len(perm))):
            return x
        if kind == "Transpose" and tuple(before[axis] for axis in perm) == tuple(range(len(perm))):
            return source
        turned = self.op("Transpose", (x,), tuple(x.shape[axis] for axis in perm), {"perm": perm})
        transposed = replace(turned, tensor=x.tensor)
        self._makers[transposed.name] = "Transpose", x, perm
        return transposed

    def quantise(self, x: Value, tensor: Tensor) -> Value:
        """A value as the integers of a tensor; as it is where the tensor is kept in float."""
        if tensor.dtype == "float32":
            return x
        return replace(self.op("QuantizeLinear", (x, *self.scale_of(tensor)), x.shape), tensor=tensor)

    def real(self, x: Value) -> Value:
        """The real numbers that integers stand for."""
        return x if x.tensor is None else self.op("DequantizeLinear", (x, *self.scale_of(x.tensor)), x.shape)

    def scale_of(self, tensor: Tensor) -> tuple[Value, Value]:
        """Scale and zero of a tensor as constants."""
        scale = self.constant("scale", np.array(tensor.scale, np.float32))
        return scale, self.constant("zero", np.array(tensor.zero, tensor.dtype))

    def add(self, x: Value, y: Value) -> Value:
        """A sum that has the shape of ``x``."""
        return self.op("Add", (x, y), x.shape)


def planes(graph: GraphBuilder, rows: Value, height: int, width: int) -> Value:
    """Rows [H * W, C] as an image [1, C, H, W]."""
    image = graph.reshape(rows, (1, height, width, rows.size // (height * width)))
    return graph.transpose(image, (0, 3, 1, 2))


def rows_of(graph: GraphBuilder, image: Value) -> Value:
    """An image [1, C, H, W] as rows [H * W, C]."""
    _, channels, height, width = image.shape
    return graph.reshape(graph.transpose(image, (0, 2, 3, 1)), (height * width, channels))
