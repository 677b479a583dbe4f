"""Plain single-task networks exported by torch: every node in a kernel of ours, results as onnxruntime's."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from torch import nn

from edgemtl.codegen.cpu import check, compile_cpu
from edgemtl.frontend import read_model
from edgemtl.partition import TaskModel, partition
from edgemtl.processor import resolve
from tests.codegen.graphs import random
from tests.codegen.harness import Machine
from tests.codegen.nets import NETS, SIZE


def exported(net: nn.Module, path: Path) -> TaskModel:
    """The one task of a net with random weights and batch norm statistics."""
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.3)
            module.running_var.uniform_(0.5, 2.0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter's own use of torch
        torch.onnx.export(net.eval(), (torch.randn(1, 3, *SIZE),), path, dynamo=True, opset_version=20, verbose=False)
    model = read_model(path)
    return partition(model, [task.name for task in model.tasks], "exact")[0]


@pytest.mark.parametrize("name", NETS)
def test_plain_networks_match_onnxruntime(name: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    path = tmp_path / "net.onnx"
    task = exported(NETS[name](), path)
    rows = check([task], resolve("cpu"))
    assert not [row for row in rows if row.how in ("generic", "unsupported")]
    softmaxes = [row.how for row in rows if row.op == "Softmax"]
    assert softmaxes == ([] if name == "CNN" else ["attention", "attention"])
    machine = Machine(compile_cpu((task,), resolve("cpu"), memory_budget=None))
    image = random(*task.inputs[0].shape, seed=1)
    (expected,) = onnxruntime.InferenceSession(path).run(None, {task.inputs[0].name: image})
    np.testing.assert_allclose(machine.run(task.task.name, image), expected, atol=1e-4, rtol=1e-4)
