"""The definition of MoE in numpy, all tokens at once: products in float32, the rest in float64."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from edgemtl.frontend.moe_node import MoEAttributes
from edgemtl.frontend.recognise.experts import ExpertStack
from edgemtl.operators.activations import ACTIVATIONS

CURVES: Mapping[str, Callable[[np.ndarray], np.ndarray]] = {**ACTIVATIONS, "identity": lambda x: x}
"""The activations of experts, and none."""
MAX_HIDDEN = 1 << 22
"""Hidden units of all experts and tokens computed at once."""


def mix(x: np.ndarray, logits: np.ndarray, experts: ExpertStack, a: MoEAttributes) -> tuple[np.ndarray, np.ndarray]:
    """y [T, D] of tokens [T, D] and logits [T, E]; and the magnitude [T] that rounding errors are relative to.

    The magnitude is that of the result where nothing cancels and no activation is 0.
    """
    gates = route(logits, a)
    parts = -(-len(x) * experts.b1.size // MAX_HIDDEN)
    pieces = zip(np.array_split(x, parts), np.array_split(gates, parts), strict=True)
    results = [_weigh(tokens, shares, experts, CURVES[a.activation]) for tokens, shares in pieces]
    y, magnitude = (np.concatenate(part) for part in zip(*results, strict=True))
    return y, magnitude


def _weigh(
    x: np.ndarray, gates: np.ndarray, experts: ExpertStack, activate: Callable[[np.ndarray], np.ndarray]
) -> tuple[np.ndarray, np.ndarray]:
    """All experts in two products, the second of which also sums over the experts."""
    dim = x.shape[1]
    before, used = _units(x, experts.w1, experts.b1), gates != 0
    weighed = np.zeros(before.shape, np.float32)
    units = activate(before[used].astype(np.float64))
    if experts.w3 is not None and experts.b3 is not None:
        linear = _units(x, experts.w3, experts.b3)
        units, before = units * linear[used], before * linear
    weighed[used] = units * gates[used][:, None]
    y = (weighed.reshape(len(x), -1) @ experts.w2.reshape(-1, dim)).astype(np.float64) + gates @ experts.b2
    sizes = np.linalg.norm(before, axis=-1) * _root_mean_square(experts.w2, (1, 2)) + _root_mean_square(experts.b2, 1)
    typical: np.ndarray = (np.abs(gates) * sizes).sum(-1)
    magnitude: np.ndarray = np.maximum(typical, np.abs(y).max(-1, initial=0))
    return y, magnitude


def _units(x: np.ndarray, weight: np.ndarray, bias: np.ndarray) -> np.ndarray:
    """Of each token the hidden units [T, n, H] of every expert."""
    count, dim, hidden = weight.shape
    units: np.ndarray = (x @ weight.transpose(1, 0, 2).reshape(dim, -1)).reshape(-1, count, hidden) + bias
    return units


def route(logits: np.ndarray, a: MoEAttributes) -> np.ndarray:
    """The weight [T, E] of each expert for each token, in float32."""
    if a.routing == "weights":
        return logits
    p: np.ndarray = np.exp(logits - logits.max(-1, keepdims=True))
    p /= p.sum(-1, keepdims=True)
    chosen = np.argsort(-p, axis=-1, kind="stable")[:, : a.k]
    scores = np.take_along_axis(p, chosen, -1)
    if a.normalize:
        scores = scores / scores.sum(-1, keepdims=True)
    gates: np.ndarray = np.zeros(p.shape, np.float32)
    np.put_along_axis(gates, chosen, np.where(scores < np.float32(a.threshold), 0, scores), -1)
    return gates


def outputs_of(x: np.ndarray, experts: ExpertStack, activation: str) -> np.ndarray:
    """What every expert makes of tokens [T, D]: [E, T, D]."""
    hidden: np.ndarray = np.matmul(x[None], experts.w1) + experts.b1[:, None]
    activated = CURVES[activation](hidden.astype(np.float64)).astype(np.float32)
    if experts.w3 is not None and experts.b3 is not None:
        activated = activated * (np.matmul(x[None], experts.w3) + experts.b3[:, None])
    result: np.ndarray = np.matmul(activated, experts.w2) + experts.b2[:, None]
    return result


def _root_mean_square(array: np.ndarray, axes: int | tuple[int, ...]) -> np.ndarray:
    root: np.ndarray = np.sqrt(np.square(array, dtype=np.float64).mean(axis=axes))
    return root
