"""The experts of a region: two linear layers, or three where experts are gated, from the tokens to its end."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

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

    w3, b3: as w1, b1 of gated experts, None for others.  layers: the linear layers of each expert, or of all where they
    are stacked, the one that gives its result last.
    """

    x: ir.Value
    w1: np.ndarray
    b1: np.ndarray
    w2: np.ndarray
    b2: np.ndarray
    w3: np.ndarray | None
    b3: np.ndarray | None
    layers: tuple[tuple[ExpertLayer, ...], ...]

    @property
    def arrays(self) -> dict[str, np.ndarray]:
        """The weights and biases there are, by the names of the operands of a MoE node."""
        parts = {name: getattr(self, name) for name in ("w1", "b1", "w2", "b2", "w3", "b3")}
        return {name: array for name, array in parts.items() if array is not None}

    def with_arrays(self, change: Callable[[str, np.ndarray], np.ndarray]) -> ExpertStack:
        """The same with every array changed."""
        changed: dict[str, Any] = {name: change(name, array) for name, array in self.arrays.items()}
        return replace(self, **changed)

    def reordered(self, order: tuple[int, ...]) -> ExpertStack:
        """The same with expert `order[i]` as the i-th."""
        return self.with_arrays(lambda _, array: array[list(order)])

    def swapped(self) -> ExpertStack:
        """The same with the other of the two first matrices in front of the activation."""
        assert self.w3 is not None
        assert self.b3 is not None
        return replace(self, w1=self.w3, b1=self.b3, w3=self.w1, b3=self.b1)

    def scaled(self, factor: np.float32) -> ExpertStack:
        """The same with results `factor` times as large."""
        return replace(self, w2=self.w2 * factor, b2=self.b2 * factor)


def find_experts(end: ir.Value, router: ExpertChoice, routed: frozenset[ir.Value]) -> ExpertStack | None:
    """The experts whose mixture `end` is, None where there are none before it.

    routed: what depends on the router. Raises `NotRecognisedError` for experts of another build.
    """
    if not is_static(end) or len(shape_of(end)) < 2 or router.tokens * shape_of(end)[-1] != size_of(end):
        return None
    lower = _linears_before(end, router)
    if not lower:
        return None
    chains = [(*_linears_before(last.data, router), last) for last in lower]
    chains = [chain for chain in chains if len(chain) > 1]
    if not chains:
        return None
    roots = {_tokens(first.data, routed, router.tokens) for *firsts, _ in chains for first in firsts}
    if None in roots:
        return None
    if len(roots) > 1 or len(chains) < len(lower):
        raise NotRecognisedError("its experts do not read the same tokens through two linear layers each")
    if {len(chain) for chain in chains} not in ({2}, {3}):
        raise NotRecognisedError("its experts are not two linear layers with an activation between them, nor gated")
    (x,) = roots
    assert x is not None
    return _stack(x, chains, shape_of(end)[-1])


def _linears_before(value: ir.Value, router: ExpertChoice) -> list[ExpertLayer]:
    """The nearest linear layers on the paths that lead to a value."""
    layers: dict[ir.Node, ExpertLayer] = {}
    _walk_back(value, router, lambda linear: layers.setdefault(linear.node, linear))
    return list(layers.values())


def _walk_back(value: ir.Value, router: ExpertChoice, visit: Callable[[ExpertLayer], object]) -> None:
    todo, seen = [value], set(router.values)
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


def _stack(x: ir.Value, chains: list[tuple[ExpertLayer, ...]], dim: int) -> ExpertStack:
    *firsts, (w2, b2) = [_joined(layers) for layers in zip(*chains, strict=True)]
    hidden = w2.shape[1]
    if len(firsts) == 1 and firsts[0][0].shape[2] == 2 * hidden:
        # Both first matrices of gated experts, side by side.
        firsts = [(w[:, :, part], b[:, part]) for w, b in firsts for part in (slice(hidden), slice(hidden, None))]
    for w, _ in firsts:
        if w.shape != (len(w2), dim, hidden) or w2.shape[2] != dim or shape_of(x)[-1] != dim:
            raise NotRecognisedError(f"its experts' weights do not fit together: {w.shape} and {w2.shape}")
    (w1, b1), *third = firsts
    w3, b3 = third[0] if third else (None, None)
    return ExpertStack(x, w1, b1, w2, b2, w3, b3, tuple(chains))


def _joined(layers: tuple[ExpertLayer, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Weights [n, in, out] and biases [n, out] of a layer of all experts."""
    weights = _join([layer.weight for layer in layers])
    return weights, _join([_bias(layer, weights.shape[2]) for layer in layers])


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
