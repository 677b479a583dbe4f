"""Exports a row's network to ExecuTorch with all that XNNPACK takes, in ExecuTorch's interpreter.

``python -m benchmarks.executorch_export DESCRIPTION.json TARGET.pte``
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import torch
from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
from executorch.exir import to_edge_transform_and_lower
from torch import Tensor, nn

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


def main(description: str, target: str) -> None:
    """Write the program."""
    network, image = Network(Path(description)).eval(), torch.zeros(read_shape(Path(description)))
    with torch.no_grad():
        exported = torch.export.export(network, (image,))
        program = to_edge_transform_and_lower(exported, partitioner=[XnnpackPartitioner()]).to_executorch()
    Path(target).write_bytes(program.buffer)


if __name__ == "__main__":
    main(*sys.argv[1:])
