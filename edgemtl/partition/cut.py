"""Cut one task out of a multi-task graph."""

from __future__ import annotations

import onnx_ir as ir
from onnx_ir.passes.common import NameFixPass, RemoveUnusedNodesPass

from edgemtl.frontend import MultiTaskModel, Task


def cut(model: MultiTaskModel, task: Task) -> ir.Model:
    """A copy of the graph with what the task's output needs and no more; tensors are shared, not copied."""
    copy = model.ir.clone()
    copy.graph.outputs[:] = [value for value in copy.graph.outputs if value.name == task.output]
    sweep(copy)
    return copy


def drop_unread_inputs(model: ir.Model) -> None:
    """Drop the graph's inputs that nothing reads. In place."""
    graph = model.graph
    graph.inputs[:] = [value for value in graph.inputs if value.uses() or value.is_graph_output()]


def sweep(model: ir.Model) -> None:
    """Drop nodes and initializers nothing needs, and give every value a name of its own. In place."""
    RemoveUnusedNodesPass()(model)
    NameFixPass()(model)
