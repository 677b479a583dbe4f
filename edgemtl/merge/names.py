"""Names in a joined graph: tasks give theirs to outputs, and what would collide is called after its task."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

import onnx_ir as ir

from edgemtl.frontend.limits import all_nodes


def name_inputs(names: Iterable[str], tasks: Iterable[str]) -> list[str]:
    """The names of inputs, with a _ behind each that a task has: outputs keep theirs."""
    names, taken = list(names), {*tasks}
    for index, name in enumerate(names):
        while name in taken:
            name += "_"
        names[index] = name
        taken.add(name)
    return names


def name_apart(
    nodes: Mapping[ir.Node, set[int]],
    constants: Mapping[ir.Value, set[int]],
    tasks: Sequence[str],
    reserved: Iterable[str],
) -> None:
    """Give every value and every node a name of its own, in order. In place.

    A name stays where it is free; else the task of the first graph that needs the value, ``tasks`` by graph, stands
    in front of it. reserved: names of the input and the outputs, which belong to others.
    """
    names, node_names = _Names(reserved), _Names(())
    for constant, users in constants.items():
        constant.name = names.free(constant.name, tasks[min(users)])
    for node, users in nodes.items():
        for inner in all_nodes([node]):
            inner.name = node_names.free(inner.name, tasks[min(users)])
            for value in _values(inner):
                value.name = names.free(value.name, tasks[min(users)])


def _values(node: ir.Node) -> Iterator[ir.Value]:
    """What a node defines: its outputs that are used by name, and the inputs of graphs inside it."""
    yield from (value for value in node.outputs if value.name)
    for attribute in node.attributes.values():
        if attribute.type == ir.AttributeType.GRAPH:
            yield from attribute.as_graph().inputs
        elif attribute.type == ir.AttributeType.GRAPHS:
            yield from (value for graph in attribute.as_graphs() for value in graph.inputs)


class _Names:
    def __init__(self, reserved: Iterable[str]) -> None:
        self._taken = {*reserved}

    def free(self, name: str | None, task: str) -> str:
        """The name, or one made of it, that nobody has; it is taken from now on."""
        free = str(name)
        if free in self._taken:
            free = f"{task}/{free}"
        while free in self._taken:
            free += "_"
        self._taken.add(free)
        return free
