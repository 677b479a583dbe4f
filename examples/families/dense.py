"""Dense multi-head networks: one trunk and a head for each task, nothing routed."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from examples.families.family import IMAGE, Family, picture
from examples.families.parts import DIM, Block, Patches, drawn, many


def convolve(inputs: int, outputs: int, kernel: int = 3, stride: int = 1, groups: int = 1) -> nn.Sequential:
    """Convolution, batch norm, SiLU."""
    convolution = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(outputs), nn.SiLU())


class CrossStage(nn.Module):
    """The cross-stage block of YOLO trunks: half of the channels pass a bottleneck with a residual."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.left, self.right = convolve(width, width // 2, 1), convolve(width, width // 2, 1)
        self.inner = nn.Sequential(convolve(width // 2, width // 2, 1), convolve(width // 2, width // 2))
        self.join = convolve(width, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        left = self.left(x)
        return self.join(torch.cat([left + self.inner(left), self.right(x)], 1))


class DrivingNet(nn.Module):
    """YOLOP and HybridNets: one trunk with spatial pyramid pooling, detection, drivable area and lane lines."""

    def __init__(self, width: int = 24) -> None:
        super().__init__()
        self.stem, self.down2 = (
            convolve(3, width, 3, 2),
            nn.Sequential(convolve(width, 2 * width, 3, 2), CrossStage(2 * width)),
        )
        self.down3 = nn.Sequential(convolve(2 * width, 4 * width, 3, 2), CrossStage(4 * width))
        self.reduce, self.expand = convolve(4 * width, 2 * width, 1), convolve(8 * width, 4 * width, 1)
        self.join, self.detect = CrossStage(6 * width), nn.Conv2d(6 * width, 3 * 6, 1)
        self.area, self.lanes = self._decoder(6 * width, width), self._decoder(6 * width, width)

    @staticmethod
    def _decoder(inputs: int, width: int) -> nn.Module:
        steps: list[nn.Module] = []
        for channels in (2 * width, width):
            steps += [convolve(inputs, channels), nn.Upsample(scale_factor=2, mode="nearest")]
            inputs = channels
        return nn.Sequential(*steps, nn.Conv2d(width, 2, 3, padding=1))

    def pyramid(self, x: Tensor) -> Tensor:
        x = self.reduce(x)
        pools = [F.max_pool2d(x, size, 1, size // 2) for size in (5, 9, 13)]
        return self.expand(torch.cat([x, *pools], 1))

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        fine = self.down2(self.stem(image))
        coarse = self.pyramid(self.down3(fine))
        joined = self.join(torch.cat([F.interpolate(coarse, scale_factor=2, mode="nearest"), fine], 1))
        return torch.sigmoid(self.detect(joined)), self.area(joined), self.lanes(joined)


class Fusion(nn.Module):
    """DPT's fusion: residual convolution units, then twice the size."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.units = many(
            2,
            lambda: nn.Sequential(
                nn.ReLU(), nn.Conv2d(width, width, 3, padding=1), nn.ReLU(), nn.Conv2d(width, width, 3, padding=1)
            ),
        )
        self.out = nn.Conv2d(width, width, 1)

    def forward(self, x: Tensor, skip: Tensor | None = None) -> Tensor:
        if skip is not None:
            x = x + skip + self.units[0](skip)
        x = x + self.units[1](x)
        return self.out(F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=True))


class DensePrediction(nn.Module):
    """DPT: tokens of several depths become maps of several sizes, fused from coarse to fine; depth and classes."""

    def __init__(self, width: int = 32, outputs: tuple[int, ...] = (1, 13)) -> None:
        super().__init__()
        self.patches, self.blocks = Patches(IMAGE), many(3, Block)
        self.project = many(3, lambda: nn.Conv2d(DIM, width, 1))
        self.resize = nn.ModuleList(
            [nn.ConvTranspose2d(width, width, 2, 2), nn.Identity(), nn.Conv2d(width, width, 3, 2, 1)]
        )
        self.fuse = many(3, lambda: Fusion(width))
        self.heads = nn.ModuleList([self._head(width, channels) for channels in outputs])

    @staticmethod
    def _head(width: int, channels: int) -> nn.Module:
        up = nn.Upsample(scale_factor=2, mode="bilinear", align_corners=True)
        return nn.Sequential(nn.Conv2d(width, 16, 3, padding=1), up, nn.ReLU(), nn.Conv2d(16, channels, 1))

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        tokens, maps = self.patches(image), []
        for block, project, resize in zip(self.blocks, self.project, self.resize, strict=True):
            tokens = block(tokens)
            maps.append(resize(project(self.patches.to_map(tokens))))
        fine, middle, coarse = maps
        fused = self.fuse[2](self.fuse[1](self.fuse[0](coarse), middle), fine)
        return F.relu(self.heads[0](fused)), self.heads[1](fused)


class ReducedAttention(nn.Module):
    """SegFormer's attention: keys and values come from a map reduced by a strided convolution."""

    def __init__(self, dim: int, heads: int, reduction: int) -> None:
        super().__init__()
        self.heads, self.q, self.kv, self.out = heads, nn.Linear(dim, dim), nn.Linear(dim, 2 * dim), nn.Linear(dim, dim)
        self.reduce, self.norm = nn.Conv2d(dim, dim, reduction, reduction), nn.LayerNorm(dim)

    def forward(self, x: Tensor, grid: tuple[int, int]) -> Tensor:
        small = self.norm(self.reduce(x.transpose(1, 2).reshape(1, -1, *grid)).flatten(2).transpose(1, 2))
        q = self.q(x).unflatten(-1, (self.heads, -1)).transpose(1, 2)
        k, v = self.kv(small).unflatten(-1, (2, self.heads, -1)).permute(2, 0, 3, 1, 4)
        return self.out(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))


class Stage(nn.Module):
    """Overlapping patches, then one block with reduced attention and a depthwise convolution inside its MLP."""

    def __init__(self, inputs: int, dim: int, stride: int, reduction: int, heads: int) -> None:
        super().__init__()
        kernel = 2 * stride - 1
        self.embed, self.norms = nn.Conv2d(inputs, dim, kernel, stride, kernel // 2), many(3, lambda: nn.LayerNorm(dim))
        self.attention = ReducedAttention(dim, heads, reduction)
        self.first, self.second = nn.Linear(dim, 4 * dim), nn.Linear(4 * dim, dim)
        self.depthwise = nn.Conv2d(4 * dim, 4 * dim, 3, padding=1, groups=4 * dim)

    def forward(self, image: Tensor) -> Tensor:
        embedded = self.embed(image)
        grid = (embedded.shape[2], embedded.shape[3])
        x = self.norms[0](embedded.flatten(2).transpose(1, 2))
        x = x + self.attention(self.norms[1](x), grid)
        inner = self.first(self.norms[2](x)).transpose(1, 2).unflatten(2, grid)
        x = x + self.second(F.gelu(self.depthwise(inner).flatten(2).transpose(1, 2)))
        return x.transpose(1, 2).unflatten(2, grid)


class SegFormer(nn.Module):
    """SegFormer: a pyramid of such stages and a decoder of linear layers; here with two decoders."""

    def __init__(
        self, dims: tuple[int, ...] = (32, 64, 96), width: int = 64, outputs: tuple[int, ...] = (13, 1)
    ) -> None:
        super().__init__()
        inputs, strides, reductions, heads = (3, *dims[:-1]), (4, 2, 2), (4, 2, 1), (1, 2, 3)
        self.stages = nn.ModuleList(
            [Stage(*each) for each in zip(inputs, dims, strides, reductions, heads, strict=True)]
        )
        self.decoders = nn.ModuleList([self._decoder(dims, width, channels) for channels in outputs])

    @staticmethod
    def _decoder(dims: tuple[int, ...], width: int, outputs: int) -> nn.ModuleDict:
        linear = nn.ModuleList([nn.Conv2d(dim, width, 1) for dim in dims])
        fuse = nn.Sequential(nn.Conv2d(len(dims) * width, width, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU())
        return nn.ModuleDict({"linear": linear, "fuse": fuse, "predict": nn.Conv2d(width, outputs, 1)})

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        maps: list[Tensor] = []
        for stage in self.stages:
            maps.append(stage(maps[-1] if maps else image))
        return tuple(self.decode(decoder, maps) for decoder in self.decoders)

    @staticmethod
    def decode(decoder: nn.ModuleDict, maps: list[Tensor]) -> Tensor:
        size = maps[0].shape[2:]
        aligned = [
            F.interpolate(linear(x), size=size, mode="bilinear")
            for linear, x in zip(decoder["linear"], maps, strict=True)
        ]
        return F.interpolate(
            decoder["predict"](decoder["fuse"](torch.cat(aligned, 1))), scale_factor=4, mode="bilinear"
        )


class LayerScaleBlock(Block):
    """A block of DINOv2: layer scale behind the attention and behind the MLP."""

    def __init__(self) -> None:
        super().__init__()
        self.scale1, self.scale2 = drawn(DIM), drawn(DIM)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attention(self.norm1(x)) * self.scale1
        return x + self.mlp(self.norm2(x)) * self.scale2


class Dino(nn.Module):
    """DINOv2 with heads: class token and registers; a linear map of classes, a depth map, classes of the image."""

    def __init__(self, registers: int = 4) -> None:
        super().__init__()
        self.patches, self.blocks, self.norm = Patches(IMAGE), many(2, LayerScaleBlock), nn.LayerNorm(DIM)
        self.extra, self.count = drawn(1, 1 + registers, DIM, scale=0.3), 1 + registers
        self.segment, self.depth = nn.Conv2d(DIM, 13, 1), nn.Conv2d(2 * DIM, 1, 1)
        self.classify = nn.Linear(2 * DIM, 20)

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        x = torch.cat([self.extra, self.patches(image)], 1)
        for block in self.blocks:
            x = block(x)
        x = self.norm(x)
        token, features = x[:, 0], self.patches.to_map(x[:, self.count :])
        wide = torch.cat([features, token[:, :, None, None].expand_as(features)], 1)
        up = {"scale_factor": 4, "mode": "bilinear", "align_corners": False}
        classes = self.classify(torch.cat([token, x[:, self.count :].mean(1)], -1))
        return F.interpolate(self.segment(features), **up), F.interpolate(self.depth(wide), **up).relu(), classes


class UNet(nn.Module):
    """UNet: skips between a path down and, for each of two tasks, a path up."""

    def __init__(self, width: int = 16, outputs: tuple[int, ...] = (13, 3)) -> None:
        super().__init__()
        widths = (width, 2 * width, 4 * width)
        self.down = nn.ModuleList([self._double(i, o) for i, o in zip((3, *widths[:-1]), widths, strict=True)])
        self.decoders = many(len(outputs), lambda: self._up(widths))
        self.heads = nn.ModuleList([nn.Conv2d(width, channels, 1) for channels in outputs])

    @staticmethod
    def _double(inputs: int, outputs: int) -> nn.Sequential:
        layers: list[nn.Module] = []
        for channels in (inputs, outputs):
            layers += [nn.Conv2d(channels, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU()]
        return nn.Sequential(*layers)

    def _up(self, widths: tuple[int, ...]) -> nn.ModuleList:
        pairs = list(zip(widths[:0:-1], widths[-2::-1], strict=True))
        return nn.ModuleList(
            [nn.ModuleList([nn.ConvTranspose2d(i, o, 2, 2), self._double(2 * o, o)]) for i, o in pairs]
        )

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        maps: list[Tensor] = []
        for index, stage in enumerate(self.down):
            maps.append(stage(F.max_pool2d(maps[-1], 2) if index else image))
        return tuple(head(self.climb(steps, maps)) for steps, head in zip(self.decoders, self.heads, strict=True))

    @staticmethod
    def climb(steps: nn.ModuleList, maps: list[Tensor]) -> Tensor:
        x = maps[-1]
        for step, skip in zip(steps, maps[-2::-1], strict=True):
            x = step[1](torch.cat([skip, step[0](x)], 1))
        return x


FAMILIES = (
    Family("yolop", "HybridNets / YOLOP", "none: three heads", DrivingNet, picture, ("objects", "area", "lanes")),
    Family("dpt", "DPT", "none: two heads", DensePrediction, picture, ("depth", "semseg")),
    Family("segformer", "SegFormer", "none: two decoders", SegFormer, picture, ("semseg", "depth")),
    Family("dinov2", "DINOv2 with heads", "none: three heads", Dino, picture, ("semseg", "depth", "classes")),
    Family("unet", "UNet", "none: two paths up", UNet, picture, ("semseg", "normals")),
)
