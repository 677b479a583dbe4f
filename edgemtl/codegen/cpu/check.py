"""What runs where, node by node, without generating code: nothing falls back in silence."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from edgemtl.errors import UnsupportedError
from edgemtl.graph import dtype_of, name_of, shape_of
from edgemtl.lowering.emit import Emitter
from edgemtl.lowering.task import Grouped, group_task, input_views
from edgemtl.lowering.words import operator_name
from edgemtl.partition import TaskModel
from edgemtl.partition.macs import macs
from edgemtl.processor import CpuTarget
from edgemtl.quantize import IntegerTask


@dataclass(frozen=True)
class NodeReport:
    """How one ONNX node runs: ``how`` is a kernel's name, "view" (no work), "generic" or "unsupported".

    ``reason`` and ``hint`` say why it is none of our kernels and what would change that; ``tasks`` use it so.
    ``where``: "float32" or "int8", on a board "accelerator" or "cpu" or both; "" for no work. ``macs``:
    multiply-accumulates.
    """

    node: str
    op: str
    how: str
    reason: str
    hint: str
    tasks: tuple[str, ...]
    where: str
    macs: int


def check(tasks: Sequence[TaskModel], target: CpuTarget) -> list[NodeReport]:
    """A report for every node of the tasks' graphs in the order they run; those of several tasks are one."""
    tasks_by_report: dict[NodeReport, list[str]] = {}
    for task in tasks:
        for report in _task_reports(group_task(task.task.name, task.ir), target):
            tasks_by_report.setdefault(report, []).append(task.task.name)
    return [replace(report, tasks=tuple(names)) for report, names in tasks_by_report.items()]


def mark_refusal(
    reports: Sequence[NodeReport], error: UnsupportedError, tasks: Sequence[TaskModel]
) -> list[NodeReport]:
    """The reports with the node of ``error`` as refused, or one more for what is no node."""
    known = {report.node: report for report in reports}
    plain = NodeReport(error.node, "", "", "", "", tuple(task.task.name for task in tasks), "", 0)
    refused = refuse(known.get(error.node, plain), error.reason, error.hint)
    return [*({**known, error.node: refused}.values())]


def refuse(report: NodeReport, reason: str, hint: str) -> NodeReport:
    """The report of a node that does not run."""
    return replace(report, how="unsupported", reason=reason, hint=hint, where="")


def name_integers(reports: Sequence[NodeReport], tasks: Mapping[str, IntegerTask]) -> list[NodeReport]:
    """The reports with the kinds of the integer steps of each node, by task, as ``how``; "view" where it has none."""
    kinds: dict[str, dict[str, None]] = {}
    for step in (step for task in tasks.values() for step in task.steps):
        for node in step.origin:
            kinds.setdefault(node, {})[operator_name(step.operator)] = None
    floats = {name for task in tasks.values() for name in task.float_layers}
    floats |= {name for task in tasks.values() for island in task.islands for name in island.nodes}
    return [_named(report, kinds.get(report.node, {}), report.node in floats) for report in reports]


def _named(report: NodeReport, kinds: Mapping[str, None], is_float: bool) -> NodeReport:
    if not kinds:
        return replace(report, how="view", where="")
    return replace(report, how=" + ".join(kinds), where="float32" if is_float else "int8")


def _task_reports(task: Grouped, target: CpuTarget) -> Iterator[NodeReport]:
    """Lower the task group by group; what a group cannot do is reported, and lowering goes on behind it."""
    em = Emitter(target)
    em.views.update(input_views(task))
    for group in task.groups:
        how, reason, hint = group.how, group.reason, group.hint
        em.nodes = group.nodes
        try:
            group.emit(em)
        except UnsupportedError as error:
            how, reason, hint = "unsupported", error.reason, error.hint
            em.views.update((v, em.new(shape_of(v), dtype_of(v))) for n in group.nodes for v in n.outputs)
        where = "" if how in ("view", "unsupported") else "float32"
        for node in group.nodes:
            yield NodeReport(name_of(node), node.op_type, how, reason, hint, (), where, macs(node))
