"""A small model compiled for a board and for the CPU from the same integers."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from edgemtl.driver import compile_model
from edgemtl.exporters.models import ModelConfig
from edgemtl.hw import spec
from edgemtl.options import CompileOptions, QuantiseOptions
from edgemtl.results import CompileResult
from examples.smooth_images import smooth_images
from tests.support.models import build_and_export, small_config

LINKER = "aarch64-linux-gnu-g++"
needs_linker = pytest.mark.skipif(
    shutil.which(LINKER) is None, reason=f"{LINKER} is not installed: apt-get install g++-aarch64-linux-gnu"
)

CONFIG = small_config(dim=64, mlp_hidden=80, image=(32, 48), head_channels=(12, 8, 6))
"""Two tasks with experts, heads of 32 channels."""
LENIENT = QuantiseOptions(least_sqnr_db=-200.0)


def pictures(folder: Path, config: ModelConfig = CONFIG, count: int = 8) -> Path:
    """A folder of calibration images as arrays."""
    folder.mkdir(parents=True, exist_ok=True)
    for index, image in enumerate(smooth_images((1, 3, *config.image), count)):
        np.save(folder / f"{index}.npy", image)
    return folder


def export(folder: Path, config: ModelConfig = CONFIG) -> Path:
    """The model's ONNX file; its calibration images lie beside it in `images`."""
    folder.mkdir(parents=True, exist_ok=True)
    pictures(folder / "images", config)
    return build_and_export(config, 0, folder)[1]


def compile_to(model: Path, output: Path, target: str, quantise: QuantiseOptions = LENIENT) -> CompileResult:
    """The model in int8 for ``target``, calibrated on the images beside it."""
    options = CompileOptions(target=target, precision="int8", calibration=model.parent / "images", quantise=quantise)
    return compile_model(model, options, output)


def write_board(path: Path, *changes: tuple[str, str]) -> Path:
    """The ZCU104's file with some of its text replaced."""
    text = (spec.FOLDER / "zcu104.toml").read_text()
    for old, new in changes:
        assert text.count(old) == 1, f"{old!r} must stand once in the file"
        text = text.replace(old, new)
    path.write_text(text)
    return path
