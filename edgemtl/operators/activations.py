"""The activations a layer may end in, in float64 and, sampled, in float32."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import cache

import numpy as np

from edgemtl.operators.operator import Array

_GRID = 65_537
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


def mish(x: Array) -> Array:
    """x tanh(log(1 + e^x))."""
    return np.asarray(x * np.tanh(np.logaddexp(0, x)))


def hard_sigmoid(x: Array) -> Array:
    """The line x / 6 + 1 / 2 between 0 and 1, as PyTorch has it; ONNX's own default is steeper."""
    return np.clip(x / 6 + 0.5, 0, 1)


def hard_swish(x: Array) -> Array:
    """x times its hard logistic."""
    return np.asarray(x * hard_sigmoid(x))


def relu6(x: Array) -> Array:
    """x, but at least 0 and at most 6."""
    return np.clip(x, 0, 6)


Function = Callable[[Array], Array]
ACTIVATIONS: Mapping[str, Function] = {
    "relu": relu,
    "relu6": relu6,
    "gelu": gelu,
    "gelu_tanh": gelu_tanh,
    "silu": silu,
    "mish": mish,
    "sigmoid": sigmoid,
    "tanh": np.tanh,
    "hard_sigmoid": hard_sigmoid,
    "hard_swish": hard_swish,
}
"""By the name an operator's ``activation`` has; "" is none."""

SATURATING = ("", "relu", "relu6")
"""Activations that saturation computes, where integers reach no further than the result did."""
REACH = {"gelu": 10.0, "gelu_tanh": 10.0, "silu": 20.0, "mish": 20.0, "sigmoid": 20.0, "tanh": 10.0}
"""Of curves: the magnitude from which on they are their limits. The others are lines and corners."""
LIMITS: Mapping[str, tuple[float, float | None]] = {"sigmoid": (0.0, 1.0), "tanh": (-1.0, 1.0)}
"""Of curves: the limit on the left, and on the right where that is not x itself."""


@cache
def _sampled(name: str) -> tuple[Array, Array]:
    grid = np.linspace(-REACH[name], REACH[name], _GRID)
    return grid, ACTIVATIONS[name](grid)


def activate(x: Array, activation: str) -> Array:
    """An activation of float32 values.

    Curves are interpolated on a grid so fine that float32 does not show it: numpy's own functions differ in their last
    bits from processor to processor.
    """
    if activation == "":
        return x
    if activation not in REACH:
        return np.asarray(ACTIVATIONS[activation](x), x.dtype)
    low, high = LIMITS.get(activation, (0.0, None))
    inside = np.interp(x, *_sampled(activation), left=low)
    return np.where(x < REACH[activation], inside, x if high is None else high).astype(np.float32)
