"""Which integer steps the overlay runs, in which groups, and why the others stay on the CPU beside it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from edgemtl.codegen.fpga import networks as nets
from edgemtl.hw.spec import Engine
from edgemtl.lowering.ir import Step
from edgemtl.tvm_bridge import specs_int8 as q

MOST_K = 8191
MOST_EXPERTS = 256


@dataclass(frozen=True)
class Left:
    """A step that the overlay does not run, and why."""

    step: Step
    reason: str


@dataclass(frozen=True)
class Uses:
    """Which steps read a buffer last, and how many do."""

    steps: Sequence[Step]

    def readers(self, name: str) -> list[int]:
        """Indices of the steps that read a buffer."""
        return [i for i, step in enumerate(self.steps) if any(view.buffer == name for view in step.inputs)]


def select(steps: Sequence[Step], engine: Engine) -> list[nets.Group | Left]:
    """The steps in order, as groups and as what is left."""
    uses, made, at = Uses(steps), [], 0
    while at < len(steps):
        found = next((group for match in MATCHERS if (group := match(steps, at, engine, uses))), None)
        if found is None:
            made.append(Left(steps[at], reason(steps[at], engine)))
            at += 1
        else:
            made.append(found)
            at += len(nets.steps_of(found))
    return made


Matcher = Callable[[Sequence[Step], int, Engine, Uses], "nets.Group | None"]


def _specs(steps: Sequence[Step], at: int, *kinds: type) -> tuple[Step, ...] | None:
    """The next steps where they are of these kinds and each one reads what the one before wrote."""
    part = tuple(steps[at : at + len(kinds)])
    if len(part) < len(kinds) or not all(isinstance(s.spec, kind) for s, kind in zip(part, kinds, strict=True)):
        return None
    chained = all(a.outputs[0].buffer in {v.buffer for v in b.inputs} for a, b in zip(part, part[1:], strict=False))
    return part if chained else None


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
    part = _specs(steps, at, q.QPatchEmbedSpec)
    return nets.Patch(*part) if part and part[0].spec.k <= MOST_K else None


def match_norm(steps: Sequence[Step], at: int, engine: Engine, uses: Uses) -> nets.Group | None:
    """Rows as wide as LayerNorm takes."""
    part = _specs(steps, at, q.QLayerNormSpec)
    return nets.Norm(*part) if part else None


def match_attention(steps: Sequence[Step], at: int, engine: Engine, uses: Uses) -> nets.Group | None:
    """qkv, attention, and the layer that adds to the residual."""
    part = _specs(steps, at, q.QLinearSpec, q.QAttentionSpec, q.QLinearSpec)
    if not part or not _inner(part, at, uses):
        return None
    qkv, attention, out = part
    plain = not qkv.spec.table and not qkv.spec.residual and qkv.spec.how.dtype == "int8" and out.spec.residual
    return nets.Attention(*part) if plain and _in_place(out, at + 2, uses) else None


def match_mlp(steps: Sequence[Step], at: int, engine: Engine, uses: Uses) -> nets.Group | None:
    """Two layers, the second of which adds to the residual."""
    part = _specs(steps, at, q.QLinearSpec, q.QLinearSpec)
    if not part or not _inner(part, at, uses):
        return None
    first, second = part
    fits = first.spec.how.dtype == "int8" and not first.spec.residual and second.spec.residual
    return nets.Mlp(*part) if fits and _in_place(second, at + 1, uses) else None


def match_experts(steps: Sequence[Step], at: int, engine: Engine, uses: Uses) -> nets.Group | None:
    """Gate, router, experts of two layers, combined with the residual."""
    kinds = (q.QLinearSpec, q.QRouterSpec, q.QExpertSpec, q.QExpertSpec, q.QCombineSpec)
    part = tuple(steps[at : at + len(kinds)])
    if len(part) < len(kinds) or not all(isinstance(s.spec, kind) for s, kind in zip(part, kinds, strict=True)):
        return None
    gate, router, first, second, combine = part
    right = gate.inputs[0].sees_as(first.inputs[0]) and first.spec.gather and not second.spec.gather
    fits = right and combine.spec.residual and router.spec.experts <= MOST_EXPERTS and _inner(part, at, uses)
    return nets.Experts(*part) if fits and _in_place(combine, at + 4, uses) else None


def match_picture(steps: Sequence[Step], at: int, engine: Engine, uses: Uses) -> nets.Group | None:
    """Perhaps an enlargement, a convolution, perhaps a layer of its pixels."""
    enlarge = steps[at] if isinstance(steps[at].spec, q.QBilinearSpec) else None
    start = at + (enlarge is not None)
    if start >= len(steps) or not _conv_fits(steps[start], engine):
        return None
    conv, pixels = steps[start], None
    behind = steps[start + 1] if start + 1 < len(steps) else None
    if behind is not None and isinstance(behind.spec, q.QLinearSpec) and behind.inputs[0].buffer == conv.outputs[0].buffer:
        pixels = behind if not behind.spec.residual and _inner((conv, behind), start, uses) else None
    group = nets.Picture(enlarge, conv, pixels)
    return group if _inner(nets.steps_of(group), at, uses) else None


def _conv_fits(step: Step, engine: Engine) -> bool:
    return isinstance(step.spec, q.QConv2dSpec) and not conv_reason(step.spec, engine)


MATCHERS: tuple[Matcher, ...] = (
    match_patch,
    match_norm,
    match_attention,
    match_experts,
    match_mlp,
    match_picture,
)


def conv_reason(spec: q.QConv2dSpec, engine: Engine) -> str:
    """Why the overlay cannot run a convolution; empty where it can."""
    shape = (spec.kernel, spec.stride, spec.pad, spec.dilation)
    if shape != ((3, 3), (1, 1), (1, 1, 1, 1), (1, 1)):
        return f"the overlay convolves 3 x 3 with stride 1, padding 1 and dilation 1, not {shape}"
    if spec.width > engine.accumulator_rows:
        return f"a row has {spec.width} pixels, the accumulators hold {engine.accumulator_rows}"
    if spec.width * spec.height > 2**21 or spec.height > 2047:
        return f"an image of {spec.height} rows is more than the counters hold, 2,047"
    return ""


def reason(step: Step, engine: Engine) -> str:
    """Why a step is not part of a segment."""
    spec = step.spec
    if isinstance(spec, q.QuantiseImageSpec | q.QuantiseSpec | q.DequantiseImageSpec | q.DequantiseSpec):
        return "it works in float32, which the overlay does not have"
    if isinstance(spec, q.QConv2dSpec):
        return conv_reason(spec, engine) or "its surroundings are none that the overlay runs"
    if type(spec).__module__ != q.__name__:
        return "it is kept in float32, which the overlay does not have"
    return "its surroundings are none that the overlay runs: it knows attention, MLPs and experts with their residuals"


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
