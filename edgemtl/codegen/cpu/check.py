"""What runs where, node by node, without generating code: nothing falls back in silence."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from edgemtl.errors import UnsupportedError
from edgemtl.lowering.emit import Emitter
from edgemtl.lowering.graph import dtype_of, name_of, shape_of
from edgemtl.lowering.ir import IMAGE, Step, dense
from edgemtl.lowering.task import Grouped, group_task
from edgemtl.lowering.words import operator_name
from edgemtl.partition import TaskModel
from edgemtl.tvm_bridge.target import CpuTarget

_Row = tuple[str, str, str, str, str]


@dataclass(frozen=True)
class NodeReport:
    """How one ONNX node runs: ``how`` is a kernel's name, "view" (no work), "generic" or "unsupported".

    ``reason`` and ``hint`` say why it is none of our kernels and what would change that; ``tasks`` use it so.
    """

    node: str
    op: str
    how: str
    reason: str
    hint: str
    tasks: tuple[str, ...]


def check(tasks: Sequence[TaskModel], target: CpuTarget) -> list[NodeReport]:
    """A report for every node of the tasks' graphs in the order they run; those of several tasks are one."""
    found: dict[_Row, list[str]] = {}
    for task in tasks:
        for row in _task_rows(group_task(task.task.name, task.ir), target):
            found.setdefault(row, []).append(task.task.name)
    return [NodeReport(*row, tuple(names)) for row, names in found.items()]


def mark_refusal(
    reports: Sequence[NodeReport], error: UnsupportedError, tasks: Sequence[TaskModel]
) -> list[NodeReport]:
    """The reports with the node of ``error`` as refused, or one more for what is no node."""
    known = {report.node: report for report in reports}
    plain = NodeReport(error.node, "", "", "", "", tuple(task.task.name for task in tasks))
    refused = replace(known.get(error.node, plain), how="unsupported", reason=error.reason, hint=error.hint)
    return [*({**known, error.node: refused}.values())]


def name_integers(reports: Sequence[NodeReport], steps: Mapping[str, Sequence[Step]]) -> list[NodeReport]:
    """The reports with the kinds of the integer steps of each node, by task, as ``how``; "view" where it has none."""
    kinds: dict[str, dict[str, None]] = {}
    for step in (step for of_task in steps.values() for step in of_task):
        for node in step.origin:
            kinds.setdefault(node, {})[operator_name(step.spec)] = None
    return [replace(report, how=" + ".join(kinds.get(report.node, ("view",)))) for report in reports]


def _task_rows(task: Grouped, target: CpuTarget) -> Iterator[_Row]:
    """Lower the task group by group; what a group cannot do is reported, and lowering goes on behind it."""
    em = Emitter(target)
    em.views[task.image] = dense(IMAGE, shape_of(task.image))
    for group in task.groups:
        how, reason, hint = group.how, group.reason, group.hint
        em.nodes = group.nodes
        try:
            group.emit(em)
        except UnsupportedError as error:
            how, reason, hint = "unsupported", error.reason, error.hint
            em.views.update((v, em.new(shape_of(v), dtype_of(v))) for n in group.nodes for v in n.outputs)
        yield from ((name_of(node), node.op_type, how, reason, hint) for node in group.nodes)
