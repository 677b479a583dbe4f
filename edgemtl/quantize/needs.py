"""The form in which the readers of a value need it: a byte, 16 bits of the residual stream, a gate's logit, float."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence, Set
from typing import Literal

from edgemtl import operators as ops
from edgemtl.lowering.ir import OUTPUT, Step
from edgemtl.operators import Operator
from edgemtl.quantize.nodes import generic_form, has_constant
from edgemtl.quantize.norm_nodes import norm_of
from edgemtl.tvm_bridge.generic import Generic

Need = Literal["byte", "wide", "stream", "logits", "qkv", "final", "index", "float"]


def operand_needs(operator: Operator, result: Set[Need] = frozenset()) -> Mapping[str, Need]:
    """What the integer form of a float operator needs of each input; float for operators without one.

    ``result``: what the readers of its result need. "wide" is 16 bits on a scale of their own, for scores.
    """
    same: Need = "wide" if "wide" in result else "byte"
    curved: Need = "wide" if "final" in result else "byte"
    resized: Need = "wide" if {"wide", "final"} & result else "byte"
    match operator:
        case ops.PatchEmbed():
            return {"image": "byte"}
        case ops.Linear():
            return {"x": "byte", "residual": "stream"}
        case ops.LayerNorm():
            return {"x": "stream"}
        case ops.Attention():
            return {"qkv": "qkv"}
        case ops.Router():
            return {"logits": "logits"}
        case ops.Experts():
            return {"x": "byte", "tokens": "index", "offsets": "index"}
        case ops.Combine():
            return {"x": "stream", "weights": "index", "slots": "index", "residual": "stream"}
        case ops.Conv2d():
            return {"x": "byte"}
        case ops.Add():
            return {"a": same, "b": same}
        case ops.Multiply():
            return {"a": "byte", "b": "byte"}
        case ops.Activate():
            return {"x": curved}
        case ops.Pool():
            return {"x": "byte"}
        case ops.Resample():
            return {"x": resized}
        case Generic() if generic_form(operator):
            return dict.fromkeys(operator.signature.inputs, _generic_need(operator, same, curved))
        case ops.Resize():
            return {"x": "final" if operator.planar else resized}
        case _:
            return {}


def gives_what_it_reads(operator: Operator) -> bool:
    """Whether an operator puts the values that it reads to other places, besides constants."""
    return isinstance(operator, ops.Concat) or (isinstance(operator, Generic) and generic_form(operator) == "move")


MOST_WIDE_NORM = 2**11
"""Width of rows whose moments keep below 2^53 in 16 bits."""


def _generic_need(operator: Generic, same: Need, curved: Need) -> Need:
    match generic_form(operator):
        case "softmax":
            return "wide"
        case "choice":
            return "final"
        case "norm":
            return "wide" if norm_of(operator).region.width <= MOST_WIDE_NORM else "byte"
        case "add" | "scale":
            return same
        case "table" if has_constant(operator, "scale") or has_constant(operator, "add"):
            return "wide" if "wide" in (same, curved) else "byte"
        case "table":
            return curved
        case _:
            return "byte"


def needs_of(steps: Sequence[Step], in_float: frozenset[int]) -> dict[str, frozenset[Need]]:
    """What the readers of every buffer need; ``in_float``: indices of the steps that stay in float.

    Copies, concatenations and moves need of their inputs what the readers of their result need.
    """
    by_buffer: defaultdict[str, set[Need]] = defaultdict(set)
    by_buffer[OUTPUT].add("final")
    for index in reversed(range(len(steps))):
        step = steps[index]
        if isinstance(step.operator, ops.Copy) and index not in in_float:
            by_buffer[step["x"].buffer] |= by_buffer[step["y"].buffer]
            continue
        if gives_what_it_reads(step.operator) and index not in in_float:
            # Like a copy, but q, k and v cannot come from several layers.
            inherited = (by_buffer[step.result.buffer] - {"qkv"}) or {"byte"}
            for view in step.inputs:
                by_buffer[view.buffer] |= inherited
            continue
        if isinstance(step.operator, ops.Linear) and step.operator.residual and index not in in_float:
            # A sum with the residual has 16 bits, whoever reads it.
            by_buffer[step["y"].buffer].add("stream")
        result = by_buffer[step.result.buffer] if step.outputs else frozenset[Need]()
        needs = {} if index in in_float else operand_needs(step.operator, result)
        for name in step.operator.signature.inputs:
            by_buffer[step[name].buffer].add(needs.get(name, "float"))
    return {buffer: frozenset(buffer_needs) for buffer, buffer_needs in by_buffer.items()}
