"""Compact networks of the vision transformer families, with random weights: what `benchmarks.shares` places on a board.

Each has the structure of the published network with few channels and two blocks: where its residuals, norms and tokens
are is what decides what runs on the accelerator.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

import torch
from torch import Tensor, nn
from torch.nn import functional as F

SIZE = 112
"""Pixels of a side of the image."""


class Attention(nn.Module):
    """Attention over all tokens, or of all tokens over fewer, which a strided convolution makes of them."""

    def __init__(self, dim: int, heads: int, side: int = 0, reduction: int = 1) -> None:
        super().__init__()
        self.heads, self.side, self.reduction = heads, side, reduction
        self.q, self.k, self.v, self.out = (nn.Linear(dim, dim) for _ in range(4))
        self.fewer, self.norm = nn.Conv2d(dim, dim, reduction, reduction), nn.LayerNorm(dim)

    def forward(self, x: Tensor) -> Tensor:
        """Tokens [1, T, dim] to the same."""
        seen = x
        if self.reduction > 1:
            image = x.transpose(1, 2).reshape(1, -1, self.side, self.side)
            seen = self.fewer(image).flatten(2).transpose(1, 2)
            seen = self.norm(seen)
        q, k, v = (
            layer(tokens).reshape(1, tokens.shape[1], self.heads, -1).transpose(1, 2)
            for layer, tokens in ((self.q, x), (self.k, seen), (self.v, seen))
        )
        y: Tensor = self.out(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))
        return y


class Block(nn.Module):
    """Attention and an MLP, each behind a norm and added to the tokens, scaled by channel if ``scaled``."""

    def __init__(self, dim: int, attention: nn.Module, mlp: nn.Module | None = None, scaled: bool = False) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.attention = attention
        self.mlp = mlp or nn.Sequential(nn.Linear(dim, 4 * dim), nn.GELU(), nn.Linear(4 * dim, dim))
        self.scaled = scaled
        self.scale1, self.scale2 = (nn.Parameter(0.1 + torch.rand(dim)) for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        """Tokens [1, T, dim] to the same."""
        attention = self.attention(self.norm1(x))
        x = x + (attention * self.scale1 if self.scaled else attention)
        mlp = self.mlp(self.norm2(x))
        y: Tensor = x + (mlp * self.scale2 if self.scaled else mlp)
        return y


class Encoder(nn.Module):
    """Patches with class and register tokens, and two blocks."""

    def __init__(self, dim: int, heads: int, patch: int, leading: int, scaled: bool = False) -> None:
        super().__init__()
        self.patch, self.leading = nn.Conv2d(3, dim, patch, patch), leading
        self.tokens = nn.Parameter(torch.randn(1, leading, dim))
        self.positions = nn.Parameter(torch.randn(1, (SIZE // patch) ** 2 + leading, dim))
        self.blocks = nn.ModuleList(Block(dim, Attention(dim, heads), scaled=scaled) for _ in range(2))

    def states(self, image: Tensor) -> list[Tensor]:
        """The tokens behind every block."""
        x = torch.cat([self.tokens, self.patch(image).flatten(2).transpose(1, 2)], 1) + self.positions
        states = []
        for block in self.blocks:
            x = block(x)
            states.append(x)
        return states


class ViT(Encoder):
    """ViT-tiny's width and heads: the class token's linear head."""

    def __init__(self) -> None:
        super().__init__(192, 3, 16, 1)
        self.norm, self.head = nn.LayerNorm(192), nn.Linear(192, 10)

    def forward(self, image: Tensor) -> Tensor:
        """Image to logits [1, 10]."""
        y: Tensor = self.head(self.norm(self.states(image)[-1])[:, 0])
        return y


class DinoV2(Encoder):
    """DINOv2 with registers: patches of 14 pixels, layer scale, and a linear map of every patch."""

    def __init__(self) -> None:
        super().__init__(96, 4, 14, 5, scaled=True)
        self.norm, self.head = nn.LayerNorm(96), nn.Linear(96, 6)

    def forward(self, image: Tensor) -> Tensor:
        """Image to a map [1, 6, 8, 8]."""
        x = self.head(self.norm(self.states(image)[-1][:, self.leading :]))
        y: Tensor = x.transpose(1, 2).unflatten(2, (8, 8))
        return y


class Dpt(Encoder):
    """DPT: the states of two blocks reassembled as images of two sizes, fused, and a head of 1 x 1."""

    def __init__(self) -> None:
        super().__init__(96, 3, 14, 1)
        self.read = nn.ModuleList(nn.Sequential(nn.Linear(192, 96), nn.GELU()) for _ in range(2))
        self.project = nn.ModuleList(nn.Conv2d(96, width, 1) for width in (32, 64))
        self.enlarge = nn.ConvTranspose2d(32, 32, 2, 2)
        self.fuse = nn.ModuleList(nn.Conv2d(width, 32, 1) for width in (32, 64))
        self.head = nn.Conv2d(32, 1, 1)

    def forward(self, image: Tensor) -> Tensor:
        """Image to a map [1, 1, 16, 16]."""
        maps = []
        for x, read, project in zip(self.states(image), self.read, self.project, strict=True):
            patches, first = x[:, 1:], x[:, :1]
            joined = read(torch.cat([patches, first.expand_as(patches)], -1))
            maps.append(project(joined.transpose(1, 2).unflatten(2, (8, 8))))
        fine, coarse = self.fuse[0](self.enlarge(maps[0])), self.fuse[1](maps[1])
        y: Tensor = self.head(fine + F.interpolate(coarse, scale_factor=2, mode="bilinear"))
        return y


class MixFfn(nn.Module):
    """SegFormer's MLP with a depthwise convolution in its middle."""

    def __init__(self, dim: int, side: int) -> None:
        super().__init__()
        self.side = side
        self.up, self.down = nn.Linear(dim, 4 * dim), nn.Linear(4 * dim, dim)
        self.mix = nn.Conv2d(4 * dim, 4 * dim, 3, 1, 1, groups=4 * dim)

    def forward(self, x: Tensor) -> Tensor:
        """Tokens [1, T, dim] to the same."""
        x = self.mix(self.up(x).transpose(1, 2).unflatten(2, (self.side, self.side)))
        y: Tensor = self.down(F.gelu(x.flatten(2).transpose(1, 2)))
        return y


class SegFormer(nn.Module):
    """Two stages with attention over fewer keys and a convolution in the MLP; the decoder of linear layers."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.ModuleList([nn.Conv2d(3, 32, 7, 7), nn.Conv2d(32, 64, 2, 2)])
        self.norms = nn.ModuleList(nn.LayerNorm(dim) for dim in (32, 64))
        self.blocks = nn.ModuleList(
            Block(dim, Attention(dim, heads, side, reduction), MixFfn(dim, side))
            for dim, heads, side, reduction in ((32, 1, 16, 4), (64, 2, 8, 2))
        )
        self.decode = nn.ModuleList(nn.Linear(dim, 128) for dim in (32, 64))
        self.fuse, self.head = nn.Conv2d(256, 128, 1), nn.Conv2d(128, 5, 1)

    def forward(self, image: Tensor) -> Tensor:
        """Image to a map [1, 5, 16, 16]."""
        maps, x, side = [], image, 32
        for embed, norm, block, decode in zip(self.embed, self.norms, self.blocks, self.decode, strict=True):
            side //= 2
            tokens = block(norm(embed(x).flatten(2).transpose(1, 2)))
            x = tokens.transpose(1, 2).unflatten(2, (side, side))
            decoded = decode(tokens).transpose(1, 2).unflatten(2, (side, side))
            maps.append(F.interpolate(decoded, size=(16, 16), mode="bilinear"))
        y: Tensor = self.head(F.relu(self.fuse(torch.cat(maps, 1))))
        return y


class Swin(nn.Module):
    """Windows of 7 x 7 tokens with a bias of position; patches merged by a linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.patch, self.head = nn.Conv2d(3, 64, 8, 8), nn.Linear(128, 10)
        self.norm1, self.norm2, self.norm3 = nn.LayerNorm(64), nn.LayerNorm(64), nn.LayerNorm(256)
        self.qkv, self.out = nn.Linear(64, 192), nn.Linear(64, 64)
        self.bias = nn.Parameter(torch.randn(2, 49, 49))
        self.mlp = nn.Sequential(nn.Linear(64, 256), nn.GELU(), nn.Linear(256, 64))
        self.merge = nn.Linear(256, 128, bias=False)

    def forward(self, image: Tensor) -> Tensor:
        """Image to logits [1, 10]."""
        x = self.patch(image).permute(0, 2, 3, 1)
        windows = self.norm1(x).reshape(1, 2, 7, 2, 7, 64).permute(0, 1, 3, 2, 4, 5).reshape(4, 49, 64)
        q, k, v = self.qkv(windows).reshape(4, 49, 3, 2, 32).permute(2, 0, 3, 1, 4).unbind(0)
        weights = (q * 32**-0.5 @ k.transpose(-1, -2) + self.bias).softmax(-1)
        mixed = self.out((weights @ v).transpose(1, 2).reshape(4, 49, 64))
        x = x + mixed.reshape(1, 2, 2, 7, 7, 64).permute(0, 1, 3, 2, 4, 5).reshape(1, 14, 14, 64)
        x = x + self.mlp(self.norm2(x))
        merged = torch.cat([x[:, i::2, j::2] for j in (0, 1) for i in (0, 1)], -1)
        y: Tensor = self.head(self.merge(self.norm3(merged)).mean((1, 2)))
        return y


FAMILIES: Mapping[str, Callable[[], nn.Module]] = MappingProxyType(
    {"ViT": ViT, "DINOv2 with registers": DinoV2, "DPT": Dpt, "SegFormer": SegFormer, "Swin": Swin}
)
"""By the name of the family."""
