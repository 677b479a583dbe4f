"""Which integer steps the overlay runs, in which groups, and why the others stay on the CPU beside it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from edgemtl.codegen.fpga import networks as nets
from edgemtl.codegen.fpga.networks import of
from edgemtl.hw.isa import LINE_BYTES
from edgemtl.hw.spec import Engine
from edgemtl.lowering.ir import Step
from edgemtl.tvm_bridge import specs_int8 as q

MOST_EXPERTS = 256
MOST_CHOICES = 8
MOST_ROWS = 2047
"""Rows of an image that 11 bits count."""


@dataclass(frozen=True)
class Left:
    """A step that the overlay does not run, and why."""

    step: Step
    reason: str


@dataclass(frozen=True)
class Uses:
    """Which steps read which buffer."""

    steps: Sequence[Step]

    def readers(self, name: str) -> list[int]:
        """Indices of the steps that read a buffer."""
        return [i for i, step in enumerate(self.steps) if any(view.buffer == name for view in step.inputs)]


def select(steps: Sequence[Step], engine: Engine) -> list[nets.Group | Left]:
    """The steps in order, as groups and as what is left."""
    uses, at = Uses(steps), 0
    made: list[nets.Group | Left] = []
    while at < len(steps):
        found = next((group for match in MATCHERS if (group := match(steps, at, engine, uses))), None)
        if found is None:
            made.append(Left(steps[at], reason(steps, at, engine)))
            at += 1
        else:
            made.append(found)
            at += len(nets.steps_of(found))
    return made


Matcher = Callable[[Sequence[Step], int, Engine, Uses], "nets.Group | None"]


def _take(steps: Sequence[Step], at: int, *kinds: type) -> tuple[Step, ...] | None:
    """The next steps, where they are of these kinds."""
    part = tuple(steps[at : at + len(kinds)])
    fits = len(part) == len(kinds) and all(isinstance(s.spec, kind) for s, kind in zip(part, kinds, strict=True))
    return part if fits else None


def _chained(part: Sequence[Step]) -> bool:
    """Whether each step reads first what the one before wrote."""
    return all(a.outputs[0].buffer == b.inputs[0].buffer for a, b in pairwise(part))


def _inner(part: Sequence[Step], at: int, uses: Uses) -> bool:
    """Whether nobody outside reads what lies between the steps."""
    inside = range(at, at + len(part))
    return all(r in inside for s in part[:-1] for view in s.outputs for r in uses.readers(view.buffer))


def _in_place(step: Step, at: int, uses: Uses) -> bool:
    """Whether the residual a step adds is read by nobody after it, and lies as the step's rows do."""
    residual = step.inputs[-1]
    return residual.is_dense and max(uses.readers(residual.buffer)) <= at


def match_patch(steps: Sequence[Step], at: int, engine: Engine, uses: Uses) -> nets.Group | None:
    """Patches that come as bytes."""
    part = _take(steps, at, q.QPatchEmbedSpec)
    return nets.Patch(of(part[0], q.QPatchEmbedSpec)) if part else None


def match_norm(steps: Sequence[Step], at: int, engine: Engine, uses: Uses) -> nets.Group | None:
    """LayerNorm."""
    part = _take(steps, at, q.QLayerNormSpec)
    return nets.Norm(of(part[0], q.QLayerNormSpec)) if part else None


def match_attention(steps: Sequence[Step], at: int, engine: Engine, uses: Uses) -> nets.Group | None:
    """qkv, attention, and the layer that adds to the residual."""
    part = _take(steps, at, q.QLinearSpec, q.QAttentionSpec, q.QLinearSpec)
    if not part or not _chained(part) or not _inner(part, at, uses):
        return None
    qkv, out = of(part[0], q.QLinearSpec), of(part[2], q.QLinearSpec)
    attention = of(part[1], q.QAttentionSpec)
    plain = not qkv.spec.table and not qkv.spec.residual and qkv.spec.how.dtype == "int8" and out.spec.residual
    fits = plain and _in_place(out.step, at + 2, uses) and not heads_reason(attention.spec, engine)
    return nets.Attention(qkv, attention, out) if fits else None


def match_mlp(steps: Sequence[Step], at: int, engine: Engine, uses: Uses) -> nets.Group | None:
    """Two layers, the second of which adds to the residual."""
    part = _take(steps, at, q.QLinearSpec, q.QLinearSpec)
    if not part or not _chained(part) or not _inner(part, at, uses):
        return None
    first, second = of(part[0], q.QLinearSpec), of(part[1], q.QLinearSpec)
    fits = first.spec.how.dtype == "int8" and not first.spec.residual and second.spec.residual
    return nets.Mlp(first, second) if fits and _in_place(second.step, at + 1, uses) else None


def match_experts(steps: Sequence[Step], at: int, engine: Engine, uses: Uses) -> nets.Group | None:
    """Gate, router, experts of two layers, combined with the residual."""
    part = _take(steps, at, q.QLinearSpec, q.QRouterSpec, q.QExpertSpec, q.QExpertSpec, q.QCombineSpec)
    if not part or not _inner(part, at, uses):
        return None
    gate, router, combine = of(part[0], q.QLinearSpec), of(part[1], q.QRouterSpec), of(part[4], q.QCombineSpec)
    first, second = of(part[2], q.QExpertSpec), of(part[3], q.QExpertSpec)
    chained = gate.output.buffer == router.inputs[0].buffer and first.output.buffer == second.inputs[0].buffer
    right = chained and gate.inputs[0].sees_as(first.inputs[0]) and first.spec.gather and not second.spec.gather
    small = router.spec.experts <= MOST_EXPERTS and router.spec.top_k <= MOST_CHOICES
    small = small and not queue_reason(router.spec, engine)
    fits = right and small and combine.spec.residual and _in_place(combine.step, at + 4, uses)
    return nets.Experts(gate, router, first, second, combine) if fits else None


def match_picture(steps: Sequence[Step], at: int, engine: Engine, uses: Uses) -> nets.Group | None:
    """Perhaps an enlargement, a convolution, perhaps a layer of its pixels."""
    enlarge = of(steps[at], q.QBilinearSpec) if isinstance(steps[at].spec, q.QBilinearSpec) else None
    start = at + (enlarge is not None)
    part = _take(steps, start, q.QConv2dSpec)
    if not part or picture_reason(steps, start, engine):
        return None
    pixels = None
    pair = _take(steps, start, q.QConv2dSpec, q.QLinearSpec)
    if pair and _chained(pair) and _inner(pair, start, uses):
        behind = of(pair[1], q.QLinearSpec)
        pixels = None if behind.spec.residual else behind
    group = nets.Picture(enlarge, of(part[0], q.QConv2dSpec), pixels)
    inside = nets.steps_of(group)
    return group if _chained(inside) and _inner(inside, at, uses) else None


MATCHERS: tuple[Matcher, ...] = (
    match_patch,
    match_norm,
    match_attention,
    match_experts,
    match_mlp,
    match_picture,
)


def queue_reason(spec: q.QRouterSpec, engine: Engine) -> str:
    """Why the overlay cannot run a router; empty where it can."""
    needed, there = spec.tokens * spec.top_k, engine.routing_entries
    return f"its queues have {needed} entries, the router's memory holds {there}" if needed > there else ""


def heads_reason(spec: q.QAttentionSpec, engine: Engine) -> str:
    """Why the overlay cannot run an attention; empty where it can."""
    if spec.head_dim % engine.array_columns and spec.heads > 1:
        return f"heads of {spec.head_dim} channels are no whole number of {engine.array_columns}, the array's columns"
    return ""


def picture_reason(steps: Sequence[Step], at: int, engine: Engine) -> str:
    """Why the overlay cannot run the convolution at ``at``; empty where it can.

    Rows of pixels go through memory in whole lines, but for an image that LayerNorm leaves on chip.
    """
    conv = of(steps[at], q.QConv2dSpec)
    refused = conv_reason(conv.spec, engine)
    rows = [conv.spec.width * _bytes(conv.output.dtype, conv.spec.cout, engine)]
    source = conv.inputs[0]
    behind = _take(steps, at, q.QConv2dSpec, q.QLinearSpec)
    if behind and _chained(behind):
        rows.append(conv.spec.width * _bytes(behind[1].outputs[0].dtype, behind[1].outputs[0].shape[-1], engine))
    writer = next((step for step in steps[:at] if step.outputs[0].buffer == source.buffer), None)
    if writer is not None and isinstance(writer.spec, q.QBilinearSpec):
        enlarged = writer.inputs[0].buffer
        rows.append(writer.spec.width * _bytes("int8", conv.spec.cin, engine))
        writer = next((step for step in steps[:at] if step.outputs[0].buffer == enlarged), None)
    elif writer is None or not isinstance(writer.spec, q.QLayerNormSpec):
        rows.append(conv.spec.width * _bytes("int8", conv.spec.cin, engine))
    broken = [row for row in rows if row % LINE_BYTES]
    return refused or (f"a row of {broken[0]} bytes is no whole number of {LINE_BYTES}-byte lines" if broken else "")


def _bytes(dtype: str, channels: int, engine: Engine) -> int:
    """Bytes of a pixel on chip and in memory."""
    return -(-channels // engine.array_columns) * engine.array_columns * (2 if dtype == "int16" else 1)


def conv_reason(spec: q.QConv2dSpec, engine: Engine) -> str:
    """Why the overlay cannot run a convolution; empty where it can."""
    shape = (spec.kernel, spec.stride, spec.pad, spec.dilation)
    if shape != ((3, 3), (1, 1), (1, 1, 1, 1), (1, 1)):
        return f"the accelerator convolves 3 x 3 with stride 1, padding 1 and dilation 1, not {shape}"
    if spec.width > engine.accumulator_rows:
        return f"a row has {spec.width} pixels, the accumulators hold {engine.accumulator_rows}"
    if spec.height > MOST_ROWS:
        return f"an image of {spec.height} rows is more than the counters hold, {MOST_ROWS:,}"
    return ""


def reason(steps: Sequence[Step], at: int, engine: Engine) -> str:
    """Why the step at ``at`` is not part of a segment."""
    spec = steps[at].spec
    if isinstance(spec, q.QuantiseImageSpec | q.QuantiseSpec | q.DequantiseImageSpec | q.DequantiseSpec):
        return "it works in float32, which the accelerator does not have"
    if isinstance(spec, q.QConv2dSpec):
        return picture_reason(steps, at, engine) or "its surroundings are none that the accelerator runs"
    if isinstance(spec, q.QAttentionSpec) and heads_reason(spec, engine):
        return heads_reason(spec, engine)
    if isinstance(spec, q.QRouterSpec) and queue_reason(spec, engine):
        return queue_reason(spec, engine)
    if type(spec).__module__ != q.__name__:
        return "it is kept in float32, which the accelerator does not have"
    known = "it knows attention, MLPs and experts with their residuals"
    return f"its surroundings are none that the accelerator runs: {known}"


def runs(selected: Sequence[nets.Group | Left]) -> Iterator[tuple[nets.Group, ...] | Left]:
    """Neighbouring groups together: each run is one segment."""
    held: list[nets.Group] = []
    for item in selected:
        if isinstance(item, Left):
            if held:
                yield tuple(held)
            held = []
            yield item
        else:
            held.append(item)
    if held:
        yield tuple(held)
