"""Attention over q, k and v that lie side by side in one row of each token."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from edgemtl.hw import law
from edgemtl.operators.operator import Array, Operator, Signature, Values, activation, float32, int8


@dataclass(frozen=True)
class Attention(Operator):
    """softmax(scale Q K^T) V per head: packed QKV [tokens, 3 heads head_dim] to [tokens, heads head_dim]."""

    tokens: int
    heads: int
    head_dim: int
    scale: float

    @property
    def signature(self) -> Signature:
        width = self.heads * self.head_dim
        return Signature({"qkv": float32(self.tokens, 3 * width)}, {"y": float32(self.tokens, width)})

    @property
    def macs(self) -> int:
        return 2 * self.heads * self.tokens**2 * self.head_dim

    def compute(self, values: Values) -> tuple[Array, ...]:
        split = values["qkv"].reshape(self.tokens, 3, self.heads, self.head_dim)
        q, k, v = (split[:, i].transpose(1, 0, 2) for i in range(3))
        scores = values.multiply(q, k.transpose(0, 2, 1)) * np.float32(self.scale)
        weights = np.exp(scores - scores.max(-1, keepdims=True))
        y = values.multiply(weights, v) / weights.sum(-1, keepdims=True)
        return (np.ascontiguousarray(y.transpose(1, 0, 2)).reshape(self.tokens, -1),)

    @property
    def parts(self) -> tuple[str, ...]:
        return ("q", "k", "v")

    def part(self, name: str, values: Values) -> Array:
        return np.split(values["qkv"], 3, axis=-1)[self.parts.index(name)]


@dataclass(frozen=True)
class QAttention(Operator):
    """`law.attention`: packed q, k, v int8 [tokens, 3 heads head_dim] to int8 [tokens, heads head_dim].

    Where it is ``wide`` it gives int16 of 12 bits.
    """

    tokens: int
    heads: int
    head_dim: int
    score_shift: int
    mul: int
    shift: int
    wide: bool = False

    @property
    def signature(self) -> Signature:
        width = self.heads * self.head_dim
        return Signature({"qkv": int8(self.tokens, 3 * width)}, {"y": activation(self.wide, self.tokens, width)})

    @property
    def macs(self) -> int:
        return 2 * self.heads * self.tokens**2 * self.head_dim

    def compute(self, values: Values) -> tuple[Array, ...]:
        return (law.attention(values["qkv"], self.heads, self.score_shift, self.mul, self.shift, self.wide),)
