"""The activations a layer may end in, in float64 and, sampled, in float32."""

from __future__ import annotations

import math
from functools import cache

import numpy as np

from edgemtl.operators.operator import Array

_GRID = 65_537
_REACH = 10.0
erf = np.vectorize(math.erf, otypes=[np.float64])
"""The error function, elementwise."""


def relu(x: Array) -> Array:
    """The larger of x and 0."""
    return np.maximum(x, 0)


def gelu(x: Array) -> Array:
    """GELU by the error function."""
    return np.asarray(0.5 * x * (1 + erf(x / math.sqrt(2.0))))


def gelu_tanh(x: Array) -> Array:
    """GELU by its tanh approximation."""
    return np.asarray(0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))))


def sigmoid(x: Array) -> Array:
    """The logistic."""
    return np.asarray(1 / (1 + np.exp(-x)))


def silu(x: Array) -> Array:
    """x times its logistic."""
    with np.errstate(over="ignore"):  # the quotient is 0 there
        return np.asarray(x / (1 + np.exp(-x)))


ACTIVATIONS = {"relu": relu, "gelu": gelu, "gelu_tanh": gelu_tanh, "silu": silu}
"""By the name an operator's ``activation`` has; "" is none."""


@cache
def _sampled(name: str) -> tuple[Array, Array]:
    grid = np.linspace(-_REACH, _REACH, _GRID)
    return grid, ACTIVATIONS[name](grid)


def activate(x: Array, activation: str) -> Array:
    """An activation of float32 values; curves are interpolated on a grid so fine that float32 does not show it."""
    if activation == "":
        return x
    if activation == "relu":
        return relu(x)
    inside = np.interp(x, *_sampled(activation))
    if activation == "silu":
        return np.where(np.abs(x) < _REACH, inside, silu(np.clip(x, -700, None))).astype(np.float32)
    return np.where(x < _REACH, inside, x).astype(np.float32)
