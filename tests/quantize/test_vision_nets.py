"""Convolutional networks of other people in int8: all of it integers, close to float32, and a QDQ file that agrees."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch

from edgemtl import partition
from edgemtl.codegen.cpu import compile_cpu
from edgemtl.driver import check_model, compile_model
from edgemtl.frontend import read_model
from edgemtl.lowering.execute import run_steps
from edgemtl.options import CheckOptions, CompileOptions, QuantiseOptions
from edgemtl.processor import resolve
from edgemtl.quantize.quality import signal_to_noise
from edgemtl.quantize.quantised_model import make_exchange, quantise
from edgemtl.runtime import Session
from examples.smooth_images import smooth_images
from tests.codegen.harness import Machine
from tests.codegen.test_plain_nets import exported
from tests.codegen.vision_nets import VISION_NETS
from tests.support.frames import smooth_frames


@pytest.mark.parametrize("name", VISION_NETS)
def test_float32_is_what_onnxruntime_gives(name: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    task = exported(VISION_NETS[name](), tmp_path / "net.onnx")
    machine = Machine(compile_cpu((task,), resolve("cpu"), memory_budget=None))
    image = np.random.default_rng(1).standard_normal(task.inputs[0].shape, np.float32)
    (expected,) = onnxruntime.InferenceSession(tmp_path / "net.onnx").run(None, {task.inputs[0].name: image})
    actual = machine.run(task.task.name, image).reshape(expected.shape)
    np.testing.assert_allclose(actual, expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("name", VISION_NETS)
def test_int8_has_no_layer_in_float(name: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    exported(VISION_NETS[name](), tmp_path / "net.onnx")
    model = read_model(tmp_path / "net.onnx")
    images = {str(i): image for i, image in enumerate(smooth_frames(model.inputs[0], 16))}
    tasks = partition.partition(model, [task.name for task in model.tasks], "exact", None)
    quantised = quantise(model, tasks, resolve("cpu"), images, QuantiseOptions("minmax", require_int8=True))
    (integers,) = quantised.integers.values()
    assert integers.all_integer
    session = onnxruntime.InferenceSession(tmp_path / "net.onnx")
    fresh = smooth_frames(model.inputs[0], 4, seed=5)
    (real,) = zip(*(session.run(None, image) for image in fresh), strict=True)
    law = [run_steps(integers.steps, image) for image in fresh]
    assert signal_to_noise(law, [array.reshape(-1) for array in real]) > 22
    machine = Machine(compile_cpu(tasks, resolve("cpu"), memory_budget=None, integers=quantised.integers))
    for image, expected in zip(fresh, law, strict=True):
        np.testing.assert_array_equal(machine.run(integers.task, image).reshape(-1), expected)
    _, (distance,) = make_exchange("net.onnx", tasks, quantised, images)
    assert distance.qdq_to_law_db > 25, distance


def test_a_board_runs_what_it_can_and_the_host_cpu_the_rest(tmp_path: Path) -> None:
    """Its self-test compares the simulated accelerator and the host's steps with the integer law."""
    torch.manual_seed(0)
    exported(VISION_NETS["mobile"](), tmp_path / "net.onnx")
    (tmp_path / "images").mkdir()
    shape = read_model(tmp_path / "net.onnx").inputs[0].shape
    for index, image in enumerate(smooth_images(shape, 10)):
        np.save(tmp_path / "images" / f"{index}.npy", image)
    options = {"target": "zcu104", "precision": "int8", "calibration": tmp_path / "images"}
    result = compile_model(tmp_path / "net.onnx", CompileOptions(**options), tmp_path / "net.edgemtl")
    assert not any("self-test not run" in text or "no integer form" in text for text in result.notes)
    reports = check_model(tmp_path / "net.onnx", CheckOptions(**options)).nodes
    # The first one's image is quantised on the host CPU.
    assert all("accelerator" in report.where for report in reports if report.op == "Conv")
    assert any(report.where == "cpu" for report in reports)


class Pooled(torch.nn.Module):
    """Queries of its own over the tokens: products of computed values and a softmax, which boards leave to the host."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.head = torch.nn.Conv2d(3, 16, 8, 8), torch.nn.Linear(16, 5)
        self.queries = torch.nn.Parameter(torch.randn(3, 16))

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        tokens = self.embed(image).flatten(2).transpose(1, 2)
        return self.head((self.queries @ tokens.transpose(1, 2) / 4).softmax(-1) @ tokens)


def test_products_and_a_softmax_on_the_host_of_a_board(tmp_path: Path) -> None:
    """The bundle opens, and its self-test compares every step with the integer law."""
    torch.manual_seed(0)
    exported(Pooled(), tmp_path / "net.onnx")
    (tmp_path / "images").mkdir()
    shape = read_model(tmp_path / "net.onnx").inputs[0].shape
    for index, image in enumerate(smooth_images(shape, 10)):
        np.save(tmp_path / "images" / f"{index}.npy", image)
    options = CompileOptions(target="zcu104", precision="int8", calibration=tmp_path / "images")
    result = compile_model(tmp_path / "net.onnx", options, tmp_path / "net.edgemtl")
    assert not any("self-test not run" in text for text in result.notes)
    with Session.open(tmp_path / "net.edgemtl", device="sim") as session:
        assert all(check.passed for check in session.selftest())
