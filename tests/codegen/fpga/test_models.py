"""Whole models, exported, quantised and compiled: every segment of every task gives the law's bits."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from edgemtl.codegen.fpga.compile import compile_segments
from edgemtl.exporters.checkpoints import load_checkpoint
from edgemtl.exporters.models.presets import PRESETS
from edgemtl.exporters.to_onnx import export_onnx
from edgemtl.frontend import read_model
from edgemtl.lowering.ir import Step
from edgemtl.options import QuantiseOptions
from edgemtl.partition import partition
from edgemtl.processor import resolve
from edgemtl.quantize.quantised_model import quantise
from tests.codegen.fpga.rig import check, engines
from tests.support.frames import smooth_frames
from tests.support.models import build_and_export, small_config

CHECKPOINT = Path(__file__).parents[3] / "examples" / "rooms" / "m3vit_demo.safetensors"
LENIENT = QuantiseOptions(least_sqnr_db=-200.0)
HEADS = dict(head_channels=(12, 8, 6))
EVEN = small_config(dim=64, mlp_hidden=80, image=(32, 64), **HEADS)
ODD = small_config(dim=27, heads=3, class_token=True, routing="window", experts_per_task=3, **HEADS)
CONFIGS = {
    "heads of 32 channels": (EVEN, True),
    "class token": (replace(EVEN, image=(16, 32), class_token=True, top_k=1), True),
    # Heads of 9 channels, images 3 pixels wide, and a copy of the rows behind the class token stay on the CPU.
    "odd sizes, class token, windows": (ODD, False),
}


def integer_steps(path: Path) -> tuple[dict[str, tuple[Step, ...]], tuple[int, ...]]:
    """The integer steps of every task of an ONNX file, and the shape of its image."""
    model = read_model(path)
    tasks = partition(model, [task.name for task in model.tasks], "exact")
    images = {str(i): image for i, image in enumerate(smooth_frames(model.inputs[0], 8))}
    made = quantise(model, tasks, resolve("cpu-avx2"), images, LENIENT)
    return {name: task.steps for name, task in made.integers.items()}, model.inputs[0]


def check_on(boards: tuple[str, ...], path: Path, whole: bool = True) -> None:
    """All tasks of a file as one program of each board, on an image that calibration has not seen.

    ``whole``: each is one segment.
    """
    steps, shape = integer_steps(path)
    for board in boards:
        program = compile_segments(steps, engines()[board])
        assert {len(task.segments) == 1 for task in program.tasks} == {whole}
        check(program, steps, smooth_frames(shape, 1, seed=9)[0])


@pytest.mark.parametrize("name", CONFIGS)
def test_small_models(name: str, tmp_path: Path) -> None:
    config, whole = CONFIGS[name]
    check_on(("zcu104", "ultra96v2"), build_and_export(config, 1, tmp_path)[1], whole)


@pytest.mark.slow
def test_the_demo_model(tmp_path: Path) -> None:
    export_onnx(load_checkpoint(CHECKPOINT), tmp_path / "demo.onnx")
    check_on(("zcu104", "ultra96v2"), tmp_path / "demo.onnx")


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_m3vit_tiny(tmp_path: Path) -> None:
    check_on(("zcu104",), build_and_export(PRESETS["m3vit_tiny_cityscapes"](), 1, tmp_path)[1])
