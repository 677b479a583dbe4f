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
    result: Array = 0.5 * v * (1 + erf(v / math.sqrt(2)))
    return result


def gelu_tanh(v: Array) -> Array:
    """The tanh approximation of `gelu` (arXiv 1606.08415)."""
    inner: Array = math.sqrt(2 / math.pi) * (v + 0.044715 * v**3)
    return 0.5 * v * (1 + np.tanh(inner))


def relu(v: Array) -> Array:
    """max(x, 0)."""
    positive: Array = np.maximum(v, 0)
    return positive


def silu(v: Array) -> Array:
    """x times the logistic function of x."""
    exponential: Array = np.exp(-v)
    return v / (1 + exponential)


ACTIVATIONS: dict[str, Callable[[Array], Array]] = {
    "gelu": gelu,
    "gelu_tanh": gelu_tanh,
    "relu": relu,
    "silu": silu,
}
