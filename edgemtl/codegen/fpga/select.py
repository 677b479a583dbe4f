"""Which integer steps the accelerator runs, in which groups, and why the others stay on the host CPU."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

from edgemtl import operators as ops
from edgemtl.codegen.fpga import networks as nets
from edgemtl.codegen.fpga.fitting import EVERYTHING_FITS, Fitting, key_of
from edgemtl.codegen.fpga.heads import keys_fit
from edgemtl.codegen.fpga.networks import of
from edgemtl.codegen.fpga.pixels import VECTOR_GROUPS, vector_group, vector_reason
from edgemtl.codegen.fpga.ranges import range_reason
from edgemtl.hw.arith import INT16
from edgemtl.hw.isa import LINE_BYTES
from edgemtl.hw.law import ROUTER_FRACTION_BITS
from edgemtl.hw.rules import MOST_EXPERTS
from edgemtl.hw.spec import Engine
from edgemtl.lowering.ir import Step, View
from edgemtl.operators import Operator

MOST_ROWS = 2047
"""Most rows of an image: the operand has 11 bits."""


@dataclass(frozen=True)
class Left:
    """A step that the accelerator does not run, and why."""

    step: Step
    reason: str


@dataclass(frozen=True)
class Uses:
    """Which steps read which buffer."""

    steps: Sequence[Step]

    @cached_property
    def writers(self) -> Mapping[str, View]:
        """What steps write, by buffer."""
        return {view.buffer: view for step in self.steps for view in step.outputs}

    def reads_rows(self, view: View) -> bool:
        """Whether a step reads whole rows of a buffer that steps write, taken to be as wide as the reader's."""
        written, flat = self.writers.get(view.buffer), view.reshape((view.size,))
        width = view.shape[-1]
        whole = written is not None and not written.size % width and not view.offset % width
        return whole and flat is not None and flat.strides == (1,)

    def readers(self, name: str) -> list[int]:
        """Indices of the steps that read a buffer."""
        return [i for i, step in enumerate(self.steps) if any(view.buffer == name for view in step.inputs)]


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
    fits = key_of(group) not in fitting.unfit and not any(map(_is_foreign, nets.steps_of(group)))
    return fits and all(map(uses.reads_rows, nets.reads_of(group)))


def _is_bounded_wide(step: Step) -> bool:
    """Whether a layer's 16-bit results have a lower bound."""
    operator = step.operator
    return isinstance(operator, ops.QLinear | ops.QConv2d | ops.QExperts) and (
        operator.how.dtype == "int16" and operator.how.limits != INT16
    )


Matcher = Callable[[Sequence[Step], int, Engine, Uses], "nets.Group | None"]


def _take(steps: Sequence[Step], at: int, *kinds: type) -> tuple[Step, ...] | None:
    """The next steps, where they are of these kinds."""
    part = tuple(steps[at : at + len(kinds)])
    fits = len(part) == len(kinds) and all(isinstance(s.operator, kind) for s, kind in zip(part, kinds, strict=True))
    return part if fits else None


def _chained(part: Sequence[Step]) -> bool:
    """Whether the main input of each step is the result of the previous one."""
    return all(a.result.buffer == b.main_input.buffer for a, b in pairwise(part))


def _inner(part: Sequence[Step], at: int, uses: Uses) -> bool:
    """Whether no step outside reads a result that is not the last one's."""
    inside = range(at, at + len(part))
    return all(r in inside for s in part[:-1] for view in s.outputs for r in uses.readers(view.buffer))


def match_patch(steps: Sequence[Step], at: int, engine: Engine, uses: Uses) -> nets.Group | None:
    """Embedding of quantised patches."""
    part = _take(steps, at, ops.QPatchEmbed)
    return nets.PatchGroup(of(part[0], ops.QPatchEmbed)) if part else None


def match_norm(steps: Sequence[Step], at: int, engine: Engine, uses: Uses) -> nets.Group | None:
    """LayerNorm."""
    part = _take(steps, at, ops.QLayerNorm)
    return nets.NormGroup(of(part[0], ops.QLayerNorm)) if part else None


def match_attention(steps: Sequence[Step], at: int, engine: Engine, uses: Uses) -> nets.Group | None:
    """qkv, attention, and the layer behind it where no other step reads what it reads and all heads fit on chip."""
    part = _take(steps, at, ops.QLinear, ops.QAttention)
    if not part or not _chained(part) or not _inner(part, at, uses):
        return None
    qkv, attention = of(part[0], ops.QLinear), of(part[1], ops.QAttention)
    how = qkv.operator.how
    if qkv.operator.table or qkv.operator.residual or how.dtype != "int8" or how.zero:
        return None
    whole = _take(steps, at, ops.QLinear, ops.QAttention, ops.QLinear)
    joined = whole and _chained(whole) and _inner(whole, at, uses) and keys_fit(engine, attention.operator)
    joined = joined and not _begins_block(steps, at + 2, engine, uses)
    out = of(whole[2], ops.QLinear) if whole and joined and not _is_foreign(whole[2]) else None
    return nets.AttentionGroup(qkv, attention, out)


def _begins_block(steps: Sequence[Step], at: int, engine: Engine, uses: Uses) -> bool:
    """Whether the layer at ``at`` is that of q, k and v, or a gate, without which the rest would stay."""
    return any(match(steps, at, engine, uses) for match in (match_attention, match_experts))


def match_mlp(steps: Sequence[Step], at: int, engine: Engine, uses: Uses) -> nets.Group | None:
    """Two layers, of which the second alone reads what the first writes."""
    part = _take(steps, at, ops.QLinear, ops.QLinear)
    if not part or not _chained(part) or not _inner(part, at, uses):
        return None
    first, second = of(part[0], ops.QLinear), of(part[1], ops.QLinear)
    fits = first.operator.how.dtype == "int8" and not first.operator.residual
    fits = fits and first.operator.n == second.operator.k and not _begins_block(steps, at + 1, engine, uses)
    return nets.MlpGroup(first, second) if fits else None


def match_linear(steps: Sequence[Step], at: int, engine: Engine, uses: Uses) -> nets.Group | None:
    """A linear layer."""
    part = _take(steps, at, ops.QLinear)
    return nets.LinearGroup(of(part[0], ops.QLinear)) if part else None


def match_experts(steps: Sequence[Step], at: int, engine: Engine, uses: Uses) -> nets.Group | None:
    """Gate, router, experts of two layers, combined with the residual."""
    part = _take(steps, at, ops.QLinear, ops.QRouter, ops.QExperts, ops.QExperts, ops.QCombine)
    if not part or not _inner(part, at, uses):
        return None
    gate, router, combine = of(part[0], ops.QLinear), of(part[1], ops.QRouter), of(part[4], ops.QCombine)
    first, second = of(part[2], ops.QExperts), of(part[3], ops.QExperts)
    chained = gate["y"].buffer == router["logits"].buffer and first["y"].buffer == second["x"].buffer
    right = chained and gate["x"].sees_as(first["x"]) and first.operator.gather and not second.operator.gather
    small = not queue_reason(router.operator, engine)
    fits = right and small
    return nets.ExpertsGroup(gate, router, first, second, combine) if fits else None


def match_image(steps: Sequence[Step], at: int, engine: Engine, uses: Uses) -> nets.Group | None:
    """An upsampling if there is one, a convolution, and a linear layer over its pixels if there is one."""
    upsample = of(steps[at], ops.QBilinear) if isinstance(steps[at].operator, ops.QBilinear) else None
    start = at + (upsample is not None)
    part = _take(steps, start, ops.QConv2d)
    if not part or image_reason(steps, start, engine):
        return None
    pixels = None
    pair = _take(steps, start, ops.QConv2d, ops.QLinear)
    if pair and _chained(pair) and _inner(pair, start, uses):
        behind = of(pair[1], ops.QLinear)
        pixels = None if behind.operator.residual else behind
    group = nets.ImageGroup(upsample, of(part[0], ops.QConv2d), pixels)
    inside = nets.steps_of(group)
    return group if _chained(inside) and _inner(inside, at, uses) else None


def match_vector(steps: Sequence[Step], at: int, engine: Engine, uses: Uses) -> nets.Group | None:
    """A step of the vector unit alone."""
    return vector_group(steps, at, engine)


MATCHERS: Mapping[type, Matcher] = {
    nets.PatchGroup: match_patch,
    nets.NormGroup: match_norm,
    nets.AttentionGroup: match_attention,
    nets.ExpertsGroup: match_experts,
    nets.MlpGroup: match_mlp,
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
    nets.ImageGroup: "a 3 x 3 convolution of stride 1, padding 1 and dilation 1, optionally after a bilinear "
    f"upsampling by 2 and before a linear layer over its pixels; up to {MOST_ROWS} rows of whole {LINE_BYTES}-byte "
    "lines, no wider than the accumulators",
    nets.LinearGroup: "a linear layer of its own, with a table or a residual",
    **VECTOR_GROUPS,
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


def image_reason(steps: Sequence[Step], at: int, engine: Engine) -> str:
    """Why the accelerator cannot run the convolution at ``at``; empty where it can.

    Rows of pixels are loaded and stored in whole lines, except those of an image that LayerNorm leaves on chip.
    """
    conv = of(steps[at], ops.QConv2d)
    refused = conv_reason(conv.operator, engine)
    rows = [conv.operator.width * _bytes(conv["y"].dtype, conv.operator.cout, engine)]
    source = conv["x"]
    behind = _take(steps, at, ops.QConv2d, ops.QLinear)
    if behind and _chained(behind):
        rows.append(conv.operator.width * _bytes(behind[1].result.dtype, behind[1].result.shape[-1], engine))
    writer = next((step for step in steps[:at] if step.result.buffer == source.buffer), None)
    if writer is not None and isinstance(writer.operator, ops.QBilinear):
        smaller = writer["x"].buffer
        rows.append(writer.operator.width * _bytes("int8", conv.operator.cin, engine))
        writer = next((step for step in steps[:at] if step.result.buffer == smaller), None)
    elif writer is None or not isinstance(writer.operator, ops.QLayerNorm):
        rows.append(conv.operator.width * _bytes("int8", conv.operator.cin, engine))
    broken = [row for row in rows if row % LINE_BYTES]
    return refused or (f"a row of {broken[0]} bytes is no whole number of {LINE_BYTES}-byte lines" if broken else "")


def _bytes(dtype: str, channels: int, engine: Engine) -> int:
    """Bytes of a pixel, on chip and in DRAM."""
    return -(-channels // engine.array_columns) * engine.array_columns * (2 if dtype == "int16" else 1)


def conv_reason(operator: ops.QConv2d, engine: Engine) -> str:
    """Why the accelerator cannot run a convolution; empty where it can."""
    shape = (operator.kernel, operator.stride, operator.pad, operator.dilation)
    if shape != ((3, 3), (1, 1), (1, 1, 1, 1), (1, 1)):
        return f"the accelerator convolves 3 x 3 with stride 1, padding 1 and dilation 1, not {shape}"
    if operator.groups != 1:
        return f"the accelerator convolves in one group, not in {operator.groups}"
    if operator.width > engine.accumulator_rows:
        return f"a row has {operator.width} pixels, the accumulators hold {engine.accumulator_rows}"
    if operator.height > MOST_ROWS:
        return f"an image of {operator.height} rows is more than the counters hold, {MOST_ROWS:,}"
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
