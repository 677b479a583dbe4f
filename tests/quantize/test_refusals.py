"""Layers without an integer form are refused by name, with what to do; kept in float, the rest is quantised."""

from pathlib import Path

import pytest
import torch

from edgemtl.errors import UnsupportedError
from edgemtl.frontend import read_model
from edgemtl.integers import Quantised, quantise
from edgemtl.operators import Linear, QLinear
from edgemtl.options import QuantiseOptions
from edgemtl.partition import partition
from edgemtl.tvm_bridge.target import resolve
from tests.codegen.nets import NETS
from tests.codegen.test_plain_nets import exported
from tests.support.scenes import smooth_images


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("plain")
    for number, name in enumerate(names := ("interleaved heads, tanh GELU", "separate projections", "CNN")):
        torch.manual_seed(0)
        exported(NETS[name](), folder / f"{number}.onnx")
    return {name: folder / f"{number}.onnx" for number, name in enumerate(names)}


def quantised(path: Path, *keep: str) -> Quantised:
    model = read_model(path)
    images = {str(i): image for i, image in enumerate(smooth_images(model.input.shape, 8))}
    tasks = partition(model, [task.name for task in model.tasks], "exact")
    return quantise(model, tasks, resolve("cpu-avx2"), images, QuantiseOptions(keep_float=keep))


def test_attention_behind_a_copy(files):
    text = "attention has an integer form where one layer makes q, k and v side by side, not behind a copy; keep"
    with pytest.raises(UnsupportedError, match=f"^node_linear: {text}"):
        quantised(files["interleaved heads, tanh GELU"], "*upsample*")
    (task,) = quantised(
        files["interleaved heads, tanh GELU"], "*upsample*", "node_linear*", "node_matmul*"
    ).integers.values()
    assert any(isinstance(step.operator, Linear) for step in task.steps)
    assert any(isinstance(step.operator, QLinear) for step in task.steps)


def test_resize_by_another_factor(files):
    text = "^node_upsample_bilinear2d: a resize has an integer form for a factor of 2, not 8 x 8; keep it in float"
    with pytest.raises(UnsupportedError, match=text):
        quantised(files["separate projections"])


def test_convolution_in_groups(files):
    with pytest.raises(UnsupportedError, match=r"^node_relu: a convolution has an integer form for one group, not 12"):
        quantised(files["CNN"])


def test_a_layer_with_an_activation_may_feed_one_in_float(files):
    found = quantised(files["CNN"], "node_relu")
    (task,) = found.integers.values()
    assert task.kept == ("node_relu",)
    assert found.parameters.sqnr_db[task.task] > 25


def test_a_sum_with_the_residual_is_one_of_16_bits_whoever_reads_it(files):
    found = quantised(files["separate projections"], "*upsample*")
    (task,) = found.integers.values()
    sums = [step for step in task.steps if isinstance(step.operator, QLinear) and step.operator.residual]
    assert len(sums) == 4
    assert {task.tensors[step.outputs[0].buffer].dtype for step in sums} == {"int16"}
    assert found.parameters.sqnr_db[task.task] > 30
