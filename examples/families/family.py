"""What a family is to the tests and the table: a network, its inputs, and how it chooses what a task runs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

SEED = 7
IMAGE = (96, 96)
FEATURES = 256
"""Numbers in the input of a model of features, [1, FEATURES]."""
WORDS, LENGTH = 1000, 32
"""Words in the vocabulary of a model of text, and ids in its input, [1, LENGTH]."""


@dataclass(frozen=True)
class Family:
    """One model of the zoo.

    routing: how the network chooses what a task or a token runs, in a few words.  build: makes the network, whose
    outputs are ``outputs`` in order, one for each task.  inputs: names and values of its inputs.
    """

    name: str
    system: str
    routing: str
    build: Callable[[], nn.Module]
    inputs: Callable[[], dict[str, Tensor]]
    outputs: tuple[str, ...]

    def network(self) -> nn.Module:
        """The network with the same random parameters every time."""
        torch.manual_seed(SEED)
        return lively(self.build())

    def example(self, seed: int = SEED) -> dict[str, Tensor]:
        """Inputs drawn from a seed."""
        torch.manual_seed(seed)
        return self.inputs()


def lively(network: nn.Module) -> nn.Module:
    """The network with norms and running statistics drawn at random: a fresh norm would fold to nothing."""
    for part in network.modules():
        if isinstance(part, nn.BatchNorm1d | nn.BatchNorm2d):
            nn.init.uniform_(part.weight, 0.6, 1.4)
            nn.init.normal_(part.bias, 0, 0.1)
            nn.init.normal_(part.running_mean, 0, 0.2)
            nn.init.uniform_(part.running_var, 0.5, 1.5)
        elif isinstance(part, nn.LayerNorm | nn.GroupNorm):
            nn.init.uniform_(part.weight, 0.6, 1.4)
            nn.init.normal_(part.bias, 0, 0.1)
    return network.eval()


def export(family: Family, path: Path) -> nn.Module:
    """Write the family's network to ``path`` with torch's own exporter, and return the network."""
    network, inputs = family.network(), family.example()
    torch.onnx.export(
        network,
        tuple(inputs.values()),
        path,
        input_names=list(inputs),
        output_names=list(family.outputs),
        dynamo=True,
        external_data=False,
        verbose=False,
    )
    return network


def picture() -> dict[str, Tensor]:
    """A smooth random image: noise enlarged, as calibration by white noise would tell little about pictures."""
    coarse = torch.randn(1, 3, IMAGE[0] // 8, IMAGE[1] // 8)
    return {"image": nn.functional.interpolate(coarse, size=IMAGE, mode="bilinear") + 0.1 * torch.randn(1, 3, *IMAGE)}


def features() -> dict[str, Tensor]:
    """A row of numbers, as recommenders read."""
    return {"features": torch.randn(1, FEATURES)}


def words() -> dict[str, Tensor]:
    """The ids of a sentence."""
    return {"ids": torch.randint(0, WORDS, (1, LENGTH))}
