"""Is a region a mixture of experts? Run it in onnxruntime on random tokens and compare with the definition.

The structure of a graph only proposes; what it computes decides.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from edgemtl.frontend.moe_node import MoEAttributes
from edgemtl.frontend.recognise.experts import Experts, NotRecognisedError
from edgemtl.frontend.recognise.region import Router
from edgemtl.frontend.recognise.run import Run, nodes_between, region_runner
from edgemtl.frontend.reference import ACTIVATIONS
from edgemtl.frontend.values import array_of

CERTAIN = 30.0
"""A logit this far above the others gives its expert all of the weight in float32."""
TOLERANCE = 2e-5
"""Of the largest output; the two forms of GELU differ by more."""
MIN_MARGIN = 1e-4
ROWS = 64


@dataclass(frozen=True)
class Mixture:
    """What a region was found to be: its attributes, and which of the experts each column of the logits picks."""

    attributes: MoEAttributes
    order: tuple[int, ...]


def probe(router: Router, experts: Experts, end: ir.Value, opset: int) -> Mixture:
    """The mixture the region from tokens and logits to `end` computes; `NotRecognisedError` if it is another thing."""
    nodes = nodes_between(router.logits, experts.x, end)
    run = region_runner(nodes, experts.x, router.logits, end, opset)
    with np.errstate(all="ignore"):
        return _explain(run, router, experts, nodes)


def _explain(run: Run, router: Router, experts: Experts, nodes: list[ir.Node]) -> Mixture:
    """What `run` computes, found by asking it."""
    activation, order = _match_experts(run, router, experts)
    sorted_experts = Experts(experts.x, *(a[list(order)] for a in (experts.w1, experts.b1, experts.w2, experts.b2)))
    x, logits, found = _sample(run, router, experts)
    scale = float(np.abs(found).max()) or 1.0
    for attributes in _candidates(router.k, activation, nodes):
        expected, certain = mix(x, logits, sorted_experts, attributes)
        if certain.any() and np.abs(expected - found)[certain].max() <= TOLERANCE * scale:
            return Mixture(attributes, order)
    raise NotRecognisedError("its experts are not weighed by a softmax over the router's logits")


def _match_experts(run: Run, router: Router, experts: Experts) -> tuple[str, tuple[int, ...]]:
    """Ask for one expert at a time; the activation and the experts that explain every answer."""
    x, answers = _ask_each(run, router, experts)
    best = ("", math.inf, np.zeros(0, np.int64))
    for activation in ACTIVATIONS:
        given = np.stack([_expert(x, experts, e, activation) for e in range(len(experts.w1))])
        error = np.abs(given - answers).max(-1)
        worst = float(error.min(0).max())
        if worst < best[1]:
            best = activation, worst, error.argmin(0)
    if best[1] > TOLERANCE * (float(np.abs(answers).max()) or 1.0):
        names = ", ".join(ACTIVATIONS)
        raise NotRecognisedError(
            f"its experts, asked one at a time, do not answer as two linear layers with {names} between them"
        )
    return best[0], tuple(int(e) for e in best[2])


def _ask_each(run: Run, router: Router, experts: Experts) -> tuple[np.ndarray, np.ndarray]:
    """Tokens [E, D] and what the region gives [E, D] where token e is certain to go to column e."""
    rng = np.random.default_rng(0)
    tokens, columns = router.tokens, router.columns
    asked, answers = [], []
    for start in range(0, columns, tokens):
        x = rng.standard_normal((tokens, experts.w1.shape[1]), np.float32)
        logits = np.zeros((tokens, columns), np.float32)
        wanted = np.arange(start, min(start + tokens, columns))
        logits[wanted - start, wanted] = CERTAIN
        answers.append(run(x, logits)[: len(wanted)])
        asked.append(x[: len(wanted)])
    return np.concatenate(asked), np.concatenate(answers)


def _sample(run: Run, router: Router, experts: Experts) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(1)
    xs, logits, found = [], [], []
    for _ in range(min(max(1, ROWS // router.tokens), 16)):
        xs.append(rng.standard_normal((router.tokens, experts.w1.shape[1]), np.float32))
        logits.append(1.5 * rng.standard_normal((router.tokens, router.columns), np.float32))
        found.append(run(xs[-1], logits[-1]))
    return tuple(np.concatenate(part)[:ROWS] for part in (xs, logits, found))  # type: ignore[return-value]


def _candidates(k: int, activation: str, nodes: list[ir.Node]) -> Iterator[MoEAttributes]:
    limits = {0.0}
    for node in nodes:
        if node.op_type in ("Less", "LessOrEqual", "Greater", "GreaterOrEqual"):
            limits |= {float(a.reshape(-1)[0]) for v in node.inputs if (a := array_of(v)) is not None and a.size == 1}
    for threshold in sorted(limit for limit in limits if 0 <= limit < 1):
        for normalize in (False, True):
            yield MoEAttributes(k, activation, normalize, threshold)


def mix(x: np.ndarray, logits: np.ndarray, experts: Experts, a: MoEAttributes) -> tuple[np.ndarray, np.ndarray]:
    """The definition of MoE token by token: y [T, D] and whether each token's routing is certain [T]."""
    p = np.exp(logits.astype(np.float64) - logits.max(-1, keepdims=True))
    p /= p.sum(-1, keepdims=True)
    y, certain = np.zeros(x.shape), np.zeros(len(x), bool)
    for t, row in enumerate(p):
        order = np.argsort(-row, kind="stable")
        scores = row[order[: a.k]] / (row[order[: a.k]].sum() if a.normalize else 1.0)
        gap = np.inf if a.k == len(row) else row[order[a.k - 1]] - row[order[a.k]]
        certain[t] = min(gap, np.abs(scores - a.threshold).min()) > MIN_MARGIN
        for e, score in zip(order[: a.k], scores, strict=True):
            if score >= a.threshold:
                y[t] += score * _expert(x[t : t + 1], experts, e, a.activation)[0]
    return y, certain


def _expert(x: np.ndarray, experts: Experts, e: int, activation: str) -> np.ndarray:
    hidden = ACTIVATIONS[activation](x.astype(np.float64) @ experts.w1[e] + experts.b1[e])
    result: np.ndarray = hidden @ experts.w2[e] + experts.b2[e]
    return result
