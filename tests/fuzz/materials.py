"""The good files that hostile ones are made from: ``python -m tests.fuzz.materials FOLDER`` makes them all."""

from __future__ import annotations

import subprocess
import sys
from functools import cache
from pathlib import Path

import numpy as np

MODEL, PARAMETERS = "model_0.onnx", "coded.json"
"""The parameters have weights in 4 bits, which only CPUs take."""
DENSE, PLAIN = "batched.onnx", "cnn.onnx"
"""The model with its experts spelt out, and a network without any."""
CPU, BOARD = "int8.edgemtl", "board.edgemtl"


@cache
def folder(path: Path) -> Path:
    """``path`` with every file in it, made by a process of its own: no thread of a compiler is left in this one."""
    if not (path / BOARD).exists():
        subprocess.run([sys.executable, "-m", "tests.fuzz.materials", str(path)], check=True, stdout=subprocess.DEVNULL)
    return path


def make(path: Path) -> None:
    """Export a small model of two tasks, quantise it, compile it for the CPU and for a board."""
    from edgemtl.cli.app import main
    from tests.support.models import as_dense, build_and_export, plain_cnn, small_config

    (path / "images").mkdir(parents=True, exist_ok=True)
    for seed in range(8):
        image = np.random.default_rng(seed).standard_normal((1, 3, 16, 24)).astype(np.float32)
        np.save(path / "images" / f"{seed}.npy", image)
    model = build_and_export(small_config(head_channels=(12, 8, 8)), 0, path)[1]
    assert model.name == MODEL, model
    assert as_dense(model, path).name == DENSE
    assert plain_cnn(path).name == PLAIN
    images = "--calibration", str(path / "images"), "--min-sqnr", "-200"
    plain, coded = (path / "qdq.json", path / PARAMETERS)
    rules = "--weights", "experts=4", "--weights", "linear=4"
    int8 = "--precision", "int8", "--parameters"
    for words in (
        ("quantize", str(model), *images, "-o", str(plain.with_suffix(".onnx"))),
        ("quantize", str(model), *images, *rules, "-o", str(coded.with_suffix(".onnx"))),
        ("compile", str(model), *int8, str(coded), "-o", str(path / CPU)),
        ("compile", str(model), "--target", "zcu104", *int8, str(plain), "-o", str(path / BOARD)),
    ):
        assert main(["-q", *words]) == 0, words


if __name__ == "__main__":
    make(Path(sys.argv[1]))
