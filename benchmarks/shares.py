"""How much of models a board's accelerator runs: ``python -m benchmarks.shares [FOLDER ..]``.

Each folder has model.onnx, and in cal/ images for calibration, or none. Without folders, writes docs/shares.md for
compact networks of the vision transformer families.
"""

from __future__ import annotations

import argparse
import tempfile
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from benchmarks.vision_transformers import FAMILIES, SIZE
from edgemtl import frontend
from edgemtl.codegen.fpga.compile import compile_segments
from edgemtl.codegen.fpga.program import BoardProgram, BoardTask, SegmentCall
from edgemtl.errors import EdgemtlError
from edgemtl.hw.spec import read_spec
from edgemtl.lowering.ir import Step
from edgemtl.options import CheckOptions
from edgemtl.processor import resolve
from edgemtl.stages import BESIDE, calibration_images, choose_tasks, describe, make_integers, quiet, specialise

DOCUMENT = Path(__file__).parents[1] / "docs" / "shares.md"
BOARD = "zcu104"
IMAGES = 8
MOST_REASONS = 2
HEAD = """<!-- `python -m benchmarks.shares` writes this page. -->

# What the accelerator runs

Of compact networks of the vision transformer families, the share of multiply-accumulates that the accelerator of the
{board} runs, in integers. Each has the structure of the published network with random weights and few channels, which
makes the share of what stays larger than it is in the network itself. `edgemtl check --target {board}` says the same of
every node of your model, and why a node stays on the host CPU.

| network | accelerator | without convolutions | segments | what stays on the host CPU |
|---|---|---|---|---|
"""


@dataclass(frozen=True)
class Share:
    """MACs of a model's tasks on the accelerator, on the host CPU, and of these in convolutions.

    ``left``: MACs by the reasons why steps stay.
    """

    accelerator: int
    host: int
    convolutions: int
    segments: int
    left: Counter[str]

    @property
    def whole(self) -> float:
        """The accelerator's part of all MACs."""
        return self.accelerator / max(self.accelerator + self.host, 1)

    @property
    def rows(self) -> float:
        """The accelerator's part of all MACs but those of convolutions that stay."""
        return self.accelerator / max(self.accelerator + self.host - self.convolutions, 1)


def integer_steps(model: Path, calibration: Path | None, board: str) -> dict[str, tuple[Step, ...]]:
    """The integer steps of every task of an ONNX file."""
    options = CheckOptions(target=board, calibration=calibration)
    described = describe(frontend.read_model(model), options.model)
    tasks = specialise(described, choose_tasks(described, ()), options.pathway, {})
    asked = options.integers
    assert asked is not None, "integers need images for calibration"
    images = calibration_images(described, asked).arrays
    quantised = make_integers(described, tasks, resolve(BESIDE), asked, images, quiet)
    assert quantised is not None
    return {name: task.steps for name, task in quantised.integers.items()}


def share_of(program: BoardProgram) -> Share:
    """The shares of all tasks of a program together."""
    layers = [layer for task in program.tasks for segment in task.segments for layer in segment.layers]
    left = [pair for task in program.tasks for pair in _left(task)]
    reasons = Counter[str]()
    for step, reason in left:
        reasons[f"{type(step.operator).__name__}: {reason}"] += step.operator.macs
    return Share(
        accelerator=sum(layer.macs for layer in layers),
        host=sum(step.operator.macs for step, _ in left),
        convolutions=sum(step.operator.macs for step, _ in left if "Conv" in type(step.operator).__name__),
        segments=sum(len(task.segments) for task in program.tasks),
        left=reasons,
    )


def _left(task: BoardTask) -> Iterator[tuple[Step, str]]:
    host = (step for step in task.steps if not isinstance(step.operator, SegmentCall))
    return zip(host, (left.reason for left in task.left), strict=True)


def export_family(name: str, folder: Path) -> tuple[Path, Path]:
    """A family's network as model.onnx, and images for its calibration."""
    torch.manual_seed(0)
    network, path, images = FAMILIES[name]().eval(), folder / "model.onnx", folder / "cal"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(network, (torch.zeros(1, 3, SIZE, SIZE),), path, input_names=["image"], dynamo=False)
    images.mkdir()
    rng = np.random.default_rng(0)
    for index in range(IMAGES):
        coarse = rng.normal(size=(1, 3, SIZE // 8, SIZE // 8))
        np.save(images / f"{index}.npy", np.kron(coarse, np.ones((1, 1, 8, 8))).astype(np.float32))
    return path, images


def row(name: str, share: Share) -> str:
    """A row of the table."""
    total = max(share.accelerator + share.host, 1)
    common = [(why, macs) for why, macs in share.left.most_common(MOST_REASONS) if macs > total / 1000]
    why = "; ".join(f"{macs / total:.1%} {why}" for why, macs in common) or "only what has no MACs"
    return f"| {name} | {share.whole:.1%} | {share.rows:.1%} | {share.segments} | {why} |"


def _of_folder(folder: Path, board: str) -> str:
    images = folder / "cal"
    try:
        steps = integer_steps(folder / "model.onnx", images if images.exists() else None, board)
    except EdgemtlError as error:
        return f"| {folder.name} | refused | | | {str(error).splitlines()[0]} |"
    return row(folder.name, share_of(compile_segments(steps, read_spec(board))))


def _families(board: str) -> Iterator[str]:
    for name in FAMILIES:
        with tempfile.TemporaryDirectory() as folder:
            model, images = export_family(name, Path(folder))
            steps = integer_steps(model, images, board)
        yield row(name, share_of(compile_segments(steps, read_spec(board))))


def main(argv: Sequence[str] | None = None) -> None:
    """Print the rows of folders, or write the page."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.shares", description=__doc__)
    parser.add_argument("folders", nargs="*", type=Path, metavar="FOLDER")
    parser.add_argument("--board", default=BOARD)
    options = parser.parse_args(argv)
    for folder in options.folders:
        print(_of_folder(folder, options.board), flush=True)
    if not options.folders:
        rows = list(_families(options.board))
        DOCUMENT.write_text(HEAD.format(board=options.board) + "\n".join(rows) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
