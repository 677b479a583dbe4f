"""`edgemtl::MoE` in numpy loops, one token and one expert at a time, and graphs run with it."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import onnx_ir as ir
from onnx.reference import ReferenceEvaluator
from onnx.reference.op_run import OpRun

from edgemtl.operators import Frame

ACTIVATIONS = {
    "gelu": lambda v: 0.5 * v * (1 + math.erf(v / math.sqrt(2))),
    "gelu_tanh": lambda v: 0.5 * v * (1 + math.tanh(math.sqrt(2 / math.pi) * (v + 0.044715 * v**3))),
    "relu": lambda v: max(v, 0.0),
    "silu": lambda v: v / (1 + math.exp(-v)),
}


def moe_reference(
    x, logits, w1, b1, w2, b2, *, k, activation="gelu", normalize=0, threshold=0.0, window=None, experts=None
):
    """y [T, D] in float64; the experts' ids are columns of the logits, window or not."""
    first, size = window or (0, logits.shape[1])
    candidates = list(experts) if experts is not None else list(range(first, first + size))
    y = np.zeros((x.shape[0], w2.shape[2]))
    for token, row in enumerate(logits.astype(np.float64)[:, first : first + size]):
        probability = np.exp(row - row.max())
        probability /= probability.sum()
        ranked = sorted(candidates, key=lambda e, p=probability: (-p[e - first], e))[:k]
        scores = [probability[e - first] for e in ranked]
        if normalize:
            scores = [score / sum(scores) for score in scores]
        for expert, score in zip(ranked, scores, strict=True):
            # Without a list the stacks hold every column's expert.
            place = expert if experts is None else candidates.index(expert)
            hidden = x[token].astype(np.float64) @ w1[place] + b1[place]
            active = np.array([ACTIVATIONS[activation](v) for v in hidden])
            y[token] += (score if score >= threshold else 0.0) * (active @ w2[place] + b2[place])
    return y


class MoE(OpRun):
    """The node for onnx's reference evaluator."""

    op_domain = "edgemtl"

    def _run(self, x, logits, w1, b1, w2, b2, **attributes):
        y = moe_reference(x, logits, w1, b1, w2, b2, **attributes)
        return (y.astype(x.dtype),)


class _MoE(MoE):
    def _run(self, *inputs, k=None, activation=None, normalize=None, threshold=None, window=None, experts=None):
        return super()._run(
            *inputs,
            k=k,
            activation=activation or "gelu",
            normalize=normalize or 0,
            threshold=threshold or 0.0,
            window=window,
            experts=experts,
        )


_MoE.__name__ = "MoE"


def run_reference(model: ir.Model, inputs: np.ndarray | Frame) -> list[np.ndarray]:
    """The graph's outputs, every node by onnx's numpy code and MoE nodes by `moe_reference`."""
    proto = ir.to_proto(model)
    feeds = dict(inputs) if isinstance(inputs, Mapping) else {proto.graph.input[0].name: inputs}
    del proto.functions[:]
    for node in proto.graph.node:
        node.overload = ""
    return ReferenceEvaluator(proto, new_ops=[_MoE]).run(None, feeds)
