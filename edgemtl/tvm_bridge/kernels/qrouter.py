"""Integer router: top-k of the logits, their weights by table and reciprocal, the tokens sorted by expert."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
from tvm import tirx
from tvm.script.ir_builder import tirx as T

from edgemtl.hw.arith import EXP2_FRACTION_BITS, EXP2_TABLE
from edgemtl.operators import QRouter
from edgemtl.processor import CpuTarget
from edgemtl.tvm_bridge.kernel import Kernel, Operand
from edgemtl.tvm_bridge.kernels.emit import Buffer, Expr, define, guarded, i32, local, parallel, within
from edgemtl.tvm_bridge.kernels.vectors import i64, reciprocal

# Below every logit: an expert already chosen cannot be chosen again.
TAKEN = -(2**31)
STEPS = 2**EXP2_FRACTION_BITS
# From this many halvings on nothing is left of 16 bits.
MOST_HALVINGS = 17


@dataclass(frozen=True)
class _Router:
    """A router while it is emitted."""

    spec: QRouter
    logits: Buffer
    candidates: Buffer
    exp2: Buffer
    choices: Buffer
    scores: Buffer
    weights: Buffer
    slots: Buffer
    tokens: Buffer
    offsets: Buffer


def pack(spec: QRouter, target: CpuTarget) -> tuple[np.ndarray, np.ndarray]:
    """The logits column of each candidate, int32 [candidates]; the table of powers of two, int32 [64]."""
    return np.array(spec.candidates, np.int32), EXP2_TABLE.astype(np.int32)


@cache
def build(spec: QRouter, target: CpuTarget) -> Kernel:
    """The kernel of ``spec``: operands logits, candidates, exp2 (tables), choices and scores (workspaces), weights,
    slots, tokens, offsets.

    The work is tiny, so one part does it all; the order of tokens within an expert is their own order.
    """
    pairs, count = (spec.tokens, spec.top_k), len(spec.candidates)
    operands = [
        Operand("logits", (spec.tokens, spec.experts), "int16", "input"),
        Operand("candidates", (count,), "int32", "weight", (0, spec.experts - 1)),
        Operand("exp2", (STEPS,), "int32", "weight"),
        Operand("choices", pairs, "int32", "workspace"),
        Operand("scores", (count,), "int32", "workspace"),
        Operand("weights", pairs, "int32", "output"),
        Operand("slots", pairs, "int32", "output"),
        Operand("tokens", (spec.tokens * spec.top_k,), "int32", "output"),
        Operand("offsets", (count + 1,), "int32", "output"),
    ]

    def body(*buffers: Buffer) -> None:
        with parallel(1) as part:
            with guarded(part == 0):
                _route(_Router(spec, *buffers))

    digest = f"{count}of{spec.experts}" if count != spec.experts else f"{spec.experts}"
    symbol = (
        f"qrouter_{spec.tokens}x{digest}_k{spec.top_k}_n{int(spec.normalize)}_t{spec.threshold}_f{spec.fraction_bits}"
    )
    return define(symbol, operands, body)


def _route(r: _Router) -> None:
    count = len(r.spec.candidates)
    with T.serial(count + 1) as expert:
        T.buffer_store(r.offsets, i32(0), [expert])
    with T.serial(r.spec.tokens) as token:
        with T.serial(count) as index:
            column = within(r.candidates[index], i32(0), i32(r.spec.experts - 1))
            T.buffer_store(r.scores, r.logits[token, column].astype("int32"), [index])
        largest = _largest(r, token)
        total = _start_total(r, token, largest)
        with T.serial(r.spec.top_k) as choice:
            _choose(r, token, choice, largest, total)
        _divide(r, token, total)
    # offsets[e + 1] holds the count of expert e: sums of counts are the ends; filling backwards turns them to starts.
    with T.serial(count) as expert:
        T.buffer_store(r.offsets, r.offsets[expert] + r.offsets[expert + 1], [expert + 1])
    _fill(r)


def _largest(r: _Router, token: Expr) -> Buffer:
    """The row's largest logit, of the candidates alone where only they count."""
    largest = local(1, "int32")
    T.buffer_store(largest, i32(TAKEN), [0])
    with T.serial(len(r.spec.candidates) if r.spec.normalize else r.spec.experts) as index:
        logit = r.scores[index] if r.spec.normalize else r.logits[token, index].astype("int32")
        T.buffer_store(largest, tirx.max(largest[0], logit), [0])
    return largest


def _start_total(r: _Router, token: Expr, largest: Buffer) -> Buffer:
    """What weights are divided by: probabilities of all experts; those of the chosen ones are yet to come."""
    total = local(1, "int32")
    T.buffer_store(total, i32(0), [0])
    if not r.spec.normalize:
        with T.serial(r.spec.experts) as expert:
            logit = r.logits[token, expert].astype("int32")
            T.buffer_store(total, total[0] + _probability(r, largest[0] - logit), [0])
    return total


def _probability(r: _Router, distance: Expr) -> Expr:
    """`arith.exp2_wide` of a distance with the fraction bits of logits.

    Doubled before it is rounded, so that a shift by nothing is like the others.
    """
    dropped = r.spec.fraction_bits - EXP2_FRACTION_BITS
    rounded = T.bind((distance + i32(1 << dropped - 1)) >> i32(dropped))
    halvings = tirx.min(rounded >> i32(EXP2_FRACTION_BITS), i32(MOST_HALVINGS))
    return (((r.exp2[rounded & i32(STEPS - 1)] << i32(1)) >> halvings) + i32(1)) >> i32(1)


def _choose(r: _Router, token: Expr, choice: Expr, largest: Buffer, total: Buffer) -> None:
    """Take the largest logit left; the first of equals, since later ones must be strictly larger."""
    best, at = local(1, "int32"), local(1, "int32")
    T.buffer_store(best, r.scores[0], [0])
    T.buffer_store(at, i32(0), [0])
    with T.serial(len(r.spec.candidates)) as expert:
        with guarded(r.scores[expert] > best[0]):
            T.buffer_store(best, r.scores[expert], [0])
            T.buffer_store(at, expert, [0])
    T.buffer_store(r.weights, _probability(r, largest[0] - best[0]), [token, choice])
    if r.spec.normalize:
        T.buffer_store(total, total[0] + r.weights[token, choice], [0])
    T.buffer_store(r.choices, at[0], [token, choice])
    T.buffer_store(r.scores, i32(TAKEN), [at[0]])
    T.buffer_store(r.offsets, r.offsets[at[0] + 1] + 1, [at[0] + 1])


def _divide(r: _Router, token: Expr, total: Buffer) -> None:
    """Probabilities of the chosen to weights; the largest logit keeps the total from being 0."""
    mantissa, exponent = reciprocal(total[0].astype("int64"))
    with T.serial(r.spec.top_k) as choice:
        product = r.weights[token, choice].astype("int64") * mantissa
        weight = T.bind(((product + (i64(1) << exponent)) >> (exponent + i64(1))).astype("int32"))
        result = tirx.Select(weight < i32(r.spec.threshold), i32(0), weight)
        T.buffer_store(r.weights, result, [token, choice])


def _fill(r: _Router) -> None:
    """Give every (token, choice) its slot, last token first, so that each offsets[e + 1] ends as the start of e.

    Afterwards starts are moved down by one place, and the end of the last expert is all slots.
    """
    count = len(r.spec.candidates)
    with T.serial(r.spec.tokens) as index:
        token = r.spec.tokens - 1 - index
        with T.serial(r.spec.top_k) as choice:
            expert = r.choices[token, choice]
            T.buffer_store(r.offsets, r.offsets[expert + 1] - 1, [expert + 1])
            T.buffer_store(r.slots, r.offsets[expert + 1], [token, choice])
            T.buffer_store(r.tokens, token, [r.slots[token, choice]])
    with T.serial(count) as expert:
        T.buffer_store(r.offsets, r.offsets[expert + 1], [expert])
    T.buffer_store(r.offsets, i32(r.spec.tokens * r.spec.top_k), [count])
