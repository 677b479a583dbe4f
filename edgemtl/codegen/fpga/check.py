"""What runs where on a board, node by node: in a segment of the accelerator, or on the host CPU and why."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from edgemtl.codegen.cpu import NodeReport, check
from edgemtl.codegen.fpga.program import BoardProgram, BoardTask, SegmentCall
from edgemtl.lowering.ir import Step
from edgemtl.lowering.words import operator_name
from edgemtl.partition import TaskModel
from edgemtl.processor import HOSTS, resolve

CPU = HOSTS["a53"]


def check_board(tasks: Sequence[TaskModel], program: BoardProgram) -> list[NodeReport]:
    """A report for every node of the tasks that ``program`` compiles; equal reports of tasks are merged.

    ``how``: "segment N" of the accelerator, "cpu-a53" with a ``reason``, both where a node is split between them, or
    "view" where there is nothing to compute. ``where``: where its multiply-accumulates are, if it has any.
    """
    compiled = {task.task: task for task in program.tasks}
    tasks_by_report: dict[NodeReport, list[str]] = {}
    for task in tasks:
        name = task.task.name
        runs_by_node, idle = _runs_by_node(compiled[name]), _idle_on_cpu(compiled[name])
        for report in check([task], resolve(CPU)):
            placed = _placed(report, runs_by_node, report.node in idle)
            tasks_by_report.setdefault(replace(placed, tasks=()), []).append(name)
    return [replace(report, tasks=tuple(names)) for report, names in tasks_by_report.items()]


def _placed(report: NodeReport, runs_by_node: Mapping[str, dict[str, str]], idle: bool) -> NodeReport:
    """The report with the places of a node; ``idle``: on the host CPU it multiplies nothing."""
    at = runs_by_node.get(report.node)
    if at is None:
        reason = report.reason if report.how == "view" else ""
        return replace(report, how="view", reason=reason, hint="", where="")
    places = dict.fromkeys("cpu" if place == CPU else "accelerator" for place in at)
    where = "accelerator" if idle and "accelerator" in places else " + ".join(places)
    return replace(report, how=" + ".join(at), reason="; ".join(filter(None, at.values())), hint="", where=where)


def _runs_by_node(task: BoardTask) -> dict[str, dict[str, str]]:
    """By node: where its parts run, each with the reason it is not on the accelerator."""
    by_node: dict[str, dict[str, str]] = {}
    for step, where, why in _places(task):
        for node in step.origin:
            by_node.setdefault(node, {}).setdefault(where, why)
    return by_node


def _idle_on_cpu(task: BoardTask) -> frozenset[str]:
    """Nodes of which the host CPU only moves or converts values."""
    host = [step for step in task.steps if not isinstance(step.operator, SegmentCall)]
    busy = {node for step in host if step.operator.macs for node in step.origin}
    return frozenset(node for step in host for node in step.origin) - busy


def _places(task: BoardTask) -> Iterator[tuple[Step, str, str]]:
    """Each step of the host's program, where it runs, and why not on the accelerator."""
    left = iter(task.left)
    for step in task.steps:
        if isinstance(step.operator, SegmentCall):
            yield step, f"segment {step.operator.index}", ""
        else:
            yield step, CPU, f"{operator_name(step.operator)}: {next(left).reason}"
