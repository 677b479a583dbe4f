"""What a kernel computes, by its sizes; no TVM here, so that lowering can speak of kernels without it.

Arrays are float32 and row-major, tokens [T, D]. An activation is "" (none), "relu", "gelu" (erf), "gelu_tanh" or
"silu".
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class LinearSpec:
    """Y [rows, n] = act(X [rows, k] W [k, n] + b [n]), plus R [rows, n] where ``residual``."""

    rows: int
    k: int
    n: int
    activation: str
    residual: bool


@dataclass(frozen=True)
class LayerNormSpec:
    """Y = (X - mean) / sqrt(variance + epsilon) * scale + shift over rows of ``dim``."""

    rows: int
    dim: int
    epsilon: float


@dataclass(frozen=True)
class AttentionSpec:
    """softmax(scale Q K^T) V per head: packed QKV [tokens, 3 heads head_dim] to [tokens, heads head_dim]."""

    tokens: int
    heads: int
    head_dim: int
    scale: float


@dataclass(frozen=True)
class PatchEmbedSpec:
    """Image NCHW to tokens [leading + patches, dim] plus a table of the same shape (positions and biases).

    The ``leading`` rows (a class token) are the table's alone.
    """

    channels: int
    height: int
    width: int
    patch: int
    dim: int
    leading: int


@dataclass(frozen=True)
class RouterSpec:
    """Logits [tokens, experts] to weights [tokens, k], slots [tokens, k], the token of each slot [tokens k] and the
    first slot of each candidate [candidates + 1].

    Probabilities are over all columns, the choice among ``candidates`` (columns, ascending), ties to the lowest.
    ``normalize`` divides the chosen probabilities by their sum; those below ``threshold`` become 0.
    """

    tokens: int
    experts: int
    top_k: int
    candidates: tuple[int, ...]
    normalize: bool
    threshold: float


@dataclass(frozen=True)
class ExpertSpec:
    """One linear layer of every expert over its own slots: Y[s] = act(X[s] W[e] + b[e]).

    Slots run in expert order. With ``gather`` slot s reads row token[s] of X [tokens, k], else row s of
    X [tokens top_k, k].
    """

    tokens: int
    top_k: int
    slots: int
    k: int
    n: int
    gather: bool
    activation: str


@dataclass(frozen=True)
class CombineSpec:
    """Y[t] = sum_j weights[t, j] X[slots[t, j]], plus R[t] where ``residual``; X [tokens top_k, dim]."""

    tokens: int
    top_k: int
    dim: int
    residual: bool


@dataclass(frozen=True)
class CopySpec:
    """Copy elements between two strided views of one shape; strides count elements."""

    shape: tuple[int, ...]
    source_strides: tuple[int, ...]
    target_strides: tuple[int, ...]
