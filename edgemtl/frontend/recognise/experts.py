"""The experts of a region: chains of two linear layers from the tokens to the region's end."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import onnx_ir as ir

from edgemtl.frontend.recognise.linear import ExpertLayer, bias_of, read_linear
from edgemtl.frontend.recognise.region import SHAPING, ExpertChoice
from edgemtl.graph import array_of, is_constant, is_static, shape_of, size_of

PICKING = SHAPING | {"Gather", "GatherND", "GatherElements", "Slice", "Mul", "Where", "Compress", "Transpose"}
"""Operators that pick a token's row for an expert, or blank those of the others."""


class NotRecognisedError(Exception):
    """Something that looks like a mixture of experts is not one this compiler has; the message says why."""


@dataclass(frozen=True)
class ExpertStack:
    """x: the tokens [.., D].  w1 [n, D, H], b1 [n, H], w2 [n, H, D], b2 [n, D], in the order they were found.

    layers: the first and the second linear layer of each expert, or of all where they are stacked.
    """

    x: ir.Value
    w1: np.ndarray
    b1: np.ndarray
    w2: np.ndarray
    b2: np.ndarray
    layers: tuple[tuple[ExpertLayer, ExpertLayer], ...]

    def reordered(self, order: tuple[int, ...]) -> ExpertStack:
        """The same with expert `order[i]` as the i-th."""
        rows = list(order)
        return replace(self, w1=self.w1[rows], b1=self.b1[rows], w2=self.w2[rows], b2=self.b2[rows])


def find_experts(end: ir.Value, router: ExpertChoice, routed: frozenset[ir.Value]) -> ExpertStack | None:
    """The experts whose mixture `end` is, None where there are none before it.

    routed: what depends on the logits. Raises `NotRecognisedError` for experts of another build.
    """
    if not is_static(end) or len(shape_of(end)) < 2 or router.tokens * shape_of(end)[-1] != size_of(end):
        return None
    lower = _linears_before(end, router)
    if not lower:
        return None
    upper = [_only_linear_before(linear.data, router) for linear in lower]
    pairs = [(first, second) for first, second in zip(upper, lower, strict=True) if first is not None]
    if not pairs:
        return None
    roots = {_tokens(first.data, routed, router.tokens) for first, _ in pairs}
    if None in roots:
        return None
    if len(roots) > 1 or len(pairs) < len(lower):
        raise NotRecognisedError("its experts do not read the same tokens through two linear layers each")
    (x,) = roots
    assert x is not None
    return _stack(x, pairs, shape_of(end)[-1])


def _linears_before(value: ir.Value, router: ExpertChoice) -> list[ExpertLayer]:
    """The nearest linear layers on the paths that lead to a value."""
    layers: dict[ir.Node, ExpertLayer] = {}
    _walk_back(value, router, lambda linear: layers.setdefault(linear.node, linear))
    return list(layers.values())


def _walk_back(value: ir.Value, router: ExpertChoice, visit: Callable[[ExpertLayer], object]) -> None:
    todo, seen = [value], {router.logits}
    while todo:
        current = todo.pop()
        node = current.producer()
        if current in seen or node is None:
            continue
        seen.add(current)
        linear = read_linear(node)
        if linear is not None:
            visit(linear)
        elif not _is_zero(node):
            todo += [v for v in reversed(node.inputs) if v is not None and not is_constant(v)]


def _is_zero(node: ir.Node) -> bool:
    """Products with nothing: how exporters write zeros of a tensor's shape."""
    factors = [array_of(v) for v in node.inputs] if node.op_type == "Mul" else []
    return any(factor is not None and not factor.any() for factor in factors)


def _only_linear_before(value: ir.Value, router: ExpertChoice) -> ExpertLayer | None:
    layers = _linears_before(value, router)
    if len(layers) > 1:
        raise NotRecognisedError("its experts are not two linear layers with an activation between them")
    return layers[0] if layers else None


def _tokens(value: ir.Value, routed: frozenset[ir.Value], tokens: int) -> ir.Value | None:
    """The tokens a linear layer reads, before any were picked out or laid out differently."""
    node = value.producer()
    while node is not None and node.op_type in (PICKING if value in routed else SHAPING):
        floats = [v for v in node.inputs if v is not None and v.dtype == ir.DataType.FLOAT and not is_constant(v)]
        free = [v for v in floats if v not in routed] or floats
        if not free:
            return None
        value = free[0]
        node = value.producer()
    whole = value not in routed and is_static(value) and len(shape_of(value)) > 1
    return value if whole and size_of(value) == tokens * shape_of(value)[-1] else None


def _stack(x: ir.Value, pairs: list[tuple[ExpertLayer, ExpertLayer]], dim: int) -> ExpertStack:
    w1 = _join([first.weight for first, _ in pairs])
    w2 = _join([second.weight for _, second in pairs])
    experts, inputs, hidden = w1.shape
    if w2.shape != (experts, hidden, dim) or inputs != shape_of(x)[-1] or inputs != dim:
        raise NotRecognisedError(f"its experts' weights do not fit together: {w1.shape} and {w2.shape}")
    b1 = _join([_bias(first, hidden) for first, _ in pairs])
    b2 = _join([_bias(second, dim) for _, second in pairs])
    return ExpertStack(x, w1, b1, w2, b2, tuple(pairs))


def _join(parts: list[np.ndarray]) -> np.ndarray:
    if len({part.shape[1:] for part in parts}) != 1:
        raise NotRecognisedError("its experts differ in size")
    return np.ascontiguousarray(np.concatenate(parts))


def _bias(linear: ExpertLayer, width: int) -> np.ndarray:
    """The bias [n, width] of a layer, zeros where it has none."""
    experts = linear.weight.shape[0]
    _, bias = bias_of(linear)
    if bias is None or bias.size not in (width, experts * width):
        return np.zeros((experts, width), np.float32)
    return np.ascontiguousarray(np.broadcast_to(bias.reshape(-1, width), (experts, width)))
