"""A model that is told its task by an input becomes one that answers all tasks, an output each."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import onnx

from edgemtl.frontend.passes import Notes
from edgemtl.frontend.task_count import MAX_TASKS, count_tasks, graphs_of

INTEGERS = (onnx.TensorProto.INT64, onnx.TensorProto.INT32)


def specialise_tasks(proto: onnx.ModelProto) -> tuple[onnx.ModelProto, Notes]:
    """The model with everything that depends on its task input written out once for each task.

    The task input is the only scalar integer beside other inputs. As many tasks are written out as everything it
    selects from has, or as follow from the numbers it is compared with; where neither is found, or too many, it stays
    an input like any other, and a note says so.
    """
    graph = proto.graph
    chosen = _task_input(graph)
    if chosen is None:
        return proto, ()
    count = count_tasks(proto, chosen.name)
    if not 2 <= count <= MAX_TASKS:
        why = f"it does not select from 2 to {MAX_TASKS} tasks, so it stays an input of every run"
        return proto, (f"input {chosen.name}: {why}",)
    dependent = _dependents(graph.node, {chosen.name})
    name, shape = chosen.name, [d.dim_value for d in chosen.type.tensor_type.shape.dim]
    integer = onnx.helper.tensor_dtype_to_np_dtype(chosen.type.tensor_type.elem_type)
    graph.input.remove(chosen)
    for task in range(count):
        value = np.full(shape, task, integer)
        graph.initializer.append(onnx.numpy_helper.from_array(value, _named(name, task)))
    nodes = [copy for node in graph.node for copy in _copies(node, dependent, count)]
    outputs = [copy for output in graph.output for copy in _output_copies(output, dependent, count)]
    del graph.node[:], graph.output[:], graph.value_info[:]
    graph.node.extend(nodes)
    graph.output.extend(outputs)
    note = f"input {name}: specialised for tasks 0 to {count - 1}, an output each; nothing else is compiled"
    return proto, (note,)


def _task_input(graph: onnx.GraphProto) -> onnx.ValueInfoProto | None:
    """The only scalar integer input beside others."""
    constants = {tensor.name for tensor in graph.initializer}
    inputs = [value for value in graph.input if value.name not in constants]
    scalars = [value for value in inputs if _is_scalar_integer(value.type.tensor_type)]
    return scalars[0] if len(scalars) == 1 and len(inputs) > 1 else None


def _is_scalar_integer(kind: onnx.TypeProto.Tensor) -> bool:
    sizes = [dim.dim_value for dim in kind.shape.dim]
    return kind.elem_type in INTEGERS and kind.HasField("shape") and sizes in ([], [1])


def _dependents(nodes: Iterable[onnx.NodeProto], names: set[str]) -> set[str]:
    """All values that depend on `names`, those included."""
    dependent = set(names)
    for node in nodes:
        if not dependent.isdisjoint(_reads(node)):
            dependent.update(node.output)
    return dependent


def _reads(node: onnx.NodeProto) -> set[str]:
    """What a node reads, its subgraphs included."""
    names = set(node.input)
    for attribute in node.attribute:
        for graph in graphs_of(attribute):
            for inner in graph.node:
                names |= _reads(inner)
            names.update(output.name for output in graph.output)
    return names


def _copies(node: onnx.NodeProto, dependent: set[str], count: int) -> list[onnx.NodeProto]:
    if dependent.isdisjoint(_reads(node)):
        return [node]
    return [_renamed(node, dependent, task) for task in range(count)]


def _renamed(node: onnx.NodeProto, dependent: set[str], task: int) -> onnx.NodeProto:
    """The node for one task; what its subgraphs define gets new names as well."""
    copy = onnx.NodeProto()
    copy.CopyFrom(node)
    own = set(dependent)
    for graph in [graph for attribute in copy.attribute for graph in graphs_of(attribute)]:
        own |= _defined(graph)
    if copy.name:
        copy.name = _named(copy.name, task)
    _rename(copy, own, task)
    return copy


def _defined(graph: onnx.GraphProto) -> set[str]:
    names = {tensor.name for tensor in graph.initializer} | {value.name for value in graph.input}
    for node in graph.node:
        names.update(node.output)
        for inner in [inner for attribute in node.attribute for inner in graphs_of(attribute)]:
            names |= _defined(inner)
    return names


def _rename(node: onnx.NodeProto, names: set[str], task: int) -> None:
    for field in (node.input, node.output):
        field[:] = [_named(name, task) if name in names else name for name in field]
    for graph in [graph for attribute in node.attribute for graph in graphs_of(attribute)]:
        for item in [*graph.initializer, *graph.input, *graph.output]:
            item.name = _named(item.name, task) if item.name in names else item.name
        del graph.value_info[:]
        for inner in graph.node:
            _rename(inner, names, task)


def _output_copies(output: onnx.ValueInfoProto, dependent: set[str], count: int) -> list[onnx.ValueInfoProto]:
    """An output for each task where it depends on the task; its shape may differ and is inferred again."""
    if output.name not in dependent:
        return [output]
    kind = output.type.tensor_type.elem_type
    return [onnx.helper.make_tensor_value_info(_named(output.name, task), kind, None) for task in range(count)]


def _named(name: str, task: int) -> str:
    return f"{name}_task{task}" if name else name
