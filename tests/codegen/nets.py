"""Plain networks other people write: vision transformers with every way of cutting q, k and v, and a CNN."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

DIM, HEADS, SIZE, PATCH = 24, 3, (16, 24), 8


class Separate(nn.Module):
    """A projection each for q, k and v; scores divided by the root of the width."""

    def __init__(self) -> None:
        super().__init__()
        self.q, self.v, self.out = nn.Linear(DIM, DIM), nn.Linear(DIM, DIM), nn.Linear(DIM, DIM)
        self.k = nn.Linear(DIM, DIM, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (f(x).view(1, -1, HEADS, DIM // HEADS).permute(0, 2, 1, 3) for f in (self.q, self.k, self.v))
        mixed = torch.softmax(q @ k.transpose(-1, -2) / (DIM // HEADS) ** 0.5, -1) @ v
        return self.out(mixed.permute(0, 2, 1, 3).reshape(x.shape))


class Chunked(nn.Module):
    """One projection cut in three along its columns; torch's own attention."""

    def __init__(self) -> None:
        super().__init__()
        self.qkv, self.out = nn.Linear(DIM, 3 * DIM), nn.Linear(DIM, DIM)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (t.unflatten(-1, (HEADS, -1)).transpose(1, 2) for t in self.qkv(x).chunk(3, -1))
        return self.out(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))


class Interleaved(nn.Module):
    """One projection with q, k and v of a head side by side; q scaled."""

    def __init__(self) -> None:
        super().__init__()
        self.qkv, self.out = nn.Linear(DIM, 3 * DIM), nn.Linear(DIM, DIM)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv(x).view(1, -1, HEADS, 3, DIM // HEADS).permute(3, 0, 2, 1, 4).unbind(0)
        mixed = ((q * (DIM // HEADS) ** -0.5) @ k.transpose(-1, -2)).softmax(-1) @ v
        return self.out(mixed.transpose(1, 2).reshape(x.shape))


class Torch(nn.Module):
    """torch's MultiheadAttention, which transposes tokens to the front and back."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.MultiheadAttention(DIM, HEADS, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.inner(x, x, x, need_weights=False)[0]


class Block(nn.Module):
    """Attention and MLP, the residual on either side of the sum."""

    def __init__(self, attention: nn.Module, activation: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.norm1, self.norm2, self.attention = nn.LayerNorm(DIM), nn.LayerNorm(DIM), attention
        self.up, self.down, self.activation = nn.Linear(DIM, 50), nn.Linear(50, DIM), activation

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attention(self.norm1(x))
        return self.down(self.activation(self.up(self.norm2(x)))) + x


class PlainViT(nn.Module):
    """Two blocks over 2 x 3 patches, with or without a class token, and a 1x1 head resized to the image."""

    def __init__(self, attention: type[nn.Module], activation: Callable[[Tensor], Tensor], token: bool) -> None:
        super().__init__()
        self.patch, self.token = nn.Conv2d(3, DIM, PATCH, PATCH), token
        self.cls, self.pos = nn.Parameter(torch.randn(1, 1, DIM)), nn.Parameter(torch.randn(1, 6 + token, DIM))
        self.blocks = nn.Sequential(*(Block(attention(), activation) for _ in range(2)))
        self.head = nn.Conv2d(DIM, 5, 1)

    def forward(self, image: Tensor) -> Tensor:
        x = self.patch(image).flatten(2).transpose(1, 2)
        x = self.blocks((torch.cat([self.cls, x], 1) if self.token else x) + self.pos)
        x = (x[:, 1:] if self.token else x).transpose(1, 2).reshape(1, DIM, 2, 3)
        return F.interpolate(self.head(x), size=SIZE, mode="bilinear")


class PlainCNN(nn.Module):
    """Strided, depthwise, pointwise and dilated convolutions, batch norms, one upsampling, a 3x3 head."""

    def __init__(self) -> None:
        super().__init__()
        stem = (nn.Conv2d(3, 12, 3, 2, 1), nn.BatchNorm2d(12), nn.SiLU())
        depthwise = (nn.Conv2d(12, 12, 3, 1, 1, groups=12), nn.ReLU(), nn.Conv2d(12, 20, 1), nn.GELU())
        self.body = nn.Sequential(*stem, *depthwise, nn.Conv2d(20, 20, 3, padding=2, dilation=2), nn.ReLU())
        self.head = nn.Conv2d(20, 1, 3, padding=1)

    def forward(self, image: Tensor) -> Tensor:
        return self.head(F.interpolate(self.body(image), scale_factor=2, mode="bilinear"))


NETS: dict[str, Callable[[], nn.Module]] = {
    "separate projections": lambda: PlainViT(Separate, F.gelu, token=False),
    "chunked projection, class token": lambda: PlainViT(Chunked, F.gelu, token=True),
    "interleaved heads, tanh GELU": lambda: PlainViT(Interleaved, lambda x: F.gelu(x, approximate="tanh"), token=False),
    "torch's attention, SiLU": lambda: PlainViT(Torch, F.silu, token=False),
    "CNN": PlainCNN,
}
