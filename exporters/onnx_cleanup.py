"""Make an exported graph say what the model is and nothing of the machine that wrote it."""

from __future__ import annotations

import ast

import numpy as np
import onnx_ir as ir
from onnx_ir.passes.common import (
    CommonSubexpressionEliminationPass,
    DeduplicateHashedInitializersPass,
    RemoveUnusedNodesPass,
)

from edgemtl.frontend.model import ORIGIN
from edgemtl.frontend.simplify import drop_single_splits
from edgemtl.graph import make_contiguous, operand, result

_SCOPES = "pkg.torch.onnx.name_scopes"
_PREFIX = "model."


def clean(model: ir.Model) -> None:
    """Fold transposed weights, merge what is computed twice, name nodes by task, module path and operator.

    Of the exporter's metadata only the torch module path stays (`edgemtl.origin`). In place.
    """
    _keep_origins(model.graph)
    _name_weights(model.graph)
    _fold_transposes(model.graph)
    make_contiguous(model.graph)
    for step in (
        DeduplicateHashedInitializersPass(size_limit=1 << 40),
        CommonSubexpressionEliminationPass(),
        RemoveUnusedNodesPass(),
    ):
        step(model)
    drop_single_splits(model.graph)
    _name_folded(model.graph)
    _name_nodes(model.graph)
    _strip(model)


def _keep_origins(graph: ir.Graph) -> None:
    for node in graph:
        scopes = ast.literal_eval(node.metadata_props.get(_SCOPES, "[]"))
        module = scopes[-2] if len(scopes) > 1 else ""
        node.metadata_props.clear()
        node.metadata_props[ORIGIN] = module.removeprefix("model").removeprefix(".")


def _name_weights(graph: ir.Graph) -> None:
    for value in list(graph.initializers.values()):
        name = value.name or ""
        if name.startswith(_PREFIX):
            value.name = name.removeprefix(_PREFIX)


def _fold_transposes(graph: ir.Graph) -> None:
    """Weights as the graph uses them; torch stores those of a linear layer the other way round."""
    transposed: dict[tuple[str, tuple[int, ...]], ir.Value] = {}
    for node in list(graph):
        source = operand(node, "data") if node.op_type == "Transpose" else None
        if source is None or source.const_value is None or source.name is None:
            continue
        order = tuple(node.attributes["perm"].as_ints())
        key = source.name, order
        if key not in transposed:
            transposed[key] = _transposed(graph, source, order)
        ir.convenience.replace_all_uses_with(result(node), transposed[key])
        graph.remove(node, safe=True)


def _transposed(graph: ir.Graph, source: ir.Value, order: tuple[int, ...]) -> ir.Value:
    assert source.const_value is not None
    array = np.ascontiguousarray(source.const_value.numpy().transpose(order))
    name = _free_name(graph, f"{source.name}.transposed")
    value = ir.Value(name=name, shape=ir.Shape(array.shape), type=source.type, const_value=ir.tensor(array, name=name))
    graph.register_initializer(value)
    return value


def _name_folded(graph: ir.Graph) -> None:
    """Weights the exporter folded, named unlike parameters, get the path of the module that uses them."""
    for value in list(graph.initializers.values()):
        user = next(iter(value.consumers()), None)
        module = user.metadata_props.get(ORIGIN) if user is not None else None
        if module and "." not in str(value.name) and len(value.shape or ()) > 1:
            value.name = _free_name(graph, f"{module}.folded")


def _free_name(graph: ir.Graph, name: str) -> str:
    """The name, numbered where an initializer has it already."""
    count = 0
    while (numbered := f"{name}_{count}" if count else name) in graph.initializers:
        count += 1
    return numbered


def _name_nodes(graph: ir.Graph) -> None:
    tasks = _tasks_of_nodes(graph)
    taken: dict[str, int] = {}
    for node in graph:
        users = tasks.get(node, ())
        path = [
            *(users if len(users) == 1 and len(graph.outputs) > 1 else ()),
            node.metadata_props[ORIGIN],
            node.op_type,
        ]
        name = "/".join(part for part in path if part)
        taken[name] = taken.get(name, 0) + 1
        node.name = name if taken[name] == 1 else f"{name}_{taken[name] - 1}"


def _tasks_of_nodes(graph: ir.Graph) -> dict[ir.Node, tuple[str, ...]]:
    """The outputs each node works for."""
    users: dict[ir.Node, tuple[str, ...]] = {}
    for output in graph.outputs:
        todo, seen = [output.producer()], set[ir.Node]()
        while todo:
            node = todo.pop()
            if node is None or node in seen:
                continue
            seen.add(node)
            users[node] = (*users.get(node, ()), output.name or "")
            todo += [value.producer() for value in node.inputs if value is not None]
    return users


def _strip(model: ir.Model) -> None:
    graph = model.graph
    model.metadata_props.clear()
    graph.metadata_props.clear()
    model.doc_string = graph.doc_string = None
    graph.name = "edgemtl"
    for value in [*graph.inputs, *graph.initializers.values()]:
        value.metadata_props.clear()
    for node in graph:
        node.doc_string = None
        if not node.metadata_props[ORIGIN]:
            del node.metadata_props[ORIGIN]
        for value in node.outputs:
            value.metadata_props.clear()
