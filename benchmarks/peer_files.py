"""Writes the files that MNN, ncnn and ExecuTorch run, with each peer's own converter."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path

from benchmarks.environments import interpreter

MNN_CONVERTER = "import sys, _tools; _tools.mnnconvert(sys.argv)"
"""Without MNN's command line, which installs a package that reports its use."""


def mnn_file(model: Path) -> Path:
    """The .mnn file beside an ONNX model. Raises RuntimeError with the converter's words."""
    target = model.with_suffix(".mnn")
    files = ["--modelFile", str(model), "--MNNModel", str(target)]
    _convert([str(interpreter("mnn")), "-c", MNN_CONVERTER, "-f", "ONNX", "--bizCode", "edgemtl", *files], target)
    return target


def ncnn_file(model: Path) -> Path:
    """The .ncnn.param file beside an ONNX model, with float32 weights. Raises RuntimeError with pnnx's words."""
    target = model.with_suffix(".ncnn.param")
    # The program itself: its Python command imports torch.
    (pnnx,) = interpreter("ncnn").parents[1].glob("lib/python*/site-packages/pnnx/pnnx")
    _convert([str(pnnx), str(model), "fp16=0"], target, "ignore ")
    return target


def executorch_file(description: Path, target: Path) -> Path:
    """The .pte file of the network in torch. Raises RuntimeError with the exporter's words."""
    command = [str(interpreter("executorch")), "-m", "benchmarks.executorch_export", str(description), str(target)]
    _convert(command, target)
    return target


def _convert(command: Sequence[str], target: Path, refusal: str | None = None) -> None:
    """Run a converter that says ``refusal`` where it leaves out a layer, and ends with 0 whatever happened."""
    if target.exists():
        return
    run = subprocess.run(command, text=True, capture_output=True)
    words = run.stdout + run.stderr
    if run.returncode or not target.exists() or (refusal is not None and refusal in words):
        target.unlink(missing_ok=True)
        raise RuntimeError(f"{target.name}: the converter must write the whole model; it said {words[-2000:]}")
