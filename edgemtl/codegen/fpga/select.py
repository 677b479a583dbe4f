"""Which integer steps the accelerator runs, in which groups, and why the others stay on the host CPU."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from edgemtl import operators as ops
from edgemtl.codegen.fpga import networks as nets
from edgemtl.codegen.fpga.fitting import EVERYTHING_FITS, Fitting, key_of
from edgemtl.codegen.fpga.heads import keys_fit
from edgemtl.codegen.fpga.images import DESCRIPTION as IMAGES
from edgemtl.codegen.fpga.images import WITH_CLASSES, image_reason, match_class_image, match_image
from edgemtl.codegen.fpga.matching import Uses, chained, inner, take
from edgemtl.codegen.fpga.networks import of
from edgemtl.codegen.fpga.pixels import VECTOR_GROUPS, vector_group, vector_reason
from edgemtl.codegen.fpga.ranges import integers_reason
from edgemtl.hw.rules import MOST_EXPERTS
from edgemtl.hw.spec import Engine
from edgemtl.lowering.ir import Step


@dataclass(frozen=True)
class Left:
    """A step that the accelerator does not run, and why."""

    step: Step
    reason: str


def select(steps: Sequence[Step], engine: Engine, fitting: Fitting = EVERYTHING_FITS) -> list[nets.Group | Left]:
    """The steps in order, as groups for the accelerator and steps left to the host CPU."""
    uses, at = Uses(steps), 0
    selected: list[nets.Group | Left] = []
    while at < len(steps):
        matches = (group for match in MATCHERS.values() if (group := match(steps, at, engine, uses)))
        group = next((group for group in matches if _runs_there(group, uses, fitting)), None)
        if group is None:
            why = fitting.reasons.get(steps[at].result.buffer) or reason(steps, at, engine)
            selected.append(Left(steps[at], why))
            at += 1
        else:
            selected.append(group)
            at += len(nets.steps_of(group))
    return selected


def _runs_there(group: nets.Group, uses: Uses, fitting: Fitting) -> bool:
    fits = key_of(group) not in fitting.unfit and not any(map(integers_reason, nets.steps_of(group)))
    return fits and all(map(uses.reads_rows, nets.reads_of(group)))


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
    """qkv, attention, and the layer behind it where no other step reads what it reads and all heads fit on chip."""
    part = take(steps, at, ops.QLinear, ops.QAttention)
    if not part or not chained(part) or not inner(part, at, uses):
        return None
    qkv, attention = of(part[0], ops.QLinear), of(part[1], ops.QAttention)
    how = qkv.operator.how
    if qkv.operator.table or qkv.operator.residual or how.dtype != "int8" or how.zero:
        return None
    whole = take(steps, at, ops.QLinear, ops.QAttention, ops.QLinear)
    joined = whole and chained(whole) and inner(whole, at, uses) and keys_fit(engine, attention.operator)
    joined = joined and not _begins_block(steps, at + 2, engine, uses)
    out = of(whole[2], ops.QLinear) if whole and joined and not integers_reason(whole[2]) else None
    return nets.AttentionGroup(qkv, attention, out)


def _begins_block(steps: Sequence[Step], at: int, engine: Engine, uses: Uses) -> bool:
    """Whether the layer at ``at`` is that of q, k and v, or a gate, without which the rest would stay."""
    return any(match(steps, at, engine, uses) for match in (match_attention, match_experts))


def match_mlp(steps: Sequence[Step], at: int, engine: Engine, uses: Uses) -> nets.Group | None:
    """Two layers, of which the second alone reads what the first writes."""
    part = take(steps, at, ops.QLinear, ops.QLinear)
    if not part or not chained(part) or not inner(part, at, uses):
        return None
    first, second = of(part[0], ops.QLinear), of(part[1], ops.QLinear)
    fits = first.operator.how.dtype == "int8" and not first.operator.residual
    fits = fits and first.operator.n == second.operator.k and not _begins_block(steps, at + 1, engine, uses)
    return nets.MlpGroup(first, second) if fits else None


def match_linear(steps: Sequence[Step], at: int, engine: Engine, uses: Uses) -> nets.Group | None:
    """A linear layer."""
    part = take(steps, at, ops.QLinear)
    return nets.LinearGroup(of(part[0], ops.QLinear)) if part else None


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
    fits = right and small
    return nets.ExpertsGroup(gate, router, first, second, combine) if fits else None


def match_vector(steps: Sequence[Step], at: int, engine: Engine, uses: Uses) -> nets.Group | None:
    """A step of the vector unit alone."""
    return vector_group(steps, at, engine)


MATCHERS: Mapping[type, Matcher] = {
    nets.PatchGroup: match_patch,
    nets.NormGroup: match_norm,
    nets.AttentionGroup: match_attention,
    nets.ExpertsGroup: match_experts,
    nets.MlpGroup: match_mlp,
    nets.ClassImageGroup: match_class_image,
    nets.ImageGroup: match_image,
    nets.LinearGroup: match_linear,
    **dict.fromkeys(VECTOR_GROUPS, match_vector),
}
"""By the group each matches, in the order they are tried."""

GROUPS: Mapping[type, str] = {
    nets.PatchGroup: "the patch embedding of the image",
    nets.NormGroup: "LayerNorm",
    nets.AttentionGroup: "the linear layer of q, k and v, attention, and the linear layer behind it, with or without a "
    "residual; several heads are padded to whole columns of the array",
    nets.ExpertsGroup: "gate, router, two linear layers of every expert, and their sum, with the residual or without; "
    f"up to {MOST_EXPERTS} experts, choices per token and queues that the router has room for",
    nets.MlpGroup: "two linear layers, the first read by the second alone, with or without a residual",
    nets.ImageGroup: IMAGES,
    nets.ClassImageGroup: WITH_CLASSES,
    nets.LinearGroup: "a linear layer of its own, with a table or a residual",
    **VECTOR_GROUPS,
}
"""What a group consists of, and its limits."""

FLOAT = "it works in float32, which the accelerator does not have"
IN_FLOAT = "it runs in float32, which the accelerator does not have"
NO_INSTRUCTION = "the accelerator has no instruction for it"
COMPUTED = (
    "both its matrices are computed, and the accelerator multiplies by weights; except in attention of all tokens "
    "over all tokens without mask or bias, whose q, k and v come from one layer"
)
OTHER_NORM = (
    "the accelerator's only normalisation is LayerNorm in 8 bits, whose gain and offset the layers that read it take "
    "along; this one is another, or gives an output or a layer that cannot"
)
NEVER: Mapping[type, str] = {
    ops.QNormalise: OTHER_NORM,
    ops.QProduct: COMPUTED,
    ops.Dequantise: FLOAT,
    ops.DequantiseImage: FLOAT,
    ops.Quantise: FLOAT,
    ops.QuantiseImage: FLOAT,
    ops.Widen: "its results have 64 bits, the accelerator's 8 or 16",
}
"""Why operators are part of no group, where it is not for want of an instruction."""
GROUPED = frozenset[type]().union(*map(nets.grouped, MATCHERS))
"""The operators that are part of a group."""


def queue_reason(operator: ops.QRouter, engine: Engine) -> str:
    """Why the accelerator cannot run a router; empty where it can."""
    if operator.experts > MOST_EXPERTS:
        return f"it chooses among {operator.experts} experts, the router holds {MOST_EXPERTS}"
    if operator.top_k > engine.router_choices:
        return f"a token goes to {operator.top_k} experts, the router takes {engine.router_choices}"
    needed, there = operator.tokens * operator.top_k, engine.routing_entries
    return f"its queues have {needed} entries, the router's memory holds {there}" if needed > there else ""


def reason(steps: Sequence[Step], at: int, engine: Engine) -> str:
    """Why the step at ``at`` is not part of a segment."""
    operator = steps[at].operator
    if type(operator) in NEVER:
        return NEVER[type(operator)]
    if why := integers_reason(steps[at]):
        return why
    if isinstance(operator, ops.QConv2d):
        return image_reason(steps, at, engine) or "its surroundings are none that the accelerator runs"
    if isinstance(operator, ops.QRouter) and queue_reason(operator, engine):
        return queue_reason(operator, engine)
    if steps[at].result.dtype == "float32":
        return IN_FLOAT
    if type(operator) not in GROUPED:
        return NO_INSTRUCTION
    if why := vector_reason(steps, at, engine):
        return why
    known = "it knows attention behind the layer of q, k and v, and experts between a gate and their sum"
    return f"its surroundings are none that the accelerator runs: {known}"
