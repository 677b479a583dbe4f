"""Weights in 4 bits: which layers have them, and the integer steps with what they expand to.

They are a second rounding, of the int8 weights of a layer: scales stay as they are, and a bias takes over what the zero
point of the layer's inputs makes of the difference.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase

import numpy as np

from edgemtl import operators as ops
from edgemtl.errors import ConfigError, UsageError
from edgemtl.hw.law_weights4 import CodedWeight
from edgemtl.lowering.ir import CodedConstant, Constant, Step
from edgemtl.operators import Frame
from edgemtl.options import EXPERT_WEIGHTS, LINEAR_WEIGHTS, WeightRules
from edgemtl.progress import counting, tick
from edgemtl.quantize.align import Tasks
from edgemtl.quantize.build import IntegerTask
from edgemtl.quantize.moments import InputMoments, experts_of, observe_moments
from edgemtl.quantize.nearest_plane import code_weight
from edgemtl.quantize.tensors import Tensor
from edgemtl.quantize.weights import check_sums
from edgemtl.units import format_bytes

CODE_BITS = 4
Integers = Mapping[str, IntegerTask]
Coded = Mapping[str, CodedWeight]
"""Weights in 4 bits by the key of the int8 weight they are rounded from."""


@dataclass(frozen=True)
class Coding:
    """Weights in 4 bits, and what a user should know about them."""

    weights: Coded = field(default_factory=dict, repr=False)
    notes: tuple[str, ...] = ()


def check_rules(tasks: Tasks, rules: WeightRules) -> None:
    """Raise UsageError for a rule of --weights that fits no layer."""
    for pattern, _ in rules:
        if not any(_fits(step, pattern, _gates(steps)) for steps in tasks.values() for step in steps):
            raise UsageError(
                f"--weights must name linear layers or experts, {pattern!r} fits none; "
                f"use {EXPERT_WEIGHTS}, {LINEAR_WEIGHTS}, or a name of `edgemtl check`, with * and ?"
            )


def _fits(step: Step, pattern: str, gates: frozenset[str]) -> bool:
    match step.operator, pattern:
        case ops.Experts(), "experts":
            return True
        case ops.Linear(), "linear":
            return step.result.buffer not in gates
        case ops.Linear() | ops.Experts(), _:
            return any(fnmatchcase(name, pattern) for name in step.origin)
    return False


def _gates(steps: Sequence[Step]) -> frozenset[str]:
    """The buffers of logits by which tokens are routed."""
    return frozenset(s["logits"].buffer for s in steps if isinstance(s.operator, ops.Router | ops.Dispatch))


def find_coded(floats: Sequence[Step], integer: IntegerTask, rules: WeightRules) -> frozenset[int]:
    """The integer steps of a task whose weights have 4 bits: the last rule that fits a layer says so."""
    gates = _gates(floats)
    bits = [next((b for pattern, b in reversed(rules) if _fits(step, pattern, gates)), 8) for step in floats]
    return frozenset(
        index
        for index, (step, source) in enumerate(zip(integer.steps, integer.sources, strict=True))
        if isinstance(step.operator, ops.QLinear | ops.QExperts) and bits[source] == CODE_BITS
    )


def code_weights(tasks: Tasks, integers: Integers, rules: WeightRules, images: Sequence[Frame]) -> Coding:
    """The weights that ``rules`` ask for in 4 bits, rounded for what they meet on ``images``.

    Tasks that share a weight share its codes. Raises what `check_rules` raises.
    """
    check_rules(tasks, rules)
    chosen = {task: find_coded(tasks[task], integers[task], rules) for task in tasks}
    moments: dict[str, InputMoments] = {}
    with counting("images run for 4-bit weights", len(tasks) * len(images)):
        for task, steps in tasks.items():
            for key, seen in observe_moments(steps, integers[task], chosen[task], images).items():
                moments[key] = moments[key].added(seen) if key in moments else seen
    constants = {c.key: c for task in tasks for i in sorted(chosen[task]) for c in _weights(integers[task].steps[i])}
    weights = {}
    with counting("weights rounded to 4 bits", len(constants)):
        for key, constant in constants.items():
            weights[key] = code_weight(constant.array, moments[key].damped())
            tick()
    return Coding(weights, tuple(_notes(constants, weights, moments)))


def _weights(step: Step) -> Iterator[Constant]:
    return (step.constant("weight", expert) for expert in experts_of(step))


def _notes(constants: Mapping[str, Constant], weights: Coded, moments: Mapping[str, InputMoments]) -> Iterator[str]:
    """How many weights have 4 bits, their bytes, and those that images say little about."""
    before, after = (
        sum(each) for each in ((c.array.nbytes for c in constants.values()), (w.nbytes for w in weights.values()))
    )
    yield f"{len(weights)} weights in 4 bits, {format_bytes(after)} instead of {format_bytes(before)}"
    rare = {constants[key].name: of.rows for key, of in moments.items() if of.rows < len(of.total)}
    if rare:
        name = min(rare, key=lambda each: rare[each])
        yield (
            f"{len(rare)} of {len(weights)} weights in 4 bits met fewer rows than they have inputs on the calibration "
            f"images, which say little of how their errors add up ({name}: {rare[name]}); add images that reach them"
        )


def with_codes(integer: IntegerTask, chosen: frozenset[int], coded: Coded) -> IntegerTask:
    """The task with the weights of its steps ``chosen`` in 4 bits.

    Raises ConfigError for a weight that ``coded`` does not have, UnsupportedError where a sum could leave its range.
    """
    steps = list(integer.steps)
    for index in chosen:
        for expert in experts_of(steps[index]):
            steps[index] = _coded_step(steps[index], expert, integer.tensors[steps[index]["x"].buffer], coded)
    return IntegerTask(**{**vars(integer), "steps": tuple(steps)})


def _coded_step(step: Step, expert: int | None, x: Tensor, coded: Coded) -> Step:
    weight, bias = step.constant("weight", expert), step.constant("bias", expert)
    if weight.key not in coded or coded[weight.key].codes.shape != (
        -(-len(weight.array) // 2),
        *weight.array.shape[1:],
    ):
        raise ConfigError(
            f"integer parameters must hold the 4-bit weights of {step.origin[0]} as they are rounded here; make the "
            "file again with the options and the model that are compiled"
        )
    stored = coded[weight.key]
    expanded = stored.expand()
    change = expanded.sum(0, dtype=np.int64) - weight.array.sum(0, dtype=np.int64)
    total = bias.array - x.zero * change
    check_sums(step.origin[0], expanded, total, x.wide, f"keep its weights at 8 bits (--weights '{step.origin[0]}=8')")
    name = f"{weight.name.removesuffix('.int8')}.int4"
    step = step.with_constant("weight", CodedConstant(name, expanded, stored), expert)
    return step.with_constant("bias", Constant(bias.name, total.astype(np.int32)), expert)
