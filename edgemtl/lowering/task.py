"""One task's graph to its steps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import onnx_ir as ir

from edgemtl.errors import UnsupportedError
from edgemtl.graph import dtype_of, name_of, shape_of
from edgemtl.lowering.emit import Emitter
from edgemtl.lowering.ir import INPUT, OUTPUT, Lowered, Step, View, dense, space_of
from edgemtl.lowering.match import Group, cover
from edgemtl.lowering.patterns import PATTERNS, leftover
from edgemtl.lowering.verify import verify
from edgemtl.processor import CpuTarget
from edgemtl.vocabulary import OUTPUT_DTYPES


def groups_of(model: ir.Model) -> list[Group]:
    """Every node of a task's graph in one group, in data-flow order."""
    return cover(list(model.graph), tuple(PATTERNS), leftover)


@dataclass(frozen=True)
class Grouped:
    """One task's graph with its nodes in groups: what lowering starts from, however often it is done."""

    task: str
    inputs: tuple[ir.Value, ...]
    output: ir.Value
    groups: tuple[Group, ...]


def group_task(name: str, model: ir.Model) -> Grouped:
    """The groups of a task's graph (one output)."""
    (output,) = model.graph.outputs
    return Grouped(name, tuple(model.graph.inputs), output, tuple(groups_of(model)))


def lower_task(task: Grouped, target: CpuTarget, forbidden: frozenset[str] | None = frozenset()) -> Lowered:
    """The steps of a task.

    ``forbidden`` names prepared buffers there is no memory for; None forbids all. An input is read from the buffer
    "input/NAME", the result is written to the buffer "output"; all other buffers are the arena's. Raises
    UnsupportedError for a node nothing runs and for an output of a type that no task has.
    """
    if dtype_of(task.output) not in OUTPUT_DTYPES:
        reason = f"a task's output must be {', '.join(OUTPUT_DTYPES)}, not {dtype_of(task.output)}"
        raise UnsupportedError(task.output.name or task.task, reason, "end the model before that, or cast it")
    em = Emitter(target, forbidden)
    em.views.update(input_views(task))
    for group in task.groups:
        em.nodes = group.nodes
        group.emit(em)
    steps = _deliver(em, em.views[task.output])
    verify("lowering", steps)
    verify("lowering", em.prepared)
    return Lowered(task.task, steps, tuple(em.prepared), _values(em, steps))


def input_views(task: Grouped) -> dict[ir.Value, View]:
    """Where the inputs lie that the task reads."""
    return {value: dense(f"{INPUT}{value.name}", shape_of(value), dtype_of(value)) for value in task.inputs}


def _values(em: Emitter, steps: tuple[Step, ...]) -> dict[str, View]:
    """Where each node's first output lies; a result that was not copied lies in the output buffer itself."""
    written = {view.buffer for view in _views(steps)}
    nodes = ((value.producer(), view) for value, view in em.views.items() if value.index() == 0)
    return {
        name_of(node): view if view.buffer in written else replace(view, buffer=OUTPUT)
        for node, view in nodes
        if node is not None
    }


def _deliver(em: Emitter, result: View) -> tuple[Step, ...]:
    """The steps with the result in the output buffer: written there at once if its layout allows, else
    copied.
    """
    whole = result.is_dense and result.offset == 0 and space_of(result.buffer) == "arena"
    if not whole or any(v.extent_bytes > result.nbytes for v in _views(em.steps) if v.buffer == result.buffer):
        em.copy(result, dense(OUTPUT, result.shape, result.dtype))
        return tuple(em.steps)

    def rename(view: View) -> View:
        return replace(view, buffer=OUTPUT) if view.buffer == result.buffer else view

    return tuple(
        replace(step, inputs=tuple(map(rename, step.inputs)), outputs=tuple(map(rename, step.outputs)))
        for step in em.steps
    )


def _views(steps: Sequence[Step]) -> list[View]:
    return [view for step in steps for view in (*step.inputs, *step.outputs)]
