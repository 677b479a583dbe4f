"""Dispatch: the experts to which the model itself gave weights, and a counting sort of the tokens by expert."""

from __future__ import annotations

from functools import cache

import numpy as np
from tvm import tirx
from tvm.script.ir_builder import tirx as T

from edgemtl.operators import Dispatch
from edgemtl.processor import CpuTarget
from edgemtl.tvm_bridge.kernel import Kernel, Operand
from edgemtl.tvm_bridge.kernels.emit import Buffer, Expr, define, f32, guarded, i32, parallel, within
from edgemtl.tvm_bridge.kernels.router import TAKEN, count_choice, find_largest, pack, sort_tokens

__all__ = ["build", "pack"]

LARGEST = float(np.finfo(np.float32).max)


@cache
def build(spec: Dispatch, target: CpuTarget) -> Kernel:
    """The kernel of ``spec``: operands as of `router.build`. The work is tiny, so one part does it all."""
    pairs = (spec.tokens, spec.top_k)
    count = len(spec.candidates)
    operands = [
        Operand("logits", (spec.tokens, spec.experts), "float32", "input"),
        Operand("candidates", (count,), "int32", "weight", (0, spec.experts - 1)),
        Operand("choices", pairs, "int32", "workspace"),
        Operand("scores", (count,), "float32", "workspace"),
        Operand("weights", pairs, "float32", "output"),
        Operand("slots", pairs, "int32", "output"),
        Operand("tokens", (spec.tokens * spec.top_k,), "int32", "output"),
        Operand("offsets", (count + 1,), "int32", "output"),
    ]

    def body(*buffers: Buffer) -> None:
        with parallel(1) as part, guarded(part == 0):
            _dispatch(spec, *buffers)

    digest = f"{count}of{spec.experts}" if count != spec.experts else f"{spec.experts}"
    return define(f"dispatch_{spec.tokens}x{digest}_k{spec.top_k}", operands, body)


def _dispatch(
    spec: Dispatch,
    logits: Buffer,
    candidates: Buffer,
    choices: Buffer,
    scores: Buffer,
    weights: Buffer,
    slots: Buffer,
    tokens: Buffer,
    offsets: Buffer,
) -> None:
    count = len(spec.candidates)

    def column(expert: Expr) -> Expr:
        return within(candidates[expert], i32(0), i32(spec.experts - 1))

    with T.serial(count + 1) as expert:
        T.buffer_store(offsets, i32(0), [expert])
    with T.serial(spec.tokens) as token:
        with T.serial(count) as expert:
            weight = logits[token, column(expert)]
            magnitude = tirx.abs(weight)
            # False for NaN, which is chosen before all others.
            finite = magnitude <= f32(LARGEST)
            T.buffer_store(scores, tirx.Select(finite, magnitude, f32(float(np.inf))), [expert])
        with T.serial(spec.top_k) as choice:
            _, at = find_largest(scores, count)
            T.buffer_store(weights, logits[token, column(at[0])], [token, choice])
            T.buffer_store(scores, f32(TAKEN), [at[0]])
            count_choice(choices, offsets, token, choice, at[0])
    sort_tokens(spec.tokens, spec.top_k, count, choices, slots, tokens, offsets)
