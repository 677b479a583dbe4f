"""An ONNX graph while it is written: equal nodes and equal constants are one, so that tasks share what they share."""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field

import numpy as np
import onnx
from onnx import helper, numpy_helper

from edgemtl.lowering.ir import Array

Attribute = int | float | str | Sequence[int]


@dataclass(frozen=True)
class Value:
    """A value of the graph by its name, and its shape."""

    name: str
    shape: tuple[int, ...]

    @property
    def size(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)


@dataclass
class GraphBuilder:
    """Nodes and initializers in the order they were written; ``origin`` begins the names of new nodes.

    ``taken`` are names that no new node or value may have.
    """

    taken: set[str]
    origin: str = ""
    nodes: list[onnx.NodeProto] = field(default_factory=list)
    initializers: list[onnx.TensorProto] = field(default_factory=list)
    _known: dict[Hashable, tuple[str, ...]] = field(default_factory=dict)
    _makers: dict[str, tuple[str, Value, tuple[int, ...]]] = field(default_factory=dict)

    def node(
        self, kind: str, inputs: Sequence[str], count: int = 1, domain: str = "", **attributes: Attribute
    ) -> tuple[str, ...]:
        """The outputs of a node; one that is there already where it would be the same."""
        frozen = tuple((k, v if isinstance(v, int | float | str) else tuple(v)) for k, v in sorted(attributes.items()))
        key = (kind, domain, tuple(inputs), count, frozen)
        if key not in self._known:
            name = self.unused(f"{self.origin}/{kind}" if self.origin else kind)
            outputs = tuple(f"{name}:{i}" for i in range(count)) if count > 1 else (f"{name}:out",)
            self.nodes.append(helper.make_node(kind, list(inputs), list(outputs), name, domain=domain, **attributes))
            self._known[key] = outputs
        return self._known[key]

    def op(
        self, kind: str, inputs: Sequence[Value], shape: tuple[int, ...], domain: str = "", **attributes: Attribute
    ) -> Value:
        """The one output, of this shape, of a node."""
        (made,) = self.node(kind, [value.name for value in inputs], 1, domain, **attributes)
        return Value(made, shape)

    def constant(self, name: str, array: Array) -> Value:
        """An initializer; one of the same contents where there is one."""
        array = np.ascontiguousarray(array)
        key = (array.dtype.str, array.shape, array.tobytes())
        if key not in self._known:
            made = self.unused(name)
            self.initializers.append(numpy_helper.from_array(array, made))
            self._known[key] = (made,)
        return Value(self._known[key][0], array.shape)

    def ints(self, values: Sequence[int]) -> Value:
        """A constant of shape parameters."""
        return self.constant("ints", np.array(values, np.int64))

    def unused(self, name: str) -> str:
        """``name``, with a number behind it where it is taken."""
        made, number = name, 1
        while made in self.taken:
            number += 1
            made = f"{name}_{number}"
        self.taken.add(made)
        return made

    def reshape(self, x: Value, shape: tuple[int, ...]) -> Value:
        """The elements in another shape; reshapes in a row are one."""
        kind, source, _ = self._makers.get(x.name, ("", x, ()))
        if kind == "Reshape":
            x = source
        if x.shape == shape:
            return x
        made = self.op("Reshape", (x, self.ints(shape)), shape)
        self._makers[made.name] = "Reshape", x, ()
        return made

    def transpose(self, x: Value, perm: tuple[int, ...]) -> Value:
        """The axes in another order; one that undoes the one before is neither."""
        kind, source, before = self._makers.get(x.name, ("", x, ()))
        if perm == tuple(range(len(perm))):
            return x
        if kind == "Transpose" and tuple(before[axis] for axis in perm) == tuple(range(len(perm))):
            return source
        made = self.op("Transpose", (x,), tuple(x.shape[axis] for axis in perm), perm=perm)
        self._makers[made.name] = "Transpose", x, perm
        return made

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


