"""Small networks that onnxruntime quantises: what users bring who have quantised before they compile."""

import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import torch
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
from torch import nn

SIZES = (1, 3, 32, 32)


class Residual(nn.Module):
    """Convolutions with sums, a stride, a projection and a mean, as ResNet has them."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 16, 3, 2, 1), nn.ReLU(), nn.MaxPool2d(2))
        self.first, self.second = nn.Conv2d(16, 16, 3, 1, 1), nn.Conv2d(16, 16, 3, 1, 1)
        self.third, self.fourth = nn.Conv2d(16, 24, 3, 2, 1), nn.Conv2d(24, 24, 3, 1, 1)
        self.project, self.head = nn.Conv2d(16, 24, 1, 2), nn.Linear(24, 10)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        x = self.stem(image)
        x = torch.relu(x + self.second(torch.relu(self.first(x))))
        x = torch.relu(self.project(x) + self.fourth(torch.relu(self.third(x))))
        return self.head(nn.functional.adaptive_avg_pool2d(x, 1).flatten(1))


class Depthwise(nn.Module):
    """Depthwise convolutions with ReLU6, a sum, HardSwish, as MobileNet has them."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.ReLU6())
        self.first, self.second = self._block(8, 8, 1), self._block(8, 16, 2)
        self.head = nn.Sequential(nn.Hardswish(), nn.Conv2d(16, 5, 1))

    @staticmethod
    def _block(width: int, out: int, stride: int) -> nn.Module:
        wide = 2 * width
        depthwise = nn.Conv2d(wide, wide, 3, stride, 1, groups=wide)
        return nn.Sequential(nn.Conv2d(width, wide, 1), nn.ReLU6(), depthwise, nn.ReLU6(), nn.Conv2d(wide, out, 1))

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        x = self.stem(image)
        return self.head(self.second(x + self.first(x)))


class Transformer(nn.Module):
    """Patches, LayerNorm, attention and GELU, as ViT has them."""

    def __init__(self, width: int = 32, heads: int = 2) -> None:
        super().__init__()
        self.heads = heads
        self.patches, self.positions = nn.Conv2d(3, width, 8, 8), nn.Parameter(torch.randn(1, 16, width) * 0.1)
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(3))
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        self.head = nn.Linear(width, 7)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        x = self.patches(image).flatten(2).transpose(1, 2) + self.positions
        x = x + self.out(self._attend(self.norms[0](x)))
        x = x + self.down(nn.functional.gelu(self.up(self.norms[1](x))))
        return self.head(self.norms[2](x))

    def _attend(self, x: torch.Tensor) -> torch.Tensor:
        width = x.shape[2] // self.heads
        q, k, v = self.qkv(x).reshape(1, 16, 3, self.heads, width).permute(2, 0, 3, 1, 4)
        weights = torch.softmax(q @ k.transpose(-1, -2) * width**-0.5, -1)
        return (weights @ v).transpose(1, 2).reshape(x.shape)


class TwoTasks(nn.Module):
    """A trunk with two heads."""

    def __init__(self) -> None:
        super().__init__()
        self.trunk = nn.Sequential(nn.Conv2d(3, 16, 3, 2, 1), nn.ReLU(), nn.Conv2d(16, 16, 3, 1, 1), nn.ReLU())
        self.classes = nn.Conv2d(16, 4, 1)
        self.depth = nn.Sequential(nn.Conv2d(16, 8, 3, 1, 1), nn.ReLU(), nn.Conv2d(8, 1, 1))

    def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        features = self.trunk(image)
        return self.classes(features), self.depth(features)


class Decoder(nn.Module):
    """Enlargements by a transposed convolution and a resize, joined with what was there before, as U-Net has them."""

    def __init__(self) -> None:
        super().__init__()
        self.down, self.inner = nn.Conv2d(3, 8, 3, 2, 1), nn.Conv2d(8, 8, 3, 2, 1)
        self.up, self.head = nn.ConvTranspose2d(8, 8, 4, 2, 1), nn.Conv2d(16, 3, 3, 1, 1)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        x = torch.relu(self.down(image))
        y = torch.cat([x, torch.relu(self.up(torch.relu(self.inner(x))))], 1)
        return self.head(nn.functional.interpolate(y, scale_factor=2, mode="nearest"))


NETS: dict[str, type[nn.Module]] = {
    "residual": Residual,
    "depthwise": Depthwise,
    "transformer": Transformer,
    "two tasks": TwoTasks,
    "decoder": Decoder,
}
S8, U8, U16 = QuantType.QInt8, QuantType.QUInt8, QuantType.QUInt16
WAYS: dict[str, dict[str, Any]] = {
    "int8": {},
    "int8 per channel": {"per_channel": True},
    "uint8 per channel": {"activation_type": U8, "per_channel": True},
    "symmetric": {"per_channel": True, "extra_options": {"ActivationSymmetric": True}},
    "symmetric uint8 weights": {
        "activation_type": U8,
        "weight_type": U8,
        "extra_options": {"WeightSymmetric": True},
    },
    "asymmetric weights": {"activation_type": U8, "weight_type": U8},
    "operators of integers": {"activation_type": U8, "per_channel": True, "quant_format": QuantFormat.QOperator},
    "16 bits": {"activation_type": U16, "extra_options": {"UseQDQContribOps": True}},
    "convolutions only": {"op_types_to_quantize": ["Conv"]},
}
"""Arguments of onnxruntime's static quantiser."""


def images(count: int, seed: int) -> list[np.ndarray]:
    """Noise."""
    rng = np.random.default_rng(seed)
    return [rng.standard_normal(SIZES).astype(np.float32) for _ in range(count)]


class _Reader(CalibrationDataReader):
    def __init__(self) -> None:
        self._feeds: Iterator[dict[str, np.ndarray]] = iter([{"image": image} for image in images(8, 1)])

    def get_next(self) -> dict[str, np.ndarray] | None:
        return next(self._feeds, None)


def export_float(net: str, path: Path) -> None:
    """A network of `NETS` with seeded weights."""
    torch.manual_seed(0)
    names = ["classes", "depth"] if net == "two tasks" else ["y"]
    args = {"input_names": ["image"], "output_names": names, "opset_version": 17, "dynamo": False}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter's own use of torch
        torch.onnx.export(NETS[net]().eval(), (torch.zeros(SIZES),), path, **args)


def quantise_file(source: Path, way: str, path: Path) -> None:
    """By onnxruntime in one of `WAYS`."""
    default = {"activation_type": S8, "weight_type": S8, "quant_format": QuantFormat.QDQ}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the quantiser's own use of numpy
        quantize_static(source, path, _Reader(), **{**default, **WAYS[way]})


def run_literally(path: Path, image: np.ndarray) -> dict[str, np.ndarray]:
    """What onnxruntime computes node by node: with its optimisations it differs from that by up to 3 LSB."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level, options.intra_op_num_threads = 3, 1
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return dict(
        zip([output.name for output in session.get_outputs()], session.run(None, {"image": image}), strict=True)
    )


def output_scales(path: Path) -> dict[str, float]:
    """The LSB of every output, by its name; 0 where the model does not quantise it."""
    graph = onnx.load(path).graph
    arrays = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in graph.initializer}
    last = {name: node for node in graph.node for name in node.output}
    scales = {}
    for output in graph.output:
        node = last[output.name]
        scales[output.name] = float(arrays[node.input[1]]) if node.op_type == "DequantizeLinear" else 0.0
    return scales
