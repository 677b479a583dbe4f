"""Which integer steps the accelerator runs, in which groups, and why the others stay on the host CPU."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from edgemtl import operators as ops
from edgemtl.codegen.fpga import networks as nets
from edgemtl.codegen.fpga.images import DESCRIPTION as IMAGES
from edgemtl.codegen.fpga.images import image_reason, match_image
from edgemtl.codegen.fpga.matching import Uses, chained, in_place, inner, take
from edgemtl.codegen.fpga.networks import of
from edgemtl.codegen.fpga.ranges import range_reason
from edgemtl.hw.arith import INT16
from edgemtl.hw.law import ROUTER_FRACTION_BITS
from edgemtl.hw.rules import MOST_EXPERTS
from edgemtl.hw.spec import Engine
from edgemtl.lowering.ir import Step
from edgemtl.operators import Operator


@dataclass(frozen=True)
class Left:
    """A step that the accelerator does not run, and why."""

    step: Step
    reason: str


def select(steps: Sequence[Step], engine: Engine) -> list[nets.Group | Left]:
    """The steps in order, as groups for the accelerator and steps left to the host CPU."""
    uses, at = Uses(steps), 0
    selected: list[nets.Group | Left] = []
    while at < len(steps):
        matches = (group for match in MATCHERS.values() if (group := match(steps, at, engine, uses)))
        group = next((group for group in matches if not any(map(_is_foreign, nets.steps_of(group)))), None)
        if group is None:
            selected.append(Left(steps[at], reason(steps, at, engine)))
            at += 1
        else:
            selected.append(group)
            at += len(nets.steps_of(group))
    return selected


def _is_bounded_wide(step: Step) -> bool:
    """Whether a layer's 16-bit results have a lower bound."""
    operator = step.operator
    return isinstance(operator, ops.QLinear | ops.QConv2d | ops.QExperts) and (
        operator.how.dtype == "int16" and operator.how.limits != INT16
    )


Matcher = Callable[[Sequence[Step], int, Engine, Uses], "nets.Group | None"]


def match_patch(steps: Sequence[Step], at: int, engine: Engine, uses: Uses) -> nets.Group | None:
    """Embedding of quantised patches."""
    part = take(steps, at, ops.QPatchEmbed)
    return nets.PatchGroup(of(part[0], ops.QPatchEmbed)) if part else None


def match_norm(steps: Sequence[Step], at: int, engine: Engine, uses: Uses) -> nets.Group | None:
    """LayerNorm."""
    part = take(steps, at, ops.QLayerNorm)
    return nets.NormGroup(of(part[0], ops.QLayerNorm)) if part else None


def match_attention(steps: Sequence[Step], at: int, engine: Engine, uses: Uses) -> nets.Group | None:
    """qkv, attention, and the layer that adds to the residual."""
    part = take(steps, at, ops.QLinear, ops.QAttention, ops.QLinear)
    if not part or not chained(part) or not inner(part, at, uses):
        return None
    qkv, out = of(part[0], ops.QLinear), of(part[2], ops.QLinear)
    attention = of(part[1], ops.QAttention)
    plain = not qkv.operator.table and not qkv.operator.residual and qkv.operator.how.dtype == "int8"
    plain = plain and out.operator.residual
    fits = plain and in_place(out.step, at + 2, uses) and not heads_reason(attention.operator, engine)
    return nets.AttentionGroup(qkv, attention, out) if fits else None


def match_mlp(steps: Sequence[Step], at: int, engine: Engine, uses: Uses) -> nets.Group | None:
    """Two layers, the second of which adds to the residual."""
    part = take(steps, at, ops.QLinear, ops.QLinear)
    if not part or not chained(part) or not inner(part, at, uses):
        return None
    first, second = of(part[0], ops.QLinear), of(part[1], ops.QLinear)
    fits = first.operator.how.dtype == "int8" and not first.operator.residual and second.operator.residual
    return nets.MlpGroup(first, second) if fits and in_place(second.step, at + 1, uses) else None


def match_experts(steps: Sequence[Step], at: int, engine: Engine, uses: Uses) -> nets.Group | None:
    """Gate, router, experts of two layers, combined with the residual."""
    part = take(steps, at, ops.QLinear, ops.QRouter, ops.QExperts, ops.QExperts, ops.QCombine)
    if not part or not inner(part, at, uses):
        return None
    gate, router, combine = of(part[0], ops.QLinear), of(part[1], ops.QRouter), of(part[4], ops.QCombine)
    first, second = of(part[2], ops.QExperts), of(part[3], ops.QExperts)
    chained = gate["y"].buffer == router["logits"].buffer and first["y"].buffer == second["x"].buffer
    right = chained and gate["x"].sees_as(first["x"]) and first.operator.gather and not second.operator.gather
    small = not queue_reason(router.operator, engine)
    fits = right and small and combine.operator.residual and in_place(combine.step, at + 4, uses)
    return nets.ExpertsGroup(gate, router, first, second, combine) if fits else None


MATCHERS: Mapping[type, Matcher] = {
    nets.PatchGroup: match_patch,
    nets.NormGroup: match_norm,
    nets.AttentionGroup: match_attention,
    nets.ExpertsGroup: match_experts,
    nets.MlpGroup: match_mlp,
    nets.ImageGroup: match_image,
}
"""By the group each matches, in the order they are tried."""

GROUPS: Mapping[type, str] = {
    nets.PatchGroup: "the patch embedding of the image",
    nets.NormGroup: "LayerNorm",
    nets.AttentionGroup: "the linear layer of q, k and v, attention, and a linear layer that adds to the residual; "
    "several heads must each fill whole columns of the array",
    nets.ExpertsGroup: "gate, router, two linear layers of every expert, and their sum with the residual; up to "
    f"{MOST_EXPERTS} experts, choices per token and queues that the router has room for",
    nets.MlpGroup: "two linear layers, the second of which adds to the residual",
    nets.ImageGroup: IMAGES,
}
"""What a group consists of, and its limits."""

FLOAT = "it works in float32, which the accelerator does not have"
IN_FLOAT = "it runs in float32, which the accelerator does not have"
WIDE_ACTIVATIONS = "its activations have 12 bits, the accelerator's 8"
NO_INSTRUCTION = "the accelerator has no instruction for it"
NEVER: Mapping[type, str] = {
    ops.Dequantise: FLOAT,
    ops.DequantiseImage: FLOAT,
    ops.Quantise: FLOAT,
    ops.QuantiseImage: FLOAT,
}
"""Why operators are part of no group, where it is not for want of an instruction."""
GROUPED = frozenset[type]().union(*map(nets.grouped, MATCHERS))
"""The operators that are part of a group."""


def _is_foreign(step: Step) -> bool:
    """Whether a step computes with integers that the accelerator lacks."""
    return bool(width_reason(step.operator)) or _is_bounded_wide(step) or bool(range_reason(step))


def width_reason(operator: Operator) -> str:
    """Why the accelerator cannot run an operator on integers of these widths; empty where it can."""
    match operator:
        case ops.QRouter() if operator.fraction_bits != ROUTER_FRACTION_BITS:
            return f"its logits have {operator.fraction_bits} fraction bits, the accelerator's {ROUTER_FRACTION_BITS}"
        case ops.QLinear() | ops.QExperts() if operator.wide or operator.how.wide:
            return WIDE_ACTIVATIONS
        case ops.QPatchEmbed() | ops.QLayerNorm() | ops.QAttention() if operator.wide:
            return WIDE_ACTIVATIONS
    return ""


def queue_reason(operator: ops.QRouter, engine: Engine) -> str:
    """Why the accelerator cannot run a router; empty where it can."""
    if operator.experts > MOST_EXPERTS:
        return f"it chooses among {operator.experts} experts, the router holds {MOST_EXPERTS}"
    if operator.top_k > engine.router_choices:
        return f"a token goes to {operator.top_k} experts, the router takes {engine.router_choices}"
    needed, there = operator.tokens * operator.top_k, engine.routing_entries
    return f"its queues have {needed} entries, the router's memory holds {there}" if needed > there else ""


def heads_reason(operator: ops.QAttention, engine: Engine) -> str:
    """Why the accelerator cannot run an attention; empty where it can."""
    if operator.head_dim % engine.array_columns and operator.heads > 1:
        return (
            f"heads of {operator.head_dim} channels are no whole number of {engine.array_columns}, the array's columns"
        )
    return ""


def reason(steps: Sequence[Step], at: int, engine: Engine) -> str:
    """Why the step at ``at`` is not part of a segment."""
    operator = steps[at].operator
    if type(operator) in NEVER:
        return NEVER[type(operator)]
    if width_reason(operator):
        return width_reason(operator)
    if _is_bounded_wide(steps[at]):
        return "the accelerator has no lower bound for results of 16 bits"
    if range_reason(steps[at]):
        return range_reason(steps[at])
    if isinstance(operator, ops.QConv2d):
        return image_reason(steps, at, engine) or "its surroundings are none that the accelerator runs"
    if isinstance(operator, ops.QAttention) and heads_reason(operator, engine):
        return heads_reason(operator, engine)
    if isinstance(operator, ops.QRouter) and queue_reason(operator, engine):
        return queue_reason(operator, engine)
    if steps[at].result.dtype == "float32":
        return IN_FLOAT
    if type(operator) not in GROUPED:
        return NO_INSTRUCTION
    known = "it knows attention, MLPs and experts with their residuals"
    return f"its surroundings are none that the accelerator runs: {known}"


def runs(selected: Sequence[nets.Group | Left]) -> Iterator[tuple[nets.Group, ...] | Left]:
    """Runs of adjacent groups, one for each segment, between the steps left to the host CPU."""
    groups: list[nets.Group] = []
    for item in selected:
        if isinstance(item, Left):
            if groups:
                yield tuple(groups)
            groups = []
            yield item
        else:
            groups.append(item)
    if groups:
        yield tuple(groups)
