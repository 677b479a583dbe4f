"""Segmentation that ends in ArgMax, in integers, on CPUs and in a board's simulation."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from edgemtl import operators as ops
from edgemtl import partition
from edgemtl.bundle import FpgaProgram, open_bundle
from edgemtl.driver import compile_model
from edgemtl.frontend import read_model
from edgemtl.lowering.ir import Step
from edgemtl.options import CompileOptions, QuantiseOptions
from edgemtl.processor import resolve
from edgemtl.quantize.quantised_model import make_exchange, quantise
from edgemtl.runtime import Session
from examples.smooth_images import smooth_images
from tests.support.frames import smooth_frames

SIZE, CLASSES = (24, 40), 21


@dataclass(frozen=True)
class End:
    """What comes behind the logits: by how much they are upsampled, how ArgMax is asked for, and a cast to bytes."""

    factor: int = 2
    keepdims: bool = False
    logits: bool = False
    narrow: bool = False


class Segmenter(nn.Module):
    """Two convolutions, logits, upsampling, classes; with ``logits`` these are an output as well."""

    def __init__(self, end: End) -> None:
        super().__init__()
        self.end = end
        self.stem, self.inner = nn.Conv2d(3, 24, 3, 2, 1), nn.Conv2d(24, 32, 3, 1, 1)
        self.head = nn.Conv2d(32, CLASSES, 1)

    def forward(self, image: Tensor) -> tuple[Tensor, ...] | Tensor:
        x = self.head(torch.relu(self.inner(torch.relu(self.stem(image)))))
        if self.end.factor > 1:
            x = F.interpolate(x, scale_factor=self.end.factor, mode="bilinear", align_corners=False)
        classes = x.argmax(1, keepdim=self.end.keepdims)
        if self.end.narrow:
            classes = classes.to(torch.uint8)
        return (classes, x) if self.end.logits else classes


def exported(end: End, folder: Path) -> Path:
    torch.manual_seed(0)
    names = ["classes", "logits"] if end.logits else ["classes"]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        arguments = (torch.zeros(1, 3, *SIZE),), folder / "net.onnx"
        torch.onnx.export(Segmenter(end).eval(), *arguments, dynamo=True, verbose=False, output_names=names)
    (folder / "images").mkdir()
    for index, image in enumerate(smooth_images((1, 3, *SIZE), 10)):
        np.save(folder / "images" / f"{index}.npy", image)
    return folder / "net.onnx"


def steps_of(path: Path, options: QuantiseOptions = QuantiseOptions()) -> dict[str, tuple[Step, ...]]:  # noqa: B008
    model = read_model(path)
    frames = {str(i): frame for i, frame in enumerate(smooth_frames(model.inputs[0], 10))}
    tasks = partition.partition(model, [task.name for task in model.tasks], "exact", None)
    quantised = quantise(model, tasks, resolve("cpu"), frames, options)
    if all(task.all_integer for task in quantised.integers.values()):
        make_exchange("net.onnx", tasks, quantised, frames)  # the file with QDQ is written, and compared
    return {name: task.steps for name, task in quantised.integers.items()}


ENDS = [End(), End(keepdims=True), End(factor=1), End(logits=True), End(narrow=True)]
FEW = [*ENDS[3:], *(pytest.param(end, marks=pytest.mark.slow) for end in ENDS[:3])]


@pytest.mark.parametrize("end", FEW, ids=str)
@pytest.mark.parametrize("target", ["cpu", "zcu104"])
def test_classes_are_close_to_onnxruntimes(end: End, target: str, tmp_path: Path) -> None:
    path = exported(end, tmp_path)
    options = CompileOptions(target=target, precision="int8", calibration=tmp_path / "images", threads=1)
    result = compile_model(path, options, tmp_path / "net.edgemtl")
    assert not any("self-test not run" in text or "no integer form" in text for text in result.notes)
    fresh = smooth_images((1, 3, *SIZE), 3, seed=4)
    reference = onnxruntime.InferenceSession(path)
    with Session.open(tmp_path / "net.edgemtl", device="cpu" if target == "cpu" else "sim") as session:
        for image in fresh:
            (expected,) = reference.run(["classes"], {reference.get_inputs()[0].name: image})
            classes = session.run("classes", image)
            assert (classes.shape, classes.dtype) == (expected.shape, expected.dtype)
            assert (classes == expected).mean() > 0.97


def test_a_board_writes_a_byte_a_pixel(tmp_path: Path) -> None:
    """All is on the accelerator but the patches at the beginning and the numbers of 64 bits at the end."""
    path = exported(End(), tmp_path)
    options = CompileOptions(target="zcu104", precision="int8", calibration=tmp_path / "images", threads=1)
    compile_model(path, options, tmp_path / "net.edgemtl")
    with open_bundle(tmp_path / "net.edgemtl") as bundle:
        program = bundle.manifest.program
        assert isinstance(program, FpgaProgram)
        (rows,) = program.tasks["classes"].segments[-1].outputs
    assert rows.dtype == "uint8"
    assert (rows.rows, rows.width) == SIZE


@pytest.mark.parametrize(("end", "enlarge"), [(ENDS[0], True), (ENDS[1], True), (ENDS[2], False), (ENDS[4], True)])
def test_the_steps(end: End, enlarge: bool, tmp_path: Path) -> None:
    *_, classes, last = steps_of(exported(end, tmp_path))["classes"]
    assert isinstance(classes.operator, ops.QClasses)
    assert classes.operator.enlarge is enlarge
    assert isinstance(last.operator, ops.QCopy if end.narrow else ops.Widen)


@pytest.mark.parametrize("kept", ["*argmax*", "*upsample*"])
def test_what_is_kept_in_float_stays_there(kept: str, tmp_path: Path) -> None:
    path = exported(End(), tmp_path)
    steps = steps_of(path, QuantiseOptions(keep_float=(kept,)))["classes"]
    assert not any(isinstance(step.operator, ops.QClasses) for step in steps)
