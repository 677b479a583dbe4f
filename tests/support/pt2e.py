"""Networks that PyTorch's own pt2e flow quantises, after training or while it: python -m tests.support.pt2e HOW FILE.

A process of its own makes each file, since importing torchao warns and registers types in torch.
"""

import subprocess
import sys
from pathlib import Path

import torch
from torch import nn

from tests.support.quantised import SIZES, images

HOWS = ("after training", "while training")


class Normalised(nn.Module):
    """Convolutions with BatchNorm, a sum and a mean: what quantisation-aware training folds."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Sequential(nn.Conv2d(3, 16, 3, 2, 1), nn.BatchNorm2d(16), nn.ReLU())
        self.second = nn.Sequential(nn.Conv2d(16, 16, 3, 1, 1), nn.BatchNorm2d(16), nn.ReLU())
        self.third, self.head = nn.Conv2d(16, 32, 3, 2, 1), nn.Linear(32, 10)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        x = self.first(image)
        x = torch.relu(self.third(x + self.second(x)))
        return self.head(x.mean((2, 3)))


def make(how: str, path: Path) -> None:
    """Write the file, in a process of its own."""
    subprocess.run([sys.executable, "-W", "ignore", "-m", __name__, how, str(path)], check=True, capture_output=True)


def main(how: str, path: str) -> None:
    """Write the quantised network as PyTorch exports it."""
    from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e, prepare_qat_pt2e
    from torchao.quantization.pt2e.quantizer import x86_inductor_quantizer as x86

    torch.manual_seed(0)
    trains = how == "while training"
    quantiser = x86.X86InductorQuantizer()
    quantiser.set_global(x86.get_default_x86_inductor_quantization_config(is_qat=trains))
    network = Normalised().train(trains)
    # Two images, so that BatchNorm has a deviation; the number stays open for the one image of the file.
    sample = (torch.zeros(2, *SIZES[1:]),)
    batch = {"image": {0: torch.export.Dim("batch", min=1, max=64)}}
    exported = torch.export.export(network, sample, dynamic_shapes=batch).module()
    prepared = (prepare_qat_pt2e if trains else prepare_pt2e)(exported, quantiser)
    frames = [torch.from_numpy(image) for image in images(16, 1)]
    optimiser = torch.optim.SGD(prepared.parameters(), 1e-2)
    for pair in zip(frames[::2], frames[1::2], strict=True):
        loss = prepared(torch.cat(pair)).square().mean()
        if trains:
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
    quantised = convert_pt2e(prepared)
    torch.onnx.export(quantised, (frames[0],), path, dynamo=True, input_names=["image"], output_names=["classes"])


if __name__ == "__main__":
    main(*sys.argv[1:])
