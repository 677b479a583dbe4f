"""L2 normalisation as torch and people write it: one step, near torch also at 0, and in integers."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from edgemtl.codegen.cpu import compile_cpu
from edgemtl.frontend import read_model
from edgemtl.lowering.execute import run_steps
from edgemtl.lowering.ir import Step
from edgemtl.lowering.patterns.l2_norm import match_l2_norm
from edgemtl.options import QuantiseOptions
from edgemtl.partition import TaskModel, partition
from edgemtl.processor import resolve
from edgemtl.quantize import calibrate
from edgemtl.quantize.quality import signal_to_noise
from edgemtl.quantize.quantised_model import float_steps
from tests.codegen.graphs import int64, parse
from tests.codegen.harness import Machine
from tests.support.frames import frames

SHAPE = (1, 6, 5, 8)
Function = Callable[[Tensor, int], Tensor]
BOUNDED: dict[str, Function] = {
    "normalize": lambda x, dim: F.normalize(x, dim=dim),
    "clamp": lambda x, dim: x / torch.linalg.vector_norm(x, dim=dim, keepdim=True).clamp(min=1e-6),
    "maximum": lambda x, dim: x / torch.maximum(x.norm(dim=dim, keepdim=True), torch.tensor(1e-6)),
    "written out": lambda x, dim: x / (x * x).sum(dim, keepdim=True).sqrt().clamp_min(1e-9),
}
UNBOUNDED: dict[str, Function] = {
    "norm": lambda x, dim: x / x.norm(dim=dim, keepdim=True),
    "a root": lambda x, dim: x / x.pow(2).sum(dim, keepdim=True).sqrt(),
}
ALL = BOUNDED | UNBOUNDED


class Net(nn.Module):
    """The function alone, or behind a convolution."""

    def __init__(self, function: Function, dim: int, convolves: bool) -> None:
        super().__init__()
        self.function, self.dim = function, dim
        self.first = nn.Conv2d(6, 6, 3, padding=1) if convolves else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return self.function(self.first(x), self.dim)


def exported(net: nn.Module, path: Path, dynamo: bool) -> TaskModel:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        options = {"input_names": ["image"], "dynamo": dynamo}
        torch.onnx.export(net.eval(), (torch.zeros(SHAPE),), path, **options, **({"verbose": False} if dynamo else {}))
    model = read_model(path)
    (task,) = partition(model, [model.tasks[0].name], "exact")
    return task


def names(steps: tuple[Step, ...]) -> list[str]:
    return [type(step.operator).__name__ for step in steps]


def rows(dim: int) -> np.ndarray:
    """An image of vectors along ``dim``, of which one is 0 and one is smaller than every bound."""
    image = np.random.default_rng(3).standard_normal(SHAPE).astype(np.float32)
    vectors = np.moveaxis(image, dim, -1)
    vectors[0, 0, 0], vectors[0, 1, 1] = 0, 1e-14
    return image


@pytest.mark.parametrize("dynamo", [False, True])
@pytest.mark.parametrize("dim", [1, -1])
@pytest.mark.parametrize("name", ALL)
def test_float32_is_near_torch_and_zeros_stay_zeros(tmp_path: Path, name: str, dim: int, dynamo: bool) -> None:
    net = Net(ALL[name], dim, False)
    task = exported(net, tmp_path / "net.onnx", dynamo)
    program = compile_cpu((task,), resolve("cpu"), memory_budget=None)
    assert sum(not layer.kernel.startswith("copy") for layer in program.tasks[0].program.layers) == 1
    image = rows(dim)
    y = Machine(program).run(task.task.name, image)
    expected = net(torch.from_numpy(image)).numpy()
    if name in UNBOUNDED:
        # 0 / 0 is no number in torch; a vector that small has squares of 0 there.
        small = np.abs(np.moveaxis(image, dim, -1)).max(-1) < 1e-10
        np.moveaxis(expected, dim, -1)[small] = np.moveaxis(y, dim, -1)[small]
        np.testing.assert_array_equal(np.moveaxis(y, dim, -1)[0, 0, 0], 0)
    np.testing.assert_allclose(y, expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("dynamo", [False, True])
@pytest.mark.parametrize("dim", [1, -1])
@pytest.mark.parametrize("name", ALL)
def test_integers_are_near_onnxruntime(tmp_path: Path, name: str, dim: int, dynamo: bool) -> None:
    torch.manual_seed(0)
    task = exported(Net(ALL[name], dim, True), tmp_path / "net.onnx", dynamo)
    floats = float_steps([task], resolve("cpu-avx2"))
    images = frames([np.random.default_rng(i).standard_normal(SHAPE).astype(np.float32) for i in range(14)])
    _, integers = calibrate("0" * 64, "exact", floats, images[:12], QuantiseOptions(require_int8=True))
    steps = integers[task.task.name].steps
    assert integers[task.task.name].all_integer
    assert names(steps).count("QNormalise") == 1
    session = onnxruntime.InferenceSession(tmp_path / "net.onnx")
    real = [session.run(None, image)[0].reshape(-1) for image in images[12:]]
    assert signal_to_noise(real, [run_steps(steps, image) for image in images[12:]]) > 30
    zeros = {"image": np.zeros(SHAPE, np.float32)}
    assert np.isfinite(run_steps(steps, zeros)).all()


@pytest.mark.parametrize("bound", [1e-3, 1.0])
def test_a_bound_that_integers_do_not_resolve_stays_in_float(tmp_path: Path, bound: float) -> None:
    """Between 0 and the bound vectors keep their length, which an integer norm does not give them."""
    torch.manual_seed(0)
    net = Net(lambda x, dim: F.normalize(x, dim=dim, eps=bound), 1, True)
    task = exported(net, tmp_path / "net.onnx", False)
    floats = float_steps([task], resolve("cpu-avx2"))
    images = frames([np.random.default_rng(i).standard_normal(SHAPE).astype(np.float32) for i in range(12)])
    _, integers = calibrate("0" * 64, "exact", floats, images, QuantiseOptions())
    (island,) = integers[task.task.name].islands
    assert f"at most an LSB of what it reads, not {bound:g} and " in island.reason
    with torch.no_grad():
        real = [net(torch.from_numpy(image["image"])).numpy().reshape(-1) for image in images]
    found = [run_steps(integers[task.task.name].steps, image) for image in images]
    assert signal_to_noise(real, found) > 30


OTHERS = {
    "of another value": "other = Abs(image) \n n = ReduceL2<keepdims = 1>(other, one) \n y = Div(image, n)",
    "bounded from above": "n = ReduceL2<keepdims = 1>(image, one) \n c = Clip(n, low, high) \n y = Div(image, c)",
    "bounded by a negative number": "n = ReduceL2<keepdims = 1>(image, one) \n c = Max(n, minus) \n y = Div(image, c)",
    "over two axes": "n = ReduceL2<keepdims = 1>(image, two) \n y = Div(image, n)",
    "of cubes": "p = Pow(image, three) \n s = ReduceSum<keepdims = 1>(p, one) \n n = Sqrt(s) \n y = Div(image, n)",
    "repeated along another axis": "n = ReduceL2<keepdims = 1>(image, one) \n e = Expand(n, larger)"
    " \n y = Div(image, e)",
}
CONSTANTS = {
    "one": int64(1),
    "two": int64(1, 2),
    "low": np.array(1e-6, np.float32),
    "high": np.array(1, np.float32),
    "minus": np.array(-1, np.float32),
    "three": np.array(3, np.float32),
    "larger": int64(2, 6, 5, 8),
}


@pytest.mark.parametrize("name", OTHERS)
def test_other_quotients_are_no_normalisation(name: str) -> None:
    body = OTHERS[name]
    used = {key: array for key, array in CONSTANTS.items() if f" {key})" in body or f" {key}," in body}
    model = parse(f"g (float[1,6,5,8] image) => (y) {{{body}}}", **used)
    assert match_l2_norm(list(model.graph)[-1]) is None
