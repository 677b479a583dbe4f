"""What runs where, node by node, without compiling: nothing falls back in silence."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from edgemtl.codegen.cpu.graph import name_of
from edgemtl.codegen.cpu.lowering import groups_of
from edgemtl.codegen.cpu.match import Group
from edgemtl.partition import TaskModel
from edgemtl.tvm_bridge.target import CpuTarget

_Row = tuple[str, str, str, str, str]


@dataclass(frozen=True)
class NodeReport:
    """How one ONNX node runs: ``how`` is a kernel's name, "view" (no work), "relax" or "unsupported".

    ``reason`` and ``hint`` say why it is none of our kernels and what would change that; ``tasks`` use it so.
    """

    node: str
    op: str
    how: str
    reason: str
    hint: str
    tasks: tuple[str, ...]


def check(tasks: Sequence[TaskModel], target: CpuTarget) -> list[NodeReport]:
    """A report for every node of the tasks' graphs, in the order they run; equal ones of several tasks are
    one.
    """
    found: dict[_Row, list[str]] = {}
    for task in tasks:
        for row in (row for group in groups_of(task.ir) for row in _rows(group)):
            found.setdefault(row, []).append(task.task.name)
    return [NodeReport(*row, tuple(names)) for row, names in found.items()]


def _rows(group: Group) -> list[_Row]:
    return [(name_of(node), node.op_type, group.how, group.reason, group.hint) for node in group.nodes]
