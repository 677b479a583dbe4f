"""What the readers of a value want of it: a byte, 16 bits of the residual stream, a gate's logit, float."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Literal

from edgemtl.lowering.ir import OUTPUT, Step
from edgemtl.tvm_bridge import specs, specs_conv

Need = Literal["byte", "stream", "logits", "qkv", "final", "index", "float"]


_FLOAT: Need = "float"


def operand_needs(spec: object) -> tuple[Need, ...]:
    """What a float step's integer form wants of each of its inputs; float for steps without one."""
    match spec:
        case specs.LinearSpec():
            return ("byte", "stream")
        case specs.LayerNormSpec():
            return ("stream",)
        case specs.AttentionSpec():
            return ("qkv",)
        case specs.RouterSpec():
            return ("logits",)
        case specs.ExpertSpec():
            return ("byte", "index", "index")
        case specs.CombineSpec():
            return ("stream", "index", "index", "stream")
        case specs_conv.Conv2dSpec():
            return ("byte",)
        case specs_conv.ResizeSpec(planar=True):
            return ("final",)
        case specs_conv.ResizeSpec():
            return ("byte",)
        case _:
            return ("float",)


def needs_of(steps: Sequence[Step], kept: frozenset[int]) -> dict[str, frozenset[Need]]:
    """What is wanted of every buffer; ``kept`` are the steps that stay in float.

    A copy wants of its source what is wanted of its target.
    """
    found: defaultdict[str, set[Need]] = defaultdict(set)
    found[OUTPUT].add("final")
    for index in reversed(range(len(steps))):
        step = steps[index]
        if isinstance(step.spec, specs.CopySpec) and index not in kept:
            wanted = found[step.outputs[0].buffer]
            found[step.inputs[0].buffer] |= wanted
            continue
        if isinstance(step.spec, specs.LinearSpec) and step.spec.residual and index not in kept:
            # The sum with the residual is one of 16 bits, whoever reads it.
            found[step.outputs[0].buffer].add("stream")
        for need, view in zip(_all(step, index in kept), step.inputs, strict=False):
            found[view.buffer].add(need)
    return {buffer: frozenset(wanted) for buffer, wanted in found.items()}


def _all(step: Step, kept: bool) -> tuple[Need, ...]:
    return tuple(_FLOAT for _ in step.inputs) if kept else operand_needs(step.spec)
