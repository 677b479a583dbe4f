"""Which activations have 12 bits instead of 8: those that the chosen layers read, and that their producers can give."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from edgemtl import operators as ops
from edgemtl.hw.law import MOST_WIDE_TOKENS
from edgemtl.lowering.ir import Step
from edgemtl.operators.activations import SATURATING
from edgemtl.quantize.norms import can_fold, readers

READERS = ops.Linear, ops.Experts, ops.PatchEmbed
"""Layers that can read wide activations."""


@dataclass(frozen=True)
class Widths:
    """Float steps of one task: the layers that read wide activations, and the steps that give them."""

    readers: frozenset[int] = frozenset()
    sources: frozenset[int] = frozenset()


def plan_widths(steps: Sequence[Step], patterns: Sequence[str]) -> Widths:
    """The widths that follow from the names of the readers, with * and ?."""
    matches = (i for i, s in enumerate(steps) if any(fnmatchcase(n, p) for n in s.origin for p in patterns))
    return widths_of(steps, frozenset(i for i in matches if isinstance(steps[i].operator, READERS)))


def widths_of(steps: Sequence[Step], chosen: frozenset[int]) -> Widths:
    """The widths where the layers ``chosen`` read wide activations."""
    wide = [steps[i] for i in chosen]
    sources = {
        i
        for i, step in enumerate(steps)
        if _can_widen(steps, i) and (reading := readers(steps, i)) and all(_reads(r, step, wide) for r in reading)
    }
    return Widths(chosen, frozenset(sources))


def _can_widen(steps: Sequence[Step], index: int) -> bool:
    """Whether a step may give 12 bits: LayerNorm, attention, and curves behind linear layers and experts."""
    operator = steps[index].operator
    if isinstance(operator, ops.LayerNorm):
        return can_fold(steps, index)
    if isinstance(operator, ops.Linear) and operator.residual:
        return False
    is_curve = isinstance(operator, ops.Linear | ops.Experts) and operator.activation not in SATURATING
    return is_curve or (isinstance(operator, ops.Attention) and operator.tokens <= MOST_WIDE_TOKENS)


def _reads(reader: Step, source: Step, wide: Sequence[Step]) -> bool:
    """Whether a chosen layer reads a step's result as its activations, and not as its residual."""
    return any(reader is step for step in wide) and all(v.buffer != source.result.buffer for v in reader.inputs[1:])
