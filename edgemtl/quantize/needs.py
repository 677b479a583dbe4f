"""The form in which the readers of a value need it: a byte, 16 bits of the residual stream, a gate's logit, float."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Literal

from edgemtl import operators as ops
from edgemtl.lowering.ir import OUTPUT, Step
from edgemtl.operators import Operator
from edgemtl.quantize.lookups import has_table
from edgemtl.tvm_bridge.generic import Generic

Need = Literal["byte", "stream", "logits", "qkv", "final", "index", "float"]


def operand_needs(operator: Operator) -> Mapping[str, Need]:
    """What the integer form of a float operator needs of each input; float for operators without one."""
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
        case ops.Add() | ops.Multiply():
            return {"a": "byte", "b": "byte"}
        case ops.Activate() | ops.Pool() | ops.Resample():
            return {"x": "byte"}
        case Generic() if has_table(operator):
            return dict.fromkeys(operator.signature.inputs, "byte")
        case ops.Resize():
            return {"x": "final" if operator.planar else "byte"}
        case _:
            return {}


def needs_of(steps: Sequence[Step], in_float: frozenset[int]) -> dict[str, frozenset[Need]]:
    """What the readers of every buffer need; ``in_float``: indices of the steps that stay in float.

    A copy and a concatenation need of their inputs what the readers of their result need.
    """
    by_buffer: defaultdict[str, set[Need]] = defaultdict(set)
    by_buffer[OUTPUT].add("final")
    for index in reversed(range(len(steps))):
        step = steps[index]
        if isinstance(step.operator, ops.Copy) and index not in in_float:
            by_buffer[step["x"].buffer] |= by_buffer[step["y"].buffer]
            continue
        if isinstance(step.operator, ops.Concat) and index not in in_float:
            # Like a copy, but q, k and v cannot come from several layers.
            inherited = (by_buffer[step["y"].buffer] - {"qkv"}) or {"byte"}
            for name in step.operator.names:
                by_buffer[step[name].buffer] |= inherited
            continue
        if isinstance(step.operator, ops.Linear) and step.operator.residual and index not in in_float:
            # A sum with the residual has 16 bits, whoever reads it.
            by_buffer[step["y"].buffer].add("stream")
        needs = {} if index in in_float else operand_needs(step.operator)
        for name in step.operator.signature.inputs:
            by_buffer[step[name].buffer].add(needs.get(name, "float"))
    return {buffer: frozenset(buffer_needs) for buffer, buffer_needs in by_buffer.items()}
