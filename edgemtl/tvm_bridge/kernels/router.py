"""Router: softmax, top-k and a counting sort of the tokens by expert."""

from __future__ import annotations

from functools import cache

import numpy as np
from tvm import tirx
from tvm.script.ir_builder import tirx as T

from edgemtl.operators import Dispatch, Router
from edgemtl.processor import CpuTarget
from edgemtl.tvm_bridge.kernel import Kernel, Operand
from edgemtl.tvm_bridge.kernels.emit import Buffer, Expr, define, exp2, f32, guarded, i32, local, parallel, within

LOG2_E = float(np.log2(np.e))
# Below every probability: an expert already chosen cannot be chosen again.
TAKEN = -1.0


def pack(spec: Router | Dispatch, target: CpuTarget) -> tuple[np.ndarray]:
    """The logits column of each candidate, int32 [candidates]."""
    return (np.array(spec.candidates, np.int32),)


@cache
def build(spec: Router, target: CpuTarget) -> Kernel:
    """The kernel of ``spec``: operands logits, candidates, choices and scores (workspaces), weights, slots, tokens,
    offsets.

    The work is tiny, so one part does it all; the order of tokens within an expert is their own order.
    """
    pairs = (spec.tokens, spec.top_k)
    count = len(spec.candidates)
    operands = [
        Operand("logits", (spec.tokens, spec.experts), "float32", "input"),
        Operand("candidates", (count,), "int32", "weight", (0, spec.experts - 1)),
        Operand("choices", pairs, "int32", "workspace"),
        Operand("scores", (max(spec.experts, count),), "float32", "workspace"),
        Operand("weights", pairs, "float32", "output"),
        Operand("slots", pairs, "int32", "output"),
        Operand("tokens", (spec.tokens * spec.top_k,), "int32", "output"),
        Operand("offsets", (count + 1,), "int32", "output"),
    ]

    def body(*buffers: Buffer) -> None:
        with parallel(1) as part:
            with guarded(part == 0):
                _route(spec, *buffers)

    digest = f"{count}of{spec.experts}" if count != spec.experts else f"{spec.experts}"
    symbol = f"router_{spec.tokens}x{digest}_k{spec.top_k}_n{int(spec.normalize)}_t{spec.threshold:.9g}"
    return define(symbol, operands, body)


def _route(
    spec: Router,
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
    with T.serial(count + 1) as expert:
        T.buffer_store(offsets, i32(0), [expert])
    with T.serial(spec.tokens) as token:
        total = _softmax(spec, logits, scores, token)
        _keep_candidates(spec, candidates, scores)
        with T.serial(spec.top_k) as choice:
            _choose(spec, scores, total, choices, weights, offsets, token, choice)
        _adjust(spec, weights, token)
    sort_tokens(spec.tokens, spec.top_k, count, choices, slots, tokens, offsets)


def _softmax(spec: Router, logits: Buffer, scores: Buffer, token: Expr) -> Buffer:
    """scores = exp(logit - largest), and their sum in a local: dividing is left to the chosen ones."""
    largest, total = local(1), local(1)
    T.buffer_store(largest, logits[token, 0], [0])
    with T.serial(spec.experts) as expert:
        T.buffer_store(largest, tirx.max(largest[0], logits[token, expert]), [0])
    T.buffer_store(total, f32(0.0), [0])
    with T.serial(spec.experts) as expert:
        power = tirx.max((logits[token, expert] - largest[0]) * f32(LOG2_E), f32(-126.0))
        T.buffer_store(scores, exp2(power), [expert])
        T.buffer_store(total, total[0] + scores[expert], [0])
    return total


def _keep_candidates(spec: Router, candidates: Buffer, scores: Buffer) -> None:
    """Move the candidates' scores to the front; they ascend, so nothing is overwritten before it is read."""
    if len(spec.candidates) < spec.experts:
        with T.serial(len(spec.candidates)) as index:
            T.buffer_store(scores, scores[within(candidates[index], i32(0), i32(spec.experts - 1))], [index])


def _choose(
    spec: Router,
    scores: Buffer,
    total: Buffer,
    choices: Buffer,
    weights: Buffer,
    offsets: Buffer,
    token: Expr,
    choice: Expr,
) -> None:
    """Take the largest score left."""
    best, at = find_largest(scores, len(spec.candidates))
    T.buffer_store(weights, best[0] / total[0], [token, choice])
    T.buffer_store(scores, f32(TAKEN), [at[0]])
    count_choice(choices, offsets, token, choice, at[0])


def find_largest(scores: Buffer, count: int) -> tuple[Buffer, Buffer]:
    """The largest of the first ``count`` scores and where it is; the first of equals: later ones must be larger."""
    best, at = local(1), local(1, "int32")
    T.buffer_store(best, scores[0], [0])
    T.buffer_store(at, i32(0), [0])
    with T.serial(count) as expert:
        with guarded(scores[expert] > best[0]):
            T.buffer_store(best, scores[expert], [0])
            T.buffer_store(at, expert, [0])
    return best, at


def count_choice(choices: Buffer, offsets: Buffer, token: Expr, choice: Expr, expert: Expr) -> None:
    """Record a token's choice, and count it in offsets[expert + 1]."""
    T.buffer_store(choices, expert, [token, choice])
    T.buffer_store(offsets, offsets[expert + 1] + 1, [expert + 1])


def _adjust(spec: Router, weights: Buffer, token: Expr) -> None:
    """Renormalise and prune the chosen probabilities."""
    if spec.normalize:
        total = local(1)
        T.buffer_store(total, f32(0.0), [0])
        with T.serial(spec.top_k) as choice:
            T.buffer_store(total, total[0] + weights[token, choice], [0])
        with T.serial(spec.top_k) as choice:
            T.buffer_store(weights, weights[token, choice] / total[0], [token, choice])
    if spec.threshold > 0:
        with T.serial(spec.top_k) as choice:
            with guarded(weights[token, choice] < f32(spec.threshold)):
                T.buffer_store(weights, f32(0.0), [token, choice])


def sort_tokens(
    rows: int, top_k: int, experts: int, choices: Buffer, slots: Buffer, tokens: Buffer, offsets: Buffer
) -> None:
    """Give every (token, choice) of ``rows`` tokens its slot. offsets[e + 1] holds the count of expert e.

    Sums of counts are the ends; filling backwards, last token first, turns each offsets[e + 1] to the start of e.
    Afterwards starts are moved down by one place, and the end of the last expert is all slots.
    """
    with T.serial(experts) as expert:
        T.buffer_store(offsets, offsets[expert] + offsets[expert + 1], [expert + 1])
    with T.serial(rows) as index:
        token = rows - 1 - index
        with T.serial(top_k) as choice:
            expert = choices[token, choice]
            T.buffer_store(offsets, offsets[expert + 1] - 1, [expert + 1])
            T.buffer_store(slots, offsets[expert + 1], [token, choice])
            T.buffer_store(tokens, token, [slots[token, choice]])
    with T.serial(experts) as expert:
        T.buffer_store(offsets, offsets[expert + 1], [expert])
    T.buffer_store(offsets, i32(rows * top_k), [experts])
