"""The verbs of a base install, for the test that hides packages and for the one in a fresh environment."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from edgemtl.cli.examples import EXAMPLES

DEVICE_VERBS = (
    ("doctor",),
    ("targets", "list"),
    ("targets", "show", "zcu104"),
    ("bundle", "info", "app.edgemtl"),
    ("bundle", "verify", "app.edgemtl"),
    ("selftest", "app.edgemtl"),
    ("run", "app.edgemtl", "--input", "frame.npy", "-o", "out"),
    ("bench", "app.edgemtl", "--runs", "3"),
)
"""What a device needs; each ends with exit code 0."""

OTHER_VERBS = (
    (("export", "-o", "a.onnx"), "export"),
    (("inspect", "model.onnx"), "compile"),
    (("check", "model.onnx"), "compile"),
    (("merge", "model.onnx", "other.onnx", "-o", "all.onnx"), "compile"),
    (("compile", "model.onnx", "-o", "b.edgemtl"), "compile"),
    (("quantize", "model.onnx", "--calibration", "images", "-o", "q.onnx"), "compile"),
    (("compare", "onnx", "fp32", "--model", "model.onnx", "--task", "depth", "--input", "frame.npy"), "compile"),
    (("profile", "app.edgemtl", "--input", "frame.npy", "-o", "report"), "report"),
    (("bundle", "keygen", "-o", "maker"), "sign"),
    (("bundle", "sign", "app.edgemtl", "--key", "maker", "--counter", "1", "-o", "signed.edgemtl"), "sign"),
)
"""What a device has not, and the extra each asks for; each ends with exit code 3."""


def verb_of(words: tuple[str, ...]) -> str:
    """The words of a command that name its verb."""
    return next(verb for verb in EXAMPLES if words[: len(verb.split())] == tuple(verb.split()))


def write_frame(folder: Path, shape: tuple[int, ...]) -> None:
    """The input that `run` is given."""
    np.save(folder / "frame.npy", np.random.default_rng(0).standard_normal(shape).astype(np.float32))
