"""Convolutional networks other people write: residual sums, squeeze and excite, pyramids, curves of all kinds."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Residual(nn.Module):
    """A ResNet's stem with its max pool, two blocks, the second with a strided shortcut, and pixels repeated back."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.norm = nn.Conv2d(3, 12, 7, 2, 3, bias=False), nn.BatchNorm2d(12)
        self.first = nn.Sequential(nn.Conv2d(12, 12, 3, padding=1), nn.ReLU(), nn.Conv2d(12, 12, 3, padding=1))
        self.second = nn.Sequential(nn.Conv2d(12, 20, 3, 2, 1), nn.ReLU(), nn.Conv2d(20, 20, 3, padding=1))
        self.shortcut, self.head = nn.Conv2d(12, 20, 1, 2), nn.Conv2d(20, 4, 3, padding=1)

    def forward(self, image: Tensor) -> Tensor:
        x = F.max_pool2d(F.relu(self.norm(self.stem(image))), 3, 2, 1)
        x = F.relu(self.first(x) + x)
        x = F.relu(self.shortcut(x) + self.second(x))
        return self.head(F.interpolate(x, scale_factor=4, mode="nearest"))


class Mobile(nn.Module):
    """MobileNet blocks: depthwise of both sizes, squeeze and excite, bounded activations, a linear bottleneck."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.Hardswish())
        wide = (nn.Conv2d(8, 36, 1), nn.Hardswish(), nn.Conv2d(36, 36, 5, 1, 2, groups=36), nn.Hardswish())
        self.wide, self.narrow = nn.Sequential(*wide), nn.Conv2d(36, 8, 1)
        self.squeeze, self.excite = nn.Conv2d(36, 9, 1), nn.Conv2d(9, 36, 1)
        depthwise = (nn.Conv2d(8, 24, 1), nn.ReLU6(), nn.Conv2d(24, 24, 3, 2, 1, groups=24), nn.ReLU6())
        self.tail = nn.Sequential(*depthwise, nn.Conv2d(24, 16, 1), nn.Sigmoid(), nn.Conv2d(16, 16, 3, padding=1))
        self.head = nn.Linear(16, 7)

    def forward(self, image: Tensor) -> Tensor:
        x = self.stem(image)
        wide = self.wide(x)
        gate = F.hardsigmoid(self.excite(F.relu(self.squeeze(F.adaptive_avg_pool2d(wide, 1)))))
        x = x + self.narrow(wide * gate)
        return self.head(F.mish(self.tail(x)).mean((2, 3)))


class Pyramid(nn.Module):
    """An encoder and decoder with skips: transposed convolutions, concatenations, resizes, an average pool."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 12, 3, 2, 1)
        self.third = nn.Conv2d(12, 16, 3, 2, 1)
        self.up, self.larger = nn.ConvTranspose2d(16, 10, 2, 2), nn.ConvTranspose2d(22, 8, 4, 2, 1)
        self.odd, self.head = nn.ConvTranspose2d(16, 6, 3, 2, 1), nn.Conv2d(22, 3, 3, padding=1)

    def forward(self, image: Tensor) -> Tensor:
        first = F.relu(self.first(image))
        second = torch.tanh(self.second(first))
        third = F.silu(self.third(second))
        x = torch.cat([F.relu(self.up(third)), second], 1)
        x = torch.cat([self.larger(x), first], 1)
        odd = F.interpolate(self.odd(F.avg_pool2d(x, 3, 2, 1)), size=x.shape[2:], mode="bilinear", align_corners=True)
        return self.head(torch.cat([x, odd], 1))


class Curves(nn.Module):
    """Functions of single elements behind sums, where no layer takes them along, and a scale for each channel."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Conv2d(3, 10, 3, padding=1) for _ in range(2))
        self.slope, self.scale = nn.PReLU(10), nn.Parameter(torch.linspace(0.5, 1.5, 10).view(1, 10, 1, 1))
        self.head = nn.Conv2d(10, 3, 3, padding=1)

    def forward(self, image: Tensor) -> Tensor:
        first, second = (layer(image) for layer in self.layers)
        x = self.slope(first + second) * self.scale + self.scale
        x = F.leaky_relu(F.elu(x) + first, 0.1)
        return self.head(F.gelu(x * second) + F.softsign(second).clamp(-0.4, 0.5))


VISION_NETS: dict[str, Callable[[], nn.Module]] = {
    "residual": Residual,
    "mobile": Mobile,
    "pyramid": Pyramid,
    "curves": Curves,
}
