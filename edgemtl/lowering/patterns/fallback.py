"""What no pattern takes runs through TVM Relax, node by node, in kernels of the same form as ours."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import onnx
import onnx_ir as ir

from edgemtl.lowering.emit import Emitter
from edgemtl.lowering.graph import array_of, computed_inputs, dtype_of, name_of, shape_of
from edgemtl.lowering.ir import Array, Constant, View
from edgemtl.lowering.match import Group, Refusal
from edgemtl.tvm_bridge.relax_fallback import FallbackPlan, FallbackStep, lower_nodes

# Operators that treat every element alike, so the order of the axes does not matter to them.
ELEMENTWISE = frozenset(
    "Abs Add Cast Ceil Clip Cos Div Elu Equal Erf Exp Floor Gelu Greater HardSigmoid HardSwish LeakyRelu Less Log "
    "Max Mean Min Mish Mul Neg Not PRelu Pow Reciprocal Relu Round Sigmoid Sign Sin Softplus Softsign Sqrt Sub Sum "
    "Tanh Where".split()
)
CHANNELS_LAST = (0, 2, 3, 1)
CHANNELS_FIRST = (0, 3, 1, 2)


def leftover(node: ir.Node, refusal: Refusal | None) -> Group:
    """The group of a node that no pattern takes; ``refusal`` is a pattern's reason if one recognised it."""
    reason = refusal.reason if refusal is not None else f"no kernel of ours runs {node.op_type} in this form"
    hint = refusal.hint if refusal is not None else "it is correct but not tuned"
    return Group("relax", (node,), lambda em: _emit(em, node), reason, hint)


@dataclass(frozen=True)
class _Problem:
    """A node as TVM is to see it: the arrays and views it reads, the shapes it writes."""

    node: ir.Node
    inputs: dict[str, View]
    constants: dict[str, Array]
    outputs: dict[str, View]


def _emit(em: Emitter, node: ir.Node) -> None:
    """Channels-last where an elementwise node's images lie so, else in the order of the graph."""
    turned = _prefers_channels_last(em, node)
    axes = CHANNELS_LAST if turned else tuple(range(4))

    def turn(shape: Sequence[int]) -> tuple[int, ...]:
        return tuple(shape[a] for a in axes) if len(shape) == 4 else tuple(shape)

    views = {_name(v): em.dense(_turned(em.views[v], axes)) for v in computed_inputs(node)}
    constants = {
        _name(v): a.transpose(axes) if a.ndim == 4 else a for v in node.inputs if (a := array_of(v)) is not None
    }
    outputs = {_name(v): em.new(turn(shape_of(v)), dtype_of(v)) for v in node.outputs}
    problem = _Problem(node, views, {k: np.ascontiguousarray(a) for k, a in constants.items()}, outputs)
    _run(em, problem, lower_nodes(_model(problem), em.target))
    for value in node.outputs:
        made = outputs[_name(value)]
        em.views[value] = made.transpose(CHANNELS_FIRST) if turned and len(made.shape) == 4 else made


def _prefers_channels_last(em: Emitter, node: ir.Node) -> bool:
    """Whether all computed operands are images that lie channels-last, and the node does not care."""
    if node.op_type not in ELEMENTWISE or any(len(shape_of(v)) != 4 for v in (*node.inputs, *node.outputs) if v):
        return False
    views = [em.views[v] for v in computed_inputs(node)]
    return all(_turned(view, CHANNELS_LAST).is_dense for view in views) and not all(v.is_dense for v in views)


def _turned(view: View, axes: Sequence[int]) -> View:
    return view.transpose(tuple(axes)) if len(view.shape) == 4 else view


def _name(value: ir.Value | None) -> str:
    assert value is not None
    return value.name or ""


def _model(problem: _Problem) -> onnx.ModelProto:
    """A model of the one node, its shapes as they lie in memory."""
    node = problem.node
    assert node.graph is not None
    reads, writes = ([_describe(*item) for item in views.items()] for views in (problem.inputs, problem.outputs))
    held = [onnx.numpy_helper.from_array(array, name) for name, array in problem.constants.items()]
    graph = onnx.helper.make_graph([ir.to_proto(node)], "node", reads, writes, held)
    opsets = [onnx.helper.make_opsetid(domain, version) for domain, version in node.graph.opset_imports.items()]
    return onnx.helper.make_model(graph, opset_imports=opsets)


def _describe(name: str, view: View) -> onnx.ValueInfoProto:
    return onnx.helper.make_tensor_value_info(
        name, onnx.helper.np_dtype_to_tensor_dtype(np.dtype(view.dtype)), view.shape
    )


def _run(em: Emitter, problem: _Problem, plan: FallbackPlan) -> None:
    """Append the plan's steps; their kernels are their own specs."""
    views = {**problem.inputs, **problem.outputs}
    for step in plan.steps:
        for operand, value in zip(step.kernel.operands, step.values, strict=False):
            if operand.role == "output" and value not in views:
                views[value] = em.new(operand.shape, operand.dtype)
        em.step(
            step.kernel,
            tuple(views[v] for v in _values(step, "input")),
            tuple(views[v] for v in _values(step, "output")),
            tuple(Constant(f"{name_of(problem.node)}.{v}", plan.constants[v]) for v in _values(step, "weight")),
        )


def _values(step: FallbackStep, role: str) -> list[str]:
    """The values of a step's operands of one role, in order."""
    return [v for operand, v in zip(step.kernel.operands, step.values, strict=False) if operand.role == role]
