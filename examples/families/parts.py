"""Parts that several families share: transformer blocks, experts, gates."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

DIM, HEADS, HIDDEN, PATCH = 96, 4, 192, 8


def many(count: int, make: Callable[[], nn.Module]) -> nn.ModuleList:
    """So many modules made one by one."""
    return nn.ModuleList([make() for _ in range(count)])


def mlp(inputs: int = DIM, hidden: int = HIDDEN, outputs: int = DIM) -> nn.Sequential:
    """Two linear layers with a GELU between."""
    return nn.Sequential(nn.Linear(inputs, hidden), nn.GELU(), nn.Linear(hidden, outputs))


class Patches(nn.Module):
    """An image [1, C, H, W] to tokens [1, T, DIM] with learned positions."""

    def __init__(self, size: tuple[int, int], channels: int = 3, dim: int = DIM) -> None:
        super().__init__()
        self.grid = (size[0] // PATCH, size[1] // PATCH)
        self.project = nn.Conv2d(channels, dim, PATCH, PATCH)
        self.position = nn.Parameter(torch.randn(1, self.grid[0] * self.grid[1], dim) * 0.1)

    def forward(self, image: Tensor) -> Tensor:
        return self.project(image).flatten(2).transpose(1, 2) + self.position

    def to_map(self, tokens: Tensor) -> Tensor:
        """Tokens [1, T, C] as a map [1, C, h, w]."""
        return tokens.transpose(1, 2).reshape(1, -1, *self.grid)


class Attention(nn.Module):
    """Multi-head self-attention over tokens [1, T, dim]."""

    def __init__(self, dim: int = DIM, heads: int = HEADS) -> None:
        super().__init__()
        self.heads, self.qkv, self.out = heads, nn.Linear(dim, 3 * dim), nn.Linear(dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv(x).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        return self.out(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))


class Block(nn.Module):
    """A pre-norm transformer block."""

    def __init__(self, dim: int = DIM, heads: int = HEADS, hidden: int = HIDDEN) -> None:
        super().__init__()
        self.norm1, self.attention = nn.LayerNorm(dim), Attention(dim, heads)
        self.norm2, self.mlp = nn.LayerNorm(dim), mlp(dim, hidden, dim)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attention(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class Experts(nn.Module):
    """Two-layer experts with stacked weights; every expert runs on every token, weighed by a matrix of gates."""

    def __init__(self, count: int, dim: int = DIM, hidden: int = HIDDEN) -> None:
        super().__init__()
        self.w1, self.b1 = drawn(count, dim, hidden, scale=dim**-0.5), drawn(count, 1, hidden, scale=0.1)
        self.w2, self.b2 = drawn(count, hidden, dim, scale=hidden**-0.5), drawn(count, 1, dim, scale=0.1)

    def each(self, tokens: Tensor) -> Tensor:
        """``tokens`` [E or 1, T, dim] through the experts: [E, T, dim]."""
        return F.gelu(tokens @ self.w1 + self.b1) @ self.w2 + self.b2

    def forward(self, tokens: Tensor, gates: Tensor) -> Tensor:
        """tokens [1, T, dim], gates [1, T, E] -> [1, T, dim]."""
        return (self.each(tokens) * gates[0].t()[..., None]).sum(0, keepdim=True)


def drawn(*shape: int, scale: float = 1.0) -> nn.Parameter:
    """A parameter of normal random numbers."""
    return nn.Parameter(torch.randn(*shape) * scale)


def gate(inputs: int, experts: int) -> nn.Linear:
    """A router whose scores lie apart, as a trained one's do; a choice by a hair would differ in every precision."""
    linear = nn.Linear(inputs, experts, bias=False)
    nn.init.normal_(linear.weight, 0, 2 * inputs**-0.5)
    return linear


def scatter_top(scores: Tensor, count: int, normalise: bool = False) -> Tensor:
    """``scores`` [.., E] with all but the ``count`` greatest of a row set to zero."""
    values, chosen = scores.topk(count, -1)
    if normalise:
        values = values / (values.sum(-1, keepdim=True) + 1e-9)
    return torch.zeros_like(scores).scatter(-1, chosen, values)


class MapHead(nn.Module):
    """A dense prediction head: 3x3 convolution, norm, ReLU, 1x1 convolution, upsampling."""

    def __init__(self, channels: int, outputs: int, factor: int = 4) -> None:
        super().__init__()
        self.convolve, self.norm = nn.Conv2d(channels, channels, 3, padding=1, bias=False), nn.BatchNorm2d(channels)
        self.predict, self.factor = nn.Conv2d(channels, outputs, 1), factor

    def forward(self, x: Tensor) -> Tensor:
        y = self.predict(F.relu(self.norm(self.convolve(x))))
        return F.interpolate(y, scale_factor=self.factor, mode="bilinear", align_corners=False)
