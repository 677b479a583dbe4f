"""The activations of experts in double precision."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

erf: Callable[[Array], Array] = np.vectorize(math.erf, otypes=[np.float64])


def gelu(v: Array) -> Array:
    """x times the normal distribution function of x."""
    share: Array = 0.5 * (1 + erf(v / math.sqrt(2)))
    return v * share


def gelu_tanh(v: Array) -> Array:
    """The tanh approximation of `gelu` (arXiv 1606.08415)."""
    share: Array = 0.5 * (1 + np.tanh(math.sqrt(2 / math.pi) * (v + 0.044715 * v**3)))
    return v * share


def relu(v: Array) -> Array:
    """max(x, 0)."""
    positive: Array = np.maximum(v, 0)
    return positive


def silu(v: Array) -> Array:
    """x times the logistic function of x."""
    share: Array = 0.5 * (1 + np.tanh(v / 2))
    return v * share


ACTIVATIONS: dict[str, Callable[[Array], Array]] = {
    "gelu": gelu,
    "gelu_tanh": gelu_tanh,
    "relu": relu,
    "silu": silu,
}
