"""Layers whose weights are stored in 4 bits, as their kernels read them: codes and multipliers for int8 weights."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from edgemtl.lowering.ir import CodedConstant, Constant, Lowered, Step, make_step
from edgemtl.operators import QExperts, QLinear


def with_codes(task: Lowered) -> Lowered:
    """The task with its coded weights in 4 bits: the same results, other constants."""
    return replace(task, steps=tuple(map(_with_codes, task.steps)))


def _with_codes(step: Step) -> Step:
    operator = step.operator
    if not isinstance(operator, QLinear | QExperts):
        return step
    experts = range(operator.slots) if isinstance(operator, QExperts) else [None]
    weights = [step.constant("weight", expert) for expert in experts]
    coded = [weight for weight in weights if isinstance(weight, CodedConstant)]
    if not weights or len(coded) < len(weights):
        return step
    signature = operator.signature
    others = {name: [step.constant(name, e) for e in experts] for name in signature.repeated if name != "weight"}
    others |= {name: step.constant(name) for name in signature.constants if name != "weight"}  # type: ignore[misc]
    views = {name: step[name] for name in (*signature.inputs, *signature.outputs)}
    stored: dict[str, Sequence[Constant]] = {
        "codes": [Constant(weight.name, weight.coded.codes) for weight in coded],
        "multipliers": [Constant(f"{weight.name}.multipliers", weight.coded.multipliers) for weight in coded],
    }
    new = replace(operator, coded=True)
    if isinstance(operator, QExperts):
        return make_step(new, views, {**others, **stored}, step.origin)
    return make_step(new, views, {**others, **{name: one for name, (one,) in stored.items()}}, step.origin)
