"""Float steps and what was observed of them to integer steps, all tasks together."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any

from edgemtl import operators as ops
from edgemtl.errors import UnsupportedError, UsageError
from edgemtl.lowering.ir import Step
from edgemtl.lowering.verify import verify
from edgemtl.quantize.align import Tasks, shared_layers
from edgemtl.quantize.layers import write_conv, write_experts, write_linear, write_patch_embed
from edgemtl.quantize.needs import Need, needs_of
from edgemtl.quantize.norms import Norm, plan_norm, readers
from edgemtl.quantize.observe import ALL, Observation
from edgemtl.quantize.tensors import Tensor, wide
from edgemtl.quantize.units import (
    write_attention,
    write_combine,
    write_copy,
    write_layer_norm,
    write_resize,
    write_router,
)
from edgemtl.quantize.writer import Correctable, Writer

WRITERS: Mapping[type, Callable[[Writer, Any], None]] = {
    ops.PatchEmbed: write_patch_embed,
    ops.Linear: write_linear,
    ops.Attention: write_attention,
    ops.Router: write_router,
    ops.Experts: write_experts,
    ops.Combine: write_combine,
    ops.Copy: write_copy,
    ops.Conv2d: write_conv,
    ops.Resize: write_resize,
}


@dataclass(frozen=True)
class IntegerTask:
    """One task in integers.

    sources: for each step, the float step it stands for. tensors: what each buffer's integers stand for. kept: names of
    the layers that stayed in float. sums: for each step with weights, what its sums are requantised to.
    """

    task: str
    steps: tuple[Step, ...]
    sources: tuple[int, ...]
    tensors: Mapping[str, Tensor]
    correctable: tuple[Correctable, ...]
    kept: tuple[str, ...]
    sums: Mapping[int, Tensor] = field(default_factory=dict)


def build_integer(tasks: Tasks, seen: Mapping[str, Observation], keep_float: Sequence[str]) -> dict[str, IntegerTask]:
    """Integer steps of every task; ``seen`` are shared observations (`align.share_ranges`).

    ``keep_float`` are patterns of layer names, with * and ?. Raises UnsupportedError for a step without an integer
    form, UsageError for a pattern that names no layer.
    """
    kept = {task: kept_steps(steps, keep_float) for task, steps in tasks.items()}
    check_patterns(tasks, keep_float)
    needs = {task: needs_of(steps, kept[task]) for task, steps in tasks.items()}
    stream = stream_scale(tasks, seen, needs)
    norms = _plan_norms(tasks, seen, kept)
    made = {}
    for task, steps in tasks.items():
        writer = Writer(steps, seen[task], needs[task], stream)
        for index, step in enumerate(steps):
            writer.index = index
            _write(writer, step, norms[task].get(index), index in kept[task])
        names = tuple(dict.fromkeys(steps[i].origin[0] for i in sorted(kept[task])))
        parts = tuple(writer.steps), tuple(writer.sources), writer.tensors, tuple(writer.correctable)
        verify("quantisation", writer.steps)
        made[task] = IntegerTask(task, *parts, names, writer.sums)
    return made


def _write(writer: Writer, step: Step, norm: Norm | None, kept: bool) -> None:
    if kept:
        writer.keep(step)
    elif norm is not None:
        assert isinstance(step.operator, ops.LayerNorm)
        write_layer_norm(writer, step.operator, norm)
    elif type(step.operator) in WRITERS:
        WRITERS[type(step.operator)](writer, step.operator)
    else:
        raise UnsupportedError(
            writer.name, "it has no integer form", f"keep it in float (--keep-float '{writer.name}')"
        )


def kept_steps(steps: Sequence[Step], patterns: Sequence[str]) -> frozenset[int]:
    """The steps with a name that a pattern matches, and the LayerNorms in front of them: their readers would have to
    hold gamma.
    """
    chosen = {i for i, s in enumerate(steps) if any(fnmatchcase(n, p) for n in s.origin for p in patterns)}
    for index, step in enumerate(steps):
        if isinstance(step.operator, ops.LayerNorm):
            reading = readers(steps, index)
            if any(steps[i] is reader for i in chosen for reader in reading):
                chosen.add(index)
    return frozenset(chosen)


def check_patterns(tasks: Tasks, patterns: Sequence[str]) -> None:
    """Raise UsageError for a pattern that names nothing."""
    names = {name for steps in tasks.values() for step in steps for name in step.origin}
    for pattern in patterns:
        if not any(fnmatchcase(name, pattern) for name in names):
            raise UsageError(
                f"--keep-float must match a layer, {pattern!r} matches none; see `edgemtl check` for names"
            )


def stream_scale(
    tasks: Tasks, seen: Mapping[str, Observation], needs: Mapping[str, Mapping[str, frozenset[Need]]]
) -> float:
    """The scale of the residual stream: one for all layers and tasks, so that sums need no requantisation."""
    always = ops.PatchEmbed, ops.Combine
    reach = 0.0
    for task, steps in tasks.items():
        for index, step in enumerate(steps):
            wanted = needs[task].get(step.result.buffer, frozenset()) if step.outputs else frozenset()
            if "stream" in wanted or isinstance(step.operator, always):
                reach = max(reach, seen[task].ranges[f"{index}{ALL}"].reach)
    return wide(reach, "the residual stream").scale if reach else 1.0


def _plan_norms(
    tasks: Tasks, seen: Mapping[str, Observation], kept: Mapping[str, frozenset[int]]
) -> dict[str, dict[int, Norm]]:
    """The integer form of every LayerNorm; tasks that share one share its halvings, since its readers' weights hold
    them.
    """
    layers = shared_layers(tasks) if len(tasks) > 1 else []
    planned: dict[str, dict[int, Norm]] = {task: {} for task in tasks}
    for task, steps in tasks.items():
        for index, step in enumerate(steps):
            if isinstance(step.operator, ops.LayerNorm) and index not in kept[task]:
                group = layers[index] if index < len(layers) and task in layers[index] else frozenset({task})
                known = [planned[t][index] for t in tasks if t in group and index in planned[t]]
                planned[task][index] = known[0] if known else _plan(tasks, task, index, seen, group)
    return planned


def _plan(tasks: Tasks, task: str, index: int, seen: Mapping[str, Observation], group: frozenset[str]) -> Norm:
    """What a reader of one task alone weighs, a gate, has no say where several tasks share the LayerNorm."""
    steps = tasks[task]
    reading = readers(steps, index)
    shared = [r for r in reading if any(_shares_weight(r, s) for t in group - {task} for s in tasks[t])]
    return plan_norm(steps, index, seen[task].channels[index], shared or reading)


def _shares_weight(one: Step, other: Step) -> bool:
    if type(one.operator) is not type(other.operator) or not one.constants or not other.constants:
        return False
    keys = {c.key for c in one.constants}
    return any(c.key in keys for c in other.constants)
