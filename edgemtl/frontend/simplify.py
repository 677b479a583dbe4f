"""Bring a graph into the form the rest of the compiler expects, changing no result."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import onnx_ir as ir
from onnx_ir.passes.common import (
    CommonSubexpressionEliminationPass,
    DeduplicateHashedInitializersPass,
    IdentityEliminationPass,
    LiftConstantsToInitializersPass,
    LiftSubgraphInitializersToMainGraphPass,
    NameFixPass,
    RemoveUnusedNodesPass,
    RemoveUnusedOpsetsPass,
    ShapeInferencePass,
    TopologicalSortPass,
)
from onnxscript.optimizer._constant_folding import FoldConstantsPass

from edgemtl.errors import ModelError
from edgemtl.frontend.files import MAX_ELEMENTS
from edgemtl.frontend.limits import MAX_WORK, all_nodes, folding_work, may_propagate
from edgemtl.frontend.model import ORIGIN
from edgemtl.frontend.shapes import set_unpooled_shapes
from edgemtl.graph import array_of, is_op, is_static, make_contiguous, operand, replace_value, result, size_of

MAX_GROWTH = 1 << 24
"""Elements that folded constants may have, all together, more than what they are made of."""
ROUNDS = 4
"""Folding gives shapes, shapes let more be folded; real models settle in two."""


@dataclass(frozen=True)
class Neutral:
    """Operators whose result is an operand where the other is ``unit`` throughout."""

    ops: tuple[str, ...]
    unit: float


# A sum with zeros makes 0 of -0, which is another bit.
NEUTRAL = (Neutral(("Mul", "Div"), 1.0), Neutral(("Add", "Sub"), 0.0))
COMMUTATIVE = ("Mul", "Add")


def simplify(model: ir.Model, *, exactly: bool = False) -> None:
    """Infer shapes, fold constants, merge what is computed twice and drop what computes nothing. In place.

    exactly: fold integers alone. Folded floats may get other bits than a runtime gives, and so may a product whose
    factor becomes a constant: runtimes multiply by constants in another order.
    """
    budget = _FoldingBudget()
    fold = FoldConstantsPass(
        shape_inference=True,
        input_size_limit=MAX_ELEMENTS,
        output_size_limit=MAX_ELEMENTS,
        should_fold=lambda node: (not exactly or _is_exact(node)) and budget.allows(node),
    )
    for _ in range(ROUNDS):
        infer_shapes(model)
        folded = fold(model).modified
        drop_single_splits(model.graph)
        _drop_units(model.graph, NEUTRAL[:1] if exactly else NEUTRAL)
        _sweep(model)
        if not folded:
            break
    # Merging what is computed twice gives a value the name of another where both are outputs.
    NameFixPass()(model)


def infer_shapes(model: ir.Model) -> None:
    """Fill in the types and shapes ONNX can infer. Raises ModelError for a graph that cannot be written down for it."""
    set_unpooled_shapes(model.graph)
    inputs = tuple(model.graph.inputs)
    # Values of integer tensors are followed only where all of them stay small.
    ShapeInferencePass(check_type=True, strict_mode=False, data_prop=False)(model)
    if may_propagate(model.graph):
        ShapeInferencePass(check_type=True, strict_mode=False, data_prop=True)(model)
    if tuple(model.graph.inputs) != inputs:
        # The library makes inputs of initializers meanwhile, and leaves them so where it cannot serialise the graph.
        raise ModelError("the model must have names and values that ONNX can hold, and has others; export it again")


class _FoldingBudget:
    """Folding must not blow a small file up, or take long: results are of known size and little more than given."""

    def __init__(self) -> None:
        self.left = MAX_GROWTH
        self.work = MAX_WORK

    def allows(self, node: ir.Node) -> bool:
        """Whether to fold the node; what it adds is taken off the budget."""
        if not all(is_static(output) for output in node.outputs):
            return False
        size = sum(size_of(output) for output in node.outputs)
        given = sum(v.const_value.size for v in node.inputs if v is not None and v.const_value is not None)
        growth = max(0, size - given)
        work = folding_work(node)
        if growth > self.left or work > self.work:
            return False
        self.left -= growth
        self.work -= work
        return True


def _is_exact(node: ir.Node) -> bool:
    return not any(value.dtype is None or value.dtype.is_floating_point() for value in node.outputs)


def _drop_units(graph: ir.Graph, neutral: Sequence[Neutral]) -> None:
    """A product with ones, or a sum with zeros, that changes no shape is its other operand."""
    for node in list(graph):
        kind = next((kind for kind in neutral if is_op(node, *kind.ops)), None)
        if kind is None or result(node).is_graph_output():
            continue
        target = result(node)
        first, second = node.inputs
        for value, units in ((first, second), (second, first))[: 1 + (node.op_type in COMMUTATIVE)]:
            array = array_of(units)
            is_unit = array is not None and array.size > 0 and bool((array == kind.unit).all())
            if is_unit and value is not None and value.shape == target.shape is not None:
                replace_value(target, value)
                break


def drop_single_splits(graph: ir.Graph) -> None:
    """A split into one part is its input."""
    for node in list(graph):
        source = operand(node, "input") if node.op_type == "Split" and len(node.outputs) == 1 else None
        if source is not None and not result(node).is_graph_output():
            ir.convenience.replace_all_uses_with(result(node), source)
            graph.remove(node, safe=True)


def _sweep(model: ir.Model) -> None:
    make_contiguous(model.graph)
    for step in (
        IdentityEliminationPass(),
        LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0),
        LiftSubgraphInitializersToMainGraphPass(),
        DeduplicateHashedInitializersPass(size_limit=1 << 40),
        CommonSubexpressionEliminationPass(size_limit=1 << 10),
        RemoveUnusedNodesPass(),
    ):
        step(model)


def _drop_unused_weights(graph: ir.Graph) -> None:
    """Only what nodes of the graph and those inside them read counts: a branch not taken may still hold a use."""
    read = {value for node in all_nodes(graph) for value in node.inputs} | set(graph.outputs)
    for name, value in list(graph.initializers.items()):
        if value not in read:
            del graph.initializers[name]


def finish(model: ir.Model, outputs: Sequence[str]) -> None:
    """Tidy after recognition: dead code, names, metadata; the outputs keep the names given. In place."""
    _sweep(model)
    _drop_unused_weights(model.graph)
    for step in (RemoveUnusedOpsetsPass(), NameFixPass(), TopologicalSortPass()):
        step(model)
    _name_outputs(model.graph, outputs)
    for node in model.graph:
        origin = node.metadata_props.get(ORIGIN)
        node.metadata_props.clear()
        if origin:
            node.metadata_props[ORIGIN] = origin
        node.doc_string = None


def _name_outputs(graph: ir.Graph, names: Sequence[str]) -> None:
    """Each output a value of its own with its old name; tasks that give the same are told apart by an Identity.

    An output that is the image itself gets a name of its own.
    """
    taken = {value.name: value for node in graph for value in node.outputs} | dict(graph.initializers)
    images = {value.name for value in graph.inputs}
    for index, (value, name) in enumerate(zip(graph.outputs, names, strict=True)):
        if value in graph.outputs[:index] or value.producer() is None:
            node = ir.node("Identity", [value], name=f"{name}/Identity")
            copy = result(node)
            copy.shape, copy.type = value.shape, value.type
            graph.append(node)
            graph.outputs[index] = value = copy
        other = taken.get(name)
        if other is not None and other is not value and other.name == name:
            other.name = f"{name}.inner"
        value.name = f"{name}.output" if name in images else name
