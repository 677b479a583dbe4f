"""Layers without an integer form run in float between conversions, by name and with the reason, or are refused."""

import re
from pathlib import Path

import numpy as np
import onnx_ir as ir
import onnxruntime
import pytest
import torch

from edgemtl.errors import UnsupportedError
from edgemtl.frontend import read_model
from edgemtl.lowering.execute import run_steps
from edgemtl.lowering.ir import Step
from edgemtl.operators import (
    Combine,
    Experts,
    Operator,
    QCombine,
    QConv2d,
    QExperts,
    QLinear,
    QProduct,
    QResample,
    QRouter,
    QSoftmax,
    Router,
)
from edgemtl.options import QuantiseOptions
from edgemtl.partition import partition
from edgemtl.processor import resolve
from edgemtl.quantize import IntegerTask, calibrate, write_parameters
from edgemtl.quantize.build import WRITERS
from edgemtl.quantize.quantised_model import Quantised, float_steps, from_parameters, quantise
from edgemtl.quantize.writer import Writer
from tests.codegen.graphs import random
from tests.codegen.nets import NETS
from tests.codegen.test_generic import IMAGE, task_of
from tests.codegen.test_plain_nets import exported
from tests.support.frames import frames, smooth_frames
from tests.support.models import build_and_export, small_config


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("plain")
    for number, name in enumerate(names := ("interleaved heads, tanh GELU", "separate projections", "CNN")):
        torch.manual_seed(0)
        exported(NETS[name](), folder / f"{number}.onnx")
    return {name: folder / f"{number}.onnx" for number, name in enumerate(names)}


def quantised(path: Path, *keep: str, require_int8: bool = False) -> Quantised:
    model = read_model(path)
    images = {str(i): image for i, image in enumerate(smooth_frames(model.inputs[0], 8))}
    tasks = partition(model, [task.name for task in model.tasks], "exact")
    options = QuantiseOptions(keep_float=keep, require_int8=require_int8)
    return quantise(model, tasks, resolve("cpu-avx2"), images, options)


def islands(found: Quantised) -> dict[str, str]:
    return {island.node: island.reason for task in found.integers.values() for island in task.islands}


def test_attention_behind_a_copy_is_products_and_a_softmax(files):
    found = quantised(files["interleaved heads, tanh GELU"], "*upsample*", require_int8=True)
    assert not islands(found)
    (task,) = found.integers.values()
    kinds = [type(step.operator) for step in task.steps]
    assert kinds.count(QSoftmax) == 2
    assert kinds.count(QProduct) == 4
    assert found.parameters.sqnr_db[task.task] > 30


def test_resize_by_another_factor(files):
    found = quantised(files["separate projections"], require_int8=True)
    assert not islands(found)
    (task,) = found.integers.values()
    assert QResample in [type(step.operator) for step in task.steps]


GATED = f"""t ({IMAGE}) => (float[1,4,4,6] y) {{
    a = Conv<pads = [1, 1, 1, 1]>(image, w)
    r = Relu(a)
    b = Conv<pads = [1, 1, 1, 1]>(r, v)
    s = Add(b, r)
    h = HardSwish(s)
    p = MaxPool<kernel_shape = [2, 2], strides = [2, 2]>(h)
    g = GlobalAveragePool(p)
    e = Exp(g)
    c = Cos(p)
    m = Mul(c, e)
    y = Conv<pads = [1, 1, 1, 1]>(m, u)
}}"""
MASKED = f"""t ({IMAGE}) => (float[1,4,8,12] y) {{
    a = Conv<pads = [1, 1, 1, 1]>(image, w)
    visible = Greater(row, zero)
    m = Where(visible, a, far)
    s = Softmax<axis = 3>(m)
    y = Conv<pads = [1, 1, 1, 1]>(s, v)
}}"""
WEIGHTS = {
    "w": random(4, 3, 3, 3, scale=0.3),
    "v": random(4, 4, 3, 3, seed=1, scale=0.3),
    "u": random(4, 4, 3, 3, seed=2, scale=0.3),
    "row": np.arange(12, dtype=np.float32).reshape(1, 1, 1, 12) - 4,
    "zero": np.zeros(1, np.float32),
    "far": np.full(1, -np.inf, np.float32),
}


def graph(
    text: str, require_int8: bool = False
) -> tuple[dict[str, tuple[Step, ...]], IntegerTask, list[np.ndarray], ir.Model]:
    """A graph in float steps and quantised on smooth images."""
    named = {name: array for name, array in WEIGHTS.items() if re.search(rf"[(, ]{name}[,)]", text)}
    task = task_of(text, **named)
    floats = float_steps([task], resolve("cpu-avx2"))
    images = frames([random(*task.inputs[0].shape, seed=seed) for seed in range(12)])
    _, integers = calibrate("0" * 64, "exact", floats, images, QuantiseOptions(require_int8=require_int8))
    return floats, integers["t"], images, task.ir


@pytest.mark.parametrize(
    ("text", "names"),
    [
        (GATED, ["Exp", "Cos"]),
        (MASKED, ["Greater", "Where"]),
    ],
    ids=["gated", "masked"],
)
def test_a_network_with_islands_against_onnxruntime(text, names):
    """Float steps give what onnxruntime gives of the whole graph, generic nodes included; integers are near it."""
    floats, integer, images, model = graph(text)
    assert [island.node.split("_")[0].split("->")[0] for island in integer.islands] == names
    session = onnxruntime.InferenceSession(ir.to_proto(model).SerializeToString())
    for image in images[-3:]:
        (expected,) = session.run(None, image)
        exact = run_steps(floats["t"], image).reshape(expected.shape)
        np.testing.assert_allclose(exact, expected, rtol=1e-4, atol=1e-5)
        rounded = run_steps(integer.steps, image).reshape(expected.shape)
        noise = ((rounded - expected) ** 2).sum()
        assert 10 * np.log10(((expected - expected.mean()) ** 2).sum() / noise) > 25
    assert sum(isinstance(step.operator, QConv2d) for step in integer.steps) == text.count("Conv<")


def test_islands_survive_a_file_of_parameters(tmp_path, files):
    """Read back, they are the same steps."""
    model = read_model(files["interleaved heads, tanh GELU"])
    found = quantised(files["interleaved heads, tanh GELU"])
    write_parameters(tmp_path / "p.json", found.parameters, found.floats)
    tasks = partition(model, [task.name for task in model.tasks], "exact")
    again = from_parameters(model, tasks, resolve("cpu-avx2"), tmp_path / "p.json")
    assert {name: task.steps for name, task in again.integers.items()} == {
        name: task.steps for name, task in found.integers.items()
    }
    assert islands(again) == islands(found)


def test_a_layer_with_an_activation_may_feed_one_in_float(files):
    found = quantised(files["CNN"], "node_relu")
    (task,) = found.integers.values()
    assert task.float_layers == ("node_relu",)
    assert found.parameters.sqnr_db[task.task] > 25


def test_a_sum_with_the_residual_is_one_of_16_bits_whoever_reads_it(files):
    found = quantised(files["separate projections"], "*upsample*")
    (task,) = found.integers.values()
    sums = [step for step in task.steps if isinstance(step.operator, QLinear) and step.operator.residual]
    assert len(sums) == 4
    assert {task.tensors[step.outputs[0].buffer].dtype for step in sums} == {"int16"}
    assert found.parameters.sqnr_db[task.task] > 30


@pytest.mark.parametrize("kind", [Router, Experts, Combine])
def test_a_mixture_of_which_one_step_has_no_integer_form(monkeypatch, tmp_path, kind):
    """The whole mixture stays in float: a Combine cannot weigh by the integers of a Router, nor the reverse."""
    path = build_and_export(small_config(), 0, tmp_path)[1]

    def refuse(writer: Writer, _: Operator) -> None:
        raise UnsupportedError(writer.name, "it was refused", "keep it in float")

    monkeypatch.setitem(WRITERS, kind, refuse)
    found = quantised(path)
    for task in found.integers.values():
        kinds = {type(step.operator) for step in task.steps}
        assert {Router, Experts, Combine} <= kinds
        assert kinds.isdisjoint({QRouter, QExperts, QCombine})
        assert found.parameters.sqnr_db[task.task] > 30
    assert [reason for name, reason in islands(found).items() if "MoE" in name] == ["it was refused"] * 2
    assert sum("MoE" in note for note in found.notes) == 2
