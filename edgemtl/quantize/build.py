"""From float steps and their observed ranges to integer steps, for all tasks together."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence, Set
from contextlib import suppress
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from functools import partial
from types import MappingProxyType
from typing import Any, Literal

from edgemtl import operators as ops
from edgemtl.errors import UnsupportedError, UsageError
from edgemtl.lowering.ir import Step
from edgemtl.lowering.verify import verify
from edgemtl.options import QuantiseOptions
from edgemtl.quantize.align import Tasks, shared_layers
from edgemtl.quantize.class_maps import find_class_maps, is_absorbed
from edgemtl.quantize.correctable import Correctable
from edgemtl.quantize.cut_frames import find_cut_frames
from edgemtl.quantize.elementwise import (
    write_activate,
    write_add,
    write_concat,
    write_multiply,
    write_pixels,
    write_pool,
    write_resample,
)
from edgemtl.quantize.generic import write_generic
from edgemtl.quantize.layers import write_conv, write_experts, write_linear, write_patch_embed
from edgemtl.quantize.limits import AS_THE_MODEL, NO_FORM
from edgemtl.quantize.literal import is_literal, rounds_once
from edgemtl.quantize.needs import Need, needs_of
from edgemtl.quantize.norms import NormPlan, can_fold, plan_norm, readers
from edgemtl.quantize.observe import ALL, Observation
from edgemtl.quantize.regions import write_plain_norm
from edgemtl.quantize.speed import faster_in_float
from edgemtl.quantize.tensors import FLOAT_TENSOR, Tensor, wide
from edgemtl.quantize.units import (
    write_attention,
    write_combine,
    write_copy,
    write_layer_norm,
    write_resize,
    write_rounding,
    write_router,
)
from edgemtl.quantize.widths import Widths, plan_widths
from edgemtl.quantize.writer import Writer
from edgemtl.tvm_bridge.generic import Generic

Own = Mapping[str, Mapping[str, Tensor]]
"""The tensors that the model gives to buffers, by task."""

WRITERS: Mapping[type, Callable[[Writer, Any], None]] = {
    ops.PatchEmbed: write_patch_embed,
    ops.LayerNorm: write_plain_norm,
    ops.Pixels: write_pixels,
    ops.Linear: write_linear,
    ops.Attention: write_attention,
    ops.Router: write_router,
    ops.Experts: write_experts,
    ops.Combine: write_combine,
    ops.Copy: write_copy,
    ops.Conv2d: write_conv,
    ops.Resize: write_resize,
    ops.Activate: write_activate,
    ops.Add: write_add,
    ops.Multiply: write_multiply,
    ops.Pool: write_pool,
    ops.Concat: write_concat,
    ops.Resample: write_resample,
    Generic: write_generic,
}


@dataclass(frozen=True)
class Island:
    """A step that runs in float32 unasked: the nodes it computes, the cause and the reason in words, and its
    multiply-accumulates.

    With the causes "model", a quantised model that computes it in float32, and "speed" it has an integer form.
    """

    nodes: tuple[str, ...]
    reason: str
    macs: int
    cause: Literal["form", "model", "speed"] = "form"

    @property
    def node(self) -> str:
        """The name under which a user knows the step."""
        return self.nodes[0]


@dataclass(frozen=True)
class IntegerTask:
    """One task in integers.

    sources: for each step, the index of the float step it computes. tensors: the quantised tensor in each buffer.
    float_layers: names of the layers the user keeps in float. sums: for each step with weights, the tensor its sums are
    requantised to. islands: other steps in float: they have no integer form, the model computes them so, or float32 is
    faster. coarsened: names of layers of a quantised model whose weights are not integers of 8 bits there.
    """

    task: str
    steps: tuple[Step, ...]
    sources: tuple[int, ...]
    tensors: Mapping[str, Tensor]
    correctable: tuple[Correctable, ...]
    float_layers: tuple[str, ...]
    sums: Mapping[int, Tensor] = field(default_factory=dict)
    islands: tuple[Island, ...] = ()
    coarsened: tuple[str, ...] = ()

    @property
    def all_integer(self) -> bool:
        """Whether no step computes in float32: golden outputs then need no tolerance."""
        steps = (step for step in self.steps if not isinstance(step.operator, ops.Copy))
        return not any(all(view.dtype == "float32" for view in step.views) for step in steps)


NOTHING: Own = MappingProxyType({})


def build_integer(
    tasks: Tasks,
    seen: Mapping[str, Observation],
    options: QuantiseOptions,
    own: Own = NOTHING,
    fast_on: str | None = None,
) -> dict[str, IntegerTask]:
    """Integer steps of every task; ``seen`` are shared observations (`align.share_ranges`), empty where there are none.

    ``own``: per task the tensors that a quantised model gives to buffers (`own_scales.take_scales`).

    Steps without an integer form become islands: they run in float between conversions. So do steps that are faster in
    float32 on the target ``fast_on``, where one is given. Raises UsageError for a pattern of ``options.keep_float``
    that names no layer, UnsupportedError for steps without an integer form with ``options.require_int8``.
    """
    check_patterns(tasks, options.keep_float)
    chosen = {task: matching_steps(steps, options.keep_float) for task, steps in tasks.items()}
    wide = {task: plan_widths(steps, options.wide) for task, steps in tasks.items()}
    return build_chosen(tasks, seen, chosen, wide, options, own, fast_on)


def build_chosen(
    tasks: Tasks,
    seen: Mapping[str, Observation],
    chosen: Mapping[str, frozenset[int]],
    wide: Mapping[str, Widths],
    options: QuantiseOptions,
    own: Own = NOTHING,
    fast_on: str | None = None,
) -> dict[str, IntegerTask]:
    """Integer steps of every task, with the steps ``chosen`` in float and activations as ``wide`` as said."""
    write = partial(_write_all, tasks, seen, own, wide, options.by_law)
    writing = _write_possible(tasks, write, chosen)
    first = next((e for errors in writing.refused.values() for e in errors.values()), None)
    if options.require_int8 and first is not None:
        raise UnsupportedError(first.node, first.reason, f"{first.hint}, or leave out --require-int8")
    faster = faster_in_float(tasks, writing.in_float, fast_on) if fast_on else {}
    if any(faster.values()):
        lighter = {task: with_bound(chosen[task] | faster[task], steps) for task, steps in tasks.items()}
        faster_writing = _write_possible(tasks, write, lighter)
        # Speed is no reason to leave another step without the integers that it needs.
        if all(faster_writing.refused[task].keys() <= writing.refused[task].keys() for task in tasks):
            writing = faster_writing
        else:
            faster = {}
    return _integer_tasks(tasks, chosen, writing, faster, f"it is faster in float32 on {fast_on}")


@dataclass(frozen=True)
class _Writing:
    """All tasks as written: the steps in float, and those of them that have no integer form."""

    writers: Mapping[str, Writer]
    in_float: Mapping[str, frozenset[int]]
    refused: Mapping[str, Mapping[int, UnsupportedError]]


Refusals = dict[str, dict[int, UnsupportedError]]
Write = Callable[[Mapping[str, frozenset[int]]], tuple[dict[str, Writer], Refusals]]
"""All tasks with some steps in float, and the steps that turn out to have no integer form."""


def _write_possible(tasks: Tasks, write: Write, in_float: Mapping[str, frozenset[int]]) -> _Writing:
    """Every task with the steps ``in_float`` and those without an integer form in float."""
    refused: Refusals = {task: {} for task in tasks}
    writers, refusals = write(in_float)
    # A step that stays in float may leave its readers without the integers they need: then they stay in float as well.
    while any(refusals.values()):
        refused = {task: refused[task] | refusals[task] for task in tasks}
        in_float = {task: with_bound(in_float[task] | set(refused[task]), steps) for task, steps in tasks.items()}
        writers, refusals = write(in_float)
    return _Writing(writers, in_float, refused)


def _integer_tasks(
    tasks: Tasks,
    chosen: Mapping[str, frozenset[int]],
    writing: _Writing,
    faster: Mapping[str, frozenset[int]],
    faster_reason: str,
) -> dict[str, IntegerTask]:
    """What was written, with the reasons of steps in float that were not ``chosen``."""
    integers = {}
    for task, steps in tasks.items():
        writer, refused = writing.writers[task], writing.refused[task]
        verify("quantisation", writer.steps)
        names = tuple(dict.fromkeys(steps[i].origin[0] for i in sorted(chosen[task])))
        parts = tuple(writer.steps), tuple(writer.sources), writer.tensors, tuple(writer.correctable)
        # Of a mixture the first reason stays: what follows may be refused only because of it.
        reasons = {steps[i].origin[0]: refused[i].reason for i in sorted(refused, reverse=True)}
        choices = faster.get(task, frozenset()) - refused.keys()
        islands = tuple(
            Island(steps[i].origin, faster_reason, steps[i].operator.macs, "speed")
            if i in choices
            else _island(steps[i], reasons)
            for i in sorted(writing.in_float[task] - chosen[task])
        )
        integers[task] = IntegerTask(task, *parts, names, writer.sums, islands, tuple(dict.fromkeys(writer.coarsened)))
    return integers


def _island(step: Step, reasons: Mapping[str, str]) -> Island:
    """``reasons`` by node: the steps of a mixture share the reason of the first of them that was refused."""
    reason = reasons.get(step.origin[0], "a layer that reads it runs in float32")
    return Island(step.origin, reason, step.operator.macs, "model" if reason == AS_THE_MODEL else "form")


def _write_all(
    tasks: Tasks,
    seen: Mapping[str, Observation],
    own: Own,
    wide: Mapping[str, Widths],
    by_law: bool,
    in_float: Mapping[str, frozenset[int]],
) -> tuple[dict[str, Writer], Refusals]:
    """Every task with the steps ``in_float`` left in float, and the steps that turn out to have no integer form."""
    needs = {task: needs_of(steps, in_float[task]) for task, steps in tasks.items()}
    stream = stream_scale(tasks, seen, needs)
    norms = _plan_norms(tasks, seen, own, in_float, wide)
    refused: Refusals = {task: {} for task in tasks}
    writers = {}
    for task, steps in tasks.items():
        given = needs[task], stream, wide[task], own.get(task, {}), by_law
        writer = writers[task] = Writer(steps, seen[task], *given, in_float[task])
        class_maps = find_class_maps(steps, writer.fixed)
        turns = {frame.turn for frame in find_cut_frames(writer).values()}
        for index, step in enumerate(steps):
            writer.index, written = index, True
            try:
                if index not in (*refused[task], *turns) and not is_absorbed(writer, class_maps):
                    _write(writer, step, norms[task].get(index), index in in_float[task])
            except UnsupportedError as error:
                # The layer made q, k and v for an attention without an integer form: attention stays in float, not it.
                asked = "qkv" in needs[task].get(step.result.buffer, ())
                refused[task] |= dict.fromkeys(_attentions(steps, index) if asked else [index], error)
                written = False
            if not written or index in refused[task]:
                # This attempt is discarded; the following steps are written only to find what else is refused.
                for view in step.outputs:
                    writer.define(view.buffer, writer.own.get(view.buffer, FLOAT_TENSOR))
    return writers, refused


def _attentions(steps: Sequence[Step], index: int) -> list[int]:
    """The attention steps that read a step's result or a copy of it."""
    reading = readers(steps, index)
    attentions = [i for i, step in enumerate(steps) if isinstance(step.operator, ops.Attention)]
    return [i for i in attentions if any(steps[i] is reader for reader in reading)]


def _write(writer: Writer, step: Step, norm: NormPlan | None, in_float: bool) -> None:
    if isinstance(step.operator, ops.Quantise) and writer.own_result is not None:
        write_rounding(writer, step.operator, in_float)
    elif in_float or isinstance(step.operator, ops.Quantise | ops.Dequantise):
        writer.keep(step)
    elif is_literal(writer) and not rounds_once(writer, step):
        raise UnsupportedError(writer.name, AS_THE_MODEL, "pass --bit-exact for integers")
    elif norm is not None:
        assert isinstance(step.operator, ops.LayerNorm)
        write_layer_norm(writer, step.operator, norm)
    elif type(step.operator) in WRITERS:
        WRITERS[type(step.operator)](writer, step.operator)
    else:
        raise UnsupportedError(writer.name, NO_FORM, f"keep it in float (--keep-float '{writer.name}')")


def matching_steps(steps: Sequence[Step], patterns: Sequence[str]) -> frozenset[int]:
    """The steps with a name that a pattern matches, and the steps that must stay in float together with these."""
    return with_bound(
        {i for i, s in enumerate(steps) if any(fnmatchcase(n, p) for n in s.origin for p in patterns)}, steps
    )


def with_bound(indices: Set[int], steps: Sequence[Step]) -> frozenset[int]:
    """The steps at ``indices``, the other steps of their mixtures, and the LayerNorms in front of them.

    All steps of a mixture pass the routing weights in one type; a LayerNorm folds gamma into the layers that read it.
    """
    chosen = set(indices)
    for index, step in enumerate(steps):
        if isinstance(step.operator, ops.Router):
            mixture = _mixture(steps, index)
            if not chosen.isdisjoint(mixture):
                chosen |= mixture
    for index, step in enumerate(steps):
        if isinstance(step.operator, ops.LayerNorm):
            reading = readers(steps, index)
            if any(steps[i] is reader for i in chosen for reader in reading):
                chosen.add(index)
    return frozenset(chosen)


def _mixture(steps: Sequence[Step], router: int) -> set[int]:
    """A Router and the steps that read its routes: the Experts and their Combine."""
    routes = {view.buffer for view in steps[router].outputs}
    return {router} | {i for i, s in enumerate(steps) if any(view.buffer in routes for view in s.inputs)}


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
) -> float | None:
    """The scale of the residual stream: one for all layers and tasks, so that sums need no requantisation.

    None where nothing that is part of it has been observed.
    """
    always = ops.PatchEmbed, ops.Combine
    reach = 0.0
    for task, steps in tasks.items():
        for index, step in enumerate(steps):
            readers_need = needs[task].get(step.result.buffer, frozenset()) if step.outputs else frozenset()
            observed = seen[task].ranges.get(f"{index}{ALL}")
            if observed is not None and ("stream" in readers_need or isinstance(step.operator, always)):
                reach = max(reach, observed.reach)
    return wide(reach, "the residual stream").scale if reach else None


def _plan_norms(
    tasks: Tasks,
    seen: Mapping[str, Observation],
    own: Own,
    in_float: Mapping[str, frozenset[int]],
    wide: Mapping[str, Widths],
) -> dict[str, dict[int, NormPlan]]:
    """How LayerNorms are folded into the layers that read them, where they can be. Tasks that share a LayerNorm share
    its halvings, since these are folded into the weights.

    One whose result has a scale of the model's own, or that was not observed, runs by itself.
    """
    layers = shared_layers(tasks) if len(tasks) > 1 else []
    planned: dict[str, dict[int, NormPlan]] = {task: {} for task in tasks}
    for task, steps in tasks.items():
        for index, step in enumerate(steps):
            is_norm = isinstance(step.operator, ops.LayerNorm) and index not in in_float[task]
            is_open = index in seen[task].channels and step.result.buffer not in own.get(task, {})
            if is_norm and is_open and can_fold(steps, index):
                group = layers[index] if index < len(layers) and task in layers[index] else frozenset({task})
                known = [planned[t][index] for t in tasks if t in group and index in planned[t]]
                # One whose beta cannot be folded runs by itself, as those do that have other readers.
                with suppress(UnsupportedError):
                    planned[task][index] = known[0] if known else _plan(tasks, task, index, seen, group, wide)
    return planned


def _plan(
    tasks: Tasks,
    task: str,
    index: int,
    seen: Mapping[str, Observation],
    group: frozenset[str],
    wide: Mapping[str, Widths],
) -> NormPlan:
    """Plan a LayerNorm. Where several tasks share it, readers of one task alone, such as its gate, are not weighed."""
    steps = tasks[task]
    reading = readers(steps, index)
    shared = [r for r in reading if any(_shares_weight(r, s) for t in group - {task} for s in tasks[t])]
    return plan_norm(steps, index, seen[task].channels[index], shared or reading, index in wide[task].sources)


def _shares_weight(one: Step, other: Step) -> bool:
    if type(one.operator) is not type(other.operator) or not one.constants or not other.constants:
        return False
    keys = {c.key for c in one.constants}
    return any(c.key in keys for c in other.constants)
