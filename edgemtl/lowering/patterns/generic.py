"""What no pattern takes runs node by node in a generic kernel: correct, not tuned."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import onnx_ir as ir

from edgemtl.errors import UnsupportedError
from edgemtl.graph import array_of, computed_inputs, dtype_of, is_op, name_of, shape_of
from edgemtl.lowering.emit import Emitter
from edgemtl.lowering.ir import Constant, View
from edgemtl.lowering.match import Group, Refusal
from edgemtl.lowering.patterns.axes import CHANNELS_FIRST, CHANNELS_LAST
from edgemtl.operators import Array, TensorType
from edgemtl.partition.macs import macs
from edgemtl.tvm_bridge.generic import Call, GenericKernel, lower_call

# Operators that treat every element alike, so the order of the axes does not matter to them.
ELEMENTWISE = frozenset(
    "Abs Add Cast Ceil Clip Cos Div Elu Equal Erf Exp Floor Gelu Greater HardSigmoid HardSwish LeakyRelu Less Log "
    "Max Mean Min Mish Mul Neg Not PRelu Pow Reciprocal Relu Round Sigmoid Sign Sin Softplus Softsign Sqrt Sub Sum "
    "Swish Tanh Where".split()
)


def leftover(node: ir.Node, refusal: Refusal | None) -> Group:
    """The group of a node that no pattern takes; ``refusal`` is a pattern's reason if one recognised it."""
    reason = refusal.reason if refusal is not None else f"no kernel of ours runs {node.op_type} in this form"
    hint = refusal.hint if refusal is not None else "it is correct but not tuned"
    return Group("generic", (node,), lambda em: _emit(em, node), reason, hint)


def _emit(em: Emitter, node: ir.Node) -> None:
    """Channels-last where an elementwise node's images lie so, else in the order of the graph."""
    if not is_op(node, node.op_type):
        reason = f"operator {node.op_type} of domain {node.domain} is unknown"
        raise UnsupportedError(name_of(node), reason, "export the model with standard operators")
    turned = _prefers_channels_last(em, node)
    axes = CHANNELS_LAST if turned else tuple(range(4))
    views = [
        None if v is None or v.const_value is not None else em.dense(_turned(em.views[v], axes)) for v in node.inputs
    ]
    call = _call(node, axes, views)
    lowered = lower_call(name_of(node), call)
    outputs = tuple(em.new(kind.shape, kind.dtype) for kind in call.outputs)
    reads = tuple(view for index in lowered.inputs if (view := views[index]) is not None)
    em.append(replace(lowered.operator, work=macs(node)), reads, outputs, _constants(node, lowered))
    for value, view in zip(node.outputs, outputs, strict=True):
        em.views[value] = view.transpose(CHANNELS_FIRST) if turned and len(view.shape) == 4 else view


def _call(node: ir.Node, axes: Sequence[int], views: Sequence[View | None]) -> Call:
    """The node as its definition is to see it: operands as they lie in memory."""
    assert node.graph is not None
    constants = {i: _turned_array(a, axes) for i, v in enumerate(node.inputs) if (a := array_of(v)) is not None}
    inputs = tuple(
        TensorType(constants[i].shape, constants[i].dtype.name)
        if i in constants
        else TensorType(view.shape, view.dtype)
        if view is not None
        else None
        for i, view in enumerate(views)
    )
    outputs = tuple(TensorType(_turned_shape(shape_of(v), axes), dtype_of(v)) for v in node.outputs)
    attributes = {name: attribute.value for name, attribute in node.attributes.items()}
    return Call(node.op_type, node.graph.opset_imports.get("", 1), attributes, inputs, constants, outputs)


def node_call(node: ir.Node) -> Call:
    """The node as its definition sees it, all operands in the order of the graph."""
    assert node.graph is not None
    constants = {i: array for i, v in enumerate(node.inputs) if (array := array_of(v)) is not None}
    inputs = tuple(None if v is None else TensorType(shape_of(v), dtype_of(v)) for v in node.inputs)
    outputs = tuple(TensorType(shape_of(v), dtype_of(v)) for v in node.outputs)
    attributes = {name: attribute.value for name, attribute in node.attributes.items()}
    return Call(node.op_type, node.graph.opset_imports.get("", 1), attributes, inputs, constants, outputs)


def _constants(node: ir.Node, lowered: GenericKernel) -> tuple[Constant, ...]:
    return tuple(Constant(f"{name_of(node)}.{i}", array) for i, array in enumerate(lowered.weights))


def _prefers_channels_last(em: Emitter, node: ir.Node) -> bool:
    """Whether all computed operands are images that lie channels-last, and the node does not care."""
    if node.op_type not in ELEMENTWISE or not all(_is_image_or_constant(v) for v in (*node.inputs, *node.outputs) if v):
        return False
    views = [em.views[v] for v in computed_inputs(node)]
    return all(_turned(view, CHANNELS_LAST).is_dense for view in views) and not all(v.is_dense for v in views)


def _is_image_or_constant(value: ir.Value) -> bool:
    return len(shape_of(value)) == 4 or (value.const_value is not None and len(shape_of(value)) < 4)


def _turned(view: View, axes: Sequence[int]) -> View:
    return view.transpose(tuple(axes)) if len(view.shape) == 4 else view


def _turned_shape(shape: Sequence[int], axes: Sequence[int]) -> tuple[int, ...]:
    return tuple(shape[a] for a in axes) if len(shape) == 4 else tuple(shape)


def _turned_array(array: Array, axes: Sequence[int]) -> Array:
    """A constant that is broadcast to an image has the axes that it lacks in front."""
    if array.size > 1 and array.ndim < 4 and tuple(axes) == CHANNELS_LAST:
        array = array.reshape((1,) * (4 - array.ndim) + array.shape)
    return np.ascontiguousarray(array.transpose(axes)) if array.ndim == 4 else array
