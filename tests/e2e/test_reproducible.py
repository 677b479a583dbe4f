"""The same input gives the same bytes, whoever compiles it, where, and on how many threads."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.boards import export, needs_linker
from tests.support.models import small_config

CODE = """
import json, os, sys
os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: int(sys.argv[2])])
from edgemtl.cli.app import main
sys.exit(any([main(["-q", *words]) for words in json.loads(sys.argv[1])]))
"""
INT8 = ("--calibration", "images", "--min-sqnr", "-200")
VERBS = {
    "cpu": [
        ["compile", "model_0.onnx", "-o", "fp32.edgemtl"],
        ["compile", "model_0.onnx", "--precision", "int8", *INT8, "-o", "int8.edgemtl"],
        ["quantize", "model_0.onnx", *INT8, "-o", "qdq.onnx"],
    ],
    "board": [
        ["compile", "model_0.onnx", "--target", "zcu104", "--precision", "int8", *INT8, "-o", "board.edgemtl"],
        ["profile", "board.edgemtl", "--input", "images/0.npy", "-o", "report"],
    ],
}
RESULTS = {
    "cpu": ("fp32.edgemtl", "int8.edgemtl", "qdq.onnx", "qdq.json"),
    "board": ("board.edgemtl", "report/report.html", "report/report.json", "report/layers.csv", "report/trace.json"),
}
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
BASE = {"PYTHONHASHSEED": "0", "LC_ALL": "C.UTF-8", "TZ": "UTC"} | dict.fromkeys(THREADS, "1")
CHANGES: dict[str, dict[str, str]] = {
    "hash seed": {"PYTHONHASHSEED": "77"},
    "user": {"HOME": "home", "USER": "someone", "LOGNAME": "someone", "TMPDIR": "home"},
    "locale": {"LC_ALL": "tr_TR.UTF-8", "LANG": "tr_TR.UTF-8", "LANGUAGE": "tr"},
    "time zone": {"TZ": "Asia/Kathmandu"},
    "threads": dict.fromkeys(THREADS, "3"),
}
"""What must not matter, beside the folder and the number of processors a process may use."""


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Large enough for numpy's BLAS to use several threads; a gate that is folded from the task's embedding."""
    config = small_config(
        dim=64,
        mlp_hidden=128,
        image=(96, 128),
        head_channels=(48, 32, 24),
        routing="task_conditioned",
        task_embedding=16,
    )
    return export(tmp_path_factory.mktemp("model"), config)


def digests(model: Path, folder: Path, verbs: str, changes: dict[str, str], processors: int) -> dict[str, str]:
    """SHA-256 by name of the files the verbs write, run in ``folder`` by a process of its own."""
    (folder / "home").mkdir(parents=True)
    shutil.copy(model, folder)
    shutil.copytree(model.parent / "images", folder / "images")
    words = [sys.executable, "-c", CODE, json.dumps(VERBS[verbs]), str(processors)]
    done = subprocess.run(words, cwd=folder, env=os.environ | BASE | changes, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in RESULTS[verbs]}


KINDS = pytest.mark.parametrize("verbs", ["cpu", pytest.param("board", marks=needs_linker)])


@KINDS
def test_nothing_around_a_process_changes_a_byte(verbs: str, model: Path, tmp_path: Path) -> None:
    everything = {name: value for changes in CHANGES.values() for name, value in changes.items()}
    first = digests(model, tmp_path / "a", verbs, {}, 64)
    assert digests(model, tmp_path / "another folder" / "b", verbs, everything, 1) == first


@pytest.mark.slow
@KINDS
def test_no_single_thing_changes_a_byte(verbs: str, model: Path, tmp_path: Path) -> None:
    first = digests(model, tmp_path / "a", verbs, {}, 64)
    for name, changes in CHANGES.items():
        assert digests(model, tmp_path / name, verbs, changes, 64) == first, name
