"""One small trunk and heads, exported by torch one task at a time, as people do."""

import copy
import warnings
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional

SIZE, DIM, PATCH = 32, 32, 8
IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
HALVES = ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))


class Block(nn.Module):
    """A transformer block of four heads."""

    def __init__(self) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(DIM), nn.LayerNorm(DIM)
        self.qkv, self.proj = nn.Linear(DIM, 3 * DIM), nn.Linear(DIM, DIM)
        self.up, self.down = nn.Linear(DIM, 4 * DIM), nn.Linear(4 * DIM, DIM)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        batch, tokens, _ = x.shape
        parts = self.qkv(self.norm1(x)).reshape(batch, tokens, 3, 4, DIM // 4).permute(2, 0, 3, 1, 4)
        q, k, v = parts[0], parts[1], parts[2]
        shares = ((q @ k.transpose(-2, -1)) * (DIM // 4) ** -0.5).softmax(-1)
        x = x + self.proj((shares @ v).transpose(1, 2).reshape(batch, tokens, DIM))
        return x + self.down(functional.gelu(self.up(self.norm2(x))))


class Trunk(nn.Module):
    """Tokens [N, 16, DIM] of an image."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.patch = nn.Conv2d(3, DIM, PATCH, PATCH)
        self.position = nn.Parameter(torch.randn(1, (SIZE // PATCH) ** 2, DIM) * 0.1)
        self.blocks = nn.Sequential(Block(), Block())
        self.norm = nn.LayerNorm(DIM)
        for module in self.modules():
            if isinstance(module, nn.LayerNorm):
                nn.init.normal_(module.weight, 1, 0.1)
                nn.init.normal_(module.bias, 0, 0.1)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self.norm(self.blocks(self.patch(image).flatten(2).transpose(1, 2) + self.position))


class Net(nn.Module):
    """A trunk and a head that gives a map; with ``normal`` the image is normalised first."""

    def __init__(self, trunk: Trunk, channels: int, normal: tuple[tuple[float, ...], ...] | None = None) -> None:
        super().__init__()
        torch.manual_seed(channels)
        self.trunk, self.head = trunk, nn.Conv2d(DIM, channels, 1)
        self.normal = normal
        for name, numbers in zip(("mean", "std"), normal or ((), ()), strict=True):
            self.register_buffer(name, torch.tensor(numbers).reshape(1, -1, 1, 1))

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        if self.normal is not None:
            image = (image - self.mean) / self.std
        tokens = self.trunk(image).transpose(1, 2)
        maps = self.head(tokens.reshape(tokens.shape[0], DIM, SIZE // PATCH, SIZE // PATCH))
        return functional.interpolate(maps, scale_factor=PATCH, mode="bilinear")


def fine_tuned(trunk: Trunk) -> Trunk:
    """The trunk with other weights in the last block's MLP."""
    torch.manual_seed(5)
    copied = copy.deepcopy(trunk)
    with torch.no_grad():
        for layer in (copied.blocks[1].up, copied.blocks[1].down):
            layer.weight += 0.02 * layer.weight.abs().mean() * torch.randn_like(layer.weight)
    return copied


def adapted(trunk: Trunk) -> Trunk:
    """The trunk with LoRA of rank 2 merged into the queries and values of both blocks."""
    torch.manual_seed(6)
    copied = copy.deepcopy(trunk)
    with torch.no_grad():
        for block in copied.blocks:
            for rows in (slice(0, DIM), slice(2 * DIM, 3 * DIM)):
                block.qkv.weight[rows] += 0.01 * torch.randn(DIM, 2) @ torch.randn(2, DIM)
    return copied


def export(net: nn.Module, path: Path, *, opset: int = 17, is_open: bool = False, dynamo: bool = False) -> Path:
    """``net`` as an ONNX file whose output is called "output" whatever the task; with ``is_open`` for any batch."""
    axes = {"image": {0: "N"}, "output": {0: "N"}} if is_open else None
    named = {"input_names": ["image"], "output_names": ["output"], "opset_version": opset, "dynamic_axes": axes}
    more = {"verbose": False, "external_data": False} if dynamo else {}
    with warnings.catch_warnings():
        # Most files that people have are from the older exporter; torch warns of it.
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.onnx.export(net.eval(), (torch.zeros(1, 3, SIZE, SIZE),), str(path), dynamo=dynamo, **named, **more)
    return path
