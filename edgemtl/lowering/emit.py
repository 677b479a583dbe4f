"""Writing steps: where each value lies, and copies where a kernel needs another layout."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

import onnx_ir as ir

from edgemtl.graph import name_of, shape_of
from edgemtl.lowering.ir import PREPARED, Constant, Constants, Step, View, dense, make_step
from edgemtl.lowering.views import look
from edgemtl.operators import Copy, Operator, QCopy
from edgemtl.processor import CpuTarget
from edgemtl.tvm_bridge.kernel import FixedKernel

Nodes = tuple[ir.Node, ...]
WORD_BYTES = 4


@dataclass
class Emitter:
    """The steps of one task while they are written; ``views`` says where each value of the graph lies.

    ``nodes`` are those of the group being written: every step is charged to them. ``forbidden`` names
    prepared buffers the program has no memory for; None forbids all, for steps that are to be quantised.
    """

    target: CpuTarget
    forbidden: frozenset[str] | None = frozenset()
    steps: list[Step] = field(default_factory=list)
    views: dict[ir.Value, View] = field(default_factory=dict)
    prepared: list[Step] = field(default_factory=list)
    nodes: Nodes = ()
    buffers: int = 0

    def new(self, shape: tuple[int, ...], dtype: str = "float32") -> View:
        """A new arena buffer, dense. Names count up, so equal beginnings of two tasks use equal names."""
        self.buffers += 1
        return dense(f"v{self.buffers - 1}", shape, dtype)

    def step(
        self,
        operator: Operator,
        views: Mapping[str, View],
        constants: Constants = MappingProxyType({}),
    ) -> None:
        """Append a step of operands by name."""
        self.steps.append(make_step(operator, views, constants, self._origin))

    def append(
        self,
        operator: FixedKernel,
        inputs: tuple[View, ...],
        outputs: tuple[View, ...],
        constants: tuple[Constant, ...],
    ) -> None:
        """Append a step of numbered operands."""
        self.steps.append(Step(operator, inputs, outputs, constants, self._origin))

    @property
    def _origin(self) -> tuple[str, ...]:
        return tuple(name_of(node) for node in self.nodes)

    def prepare(self, operator: Operator, constant: Constant) -> View | None:
        """A buffer that ``operator`` makes from one weight when a program is loaded; None where it is forbidden.

        Equal contents are one buffer.
        """
        (output,), (name,) = operator.signature.outputs, operator.signature.constants
        view = prepared_view(operator, constant)
        if self.forbidden is None or view.buffer in self.forbidden:
            return None
        if all(step.outputs != (view,) for step in self.prepared):
            self.prepared.append(make_step(operator, {output: view}, {name: constant}, self._origin))
        return view

    def copy(self, source: View, target: View) -> None:
        """Append a step that copies elements from one view to another of the same shape, in words of 4 bytes, or in
        bytes where an element has fewer.
        """
        if source.itemsize < WORD_BYTES:
            copy = QCopy(source.itemsize, source.shape, source.strides, target.strides)
            return self.step(copy, {"x": source, "y": target})
        words = source.itemsize // WORD_BYTES
        shape = source.shape if words == 1 else (*source.shape, words)
        strides = (_in_words(view.strides, words) for view in (source, target))
        self.step(Copy(shape, *strides), {"x": source, "y": target})

    def dense(self, view: View) -> View:
        """The view itself if it is dense, else a dense copy."""
        if view.is_dense:
            return view
        fresh = self.new(view.shape, view.dtype)
        self.copy(view, fresh)
        return fresh

    def reshaped(self, view: View, shape: tuple[int, ...]) -> View:
        """The view in another shape, copied only where it must be."""
        seen = view.reshape(shape) or self.dense(view).reshape(shape)
        assert seen is not None
        return seen

    def look(self, node: ir.Node, view: View) -> tuple[View, ...]:
        """What the outputs of a view node see, copied only where it must be."""
        seen = look(node, view)
        if None in seen:
            seen = look(node, self.dense(view))
        return tuple(v for v in seen if v is not None)

    def rows(self, value: ir.Value) -> View:
        """A value [.., K] as dense rows [M, K]."""
        view = self.dense(self.views[value])
        return self.reshaped(view, (view.size // view.shape[-1], view.shape[-1]))

    def pixels(self, value: ir.Value) -> View:
        """An image [1, C, H, W] as dense rows [H * W, C]: channels last."""
        _, channels, height, width = self.views[value].shape
        view = self.dense(self.views[value].transpose((0, 2, 3, 1)))
        return self.reshaped(view, (height * width, channels))

    def define_rows(self, value: ir.Value, rows: View) -> None:
        """Say that a value's elements are these dense rows."""
        self.views[value] = self.reshaped(rows, shape_of(value))

    def define_pixels(self, value: ir.Value, pixels: View) -> None:
        """Say that an image [1, C, H, W] lies in these rows [H * W, C]."""
        _, channels, height, width = shape_of(value)
        self.views[value] = self.reshaped(pixels, (1, height, width, channels)).transpose((0, 3, 1, 2))


def prepared_view(operator: Operator, constant: Constant) -> View:
    """The buffer that ``operator`` makes from one weight when a program is loaded; its name says both."""
    digest = hashlib.sha256(repr((operator, [constant.key])).encode()).hexdigest()[:16]
    (kind,) = operator.signature.outputs.values()
    return dense(f"{PREPARED}{constant.name}.{digest}", kind.shape, kind.dtype)


def _in_words(strides: tuple[int, ...], words: int) -> tuple[int, ...]:
    """Strides of elements that are ``words`` words long, counted in words, the words themselves innermost."""
    return strides if words == 1 else (*(stride * words for stride in strides), 1)
