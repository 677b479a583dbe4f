"""Exports a row's network to ExecuTorch with all that XNNPACK takes, in ExecuTorch's interpreter.

``python -m benchmarks.executorch_export DESCRIPTION.json TARGET.pte [FOLDER]``; with a FOLDER of calibration images
(.npy) in int8, static and per channel.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
from executorch.backends.xnnpack.quantizer.xnnpack_quantizer import (
    XNNPACKQuantizer,
    get_symmetric_quantization_config,
)
from executorch.exir import to_edge_transform_and_lower
from torch import Tensor, nn
from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e

from benchmarks.torch_network import read_network, read_shape
from edgemtl.exporters.models.moe import ACTIVATIONS, MoE


class Network(nn.Module):
    """The network of a row with every expert over every token: ExecuTorch's shapes are static."""

    def __init__(self, description: Path) -> None:
        super().__init__()
        self.model, self.run = read_network(description)
        for module in self.model.modules():
            if isinstance(module, MoE):
                module.compute = dense_experts

    def forward(self, image: Tensor) -> Any:
        return self.run(image)


def dense_experts(
    x: Tensor, logits: Tensor, w1: Tensor, b1: Tensor, w2: Tensor, b2: Tensor, k: int, threshold: float, *others: object
) -> Tensor:
    """`moe_forward` for a gate without a threshold, a window or a sum; topk in place of its stable sort."""
    if threshold or any(others):
        raise ValueError("the gate must be a softmax and its k largest; windows, sums and thresholds are not written")
    scores, experts = torch.topk(logits.softmax(-1), k, dim=-1)
    gate = torch.zeros_like(logits).scatter(1, experts, scores)
    hidden = ACTIVATIONS["gelu"](torch.baddbmm(b1[:, None], x.expand(len(w1), *x.shape), w1))
    return (torch.baddbmm(b2[:, None], hidden, w2) * gate.t()[:, :, None]).sum(0)


def quantised(network: nn.Module, images: list[Tensor]) -> nn.Module:
    """The network with quantisation written into it, calibrated on the images."""
    quantiser = XNNPACKQuantizer().set_global(get_symmetric_quantization_config(is_per_channel=True))
    prepared = prepare_pt2e(torch.export.export(network, (images[0],)).module(), quantiser)
    for image in images:
        prepared(image)
    return convert_pt2e(prepared)  # type: ignore[no-any-return]  # torchao has no types


def main(description: str, target: str, *calibration: str) -> None:
    """Write the program."""
    network: nn.Module = Network(Path(description)).eval()
    images = [torch.from_numpy(np.load(path)) for folder in calibration for path in sorted(Path(folder).glob("*.npy"))]
    with torch.no_grad():
        if images:
            network = quantised(network, images)
        image = images[0] if images else torch.zeros(read_shape(Path(description)))
        exported = torch.export.export(network, (image,))
        program = to_edge_transform_and_lower(exported, partitioner=[XnnpackPartitioner()]).to_executorch()
    Path(target).write_bytes(program.buffer)


if __name__ == "__main__":
    main(*sys.argv[1:])
