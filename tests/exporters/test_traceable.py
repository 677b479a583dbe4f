"""The graph outside the experts is static: torch.export sees plain operators and no choice by data."""

import pytest
import torch

from tests.exporters.small import ROUTINGS, images, small_model

PLAIN = {
    "aten.conv2d.default",
    "aten.flatten.using_ints",
    "aten.transpose.int",
    "aten.permute.default",
    "aten.reshape.default",
    "aten.unbind.int",
    "aten.expand.default",
    "aten.cat.default",
    "aten.stack.default",
    "aten.chunk.default",
    "aten.slice.Tensor",
    "aten.select.int",
    "aten.add.Tensor",
    "aten.mul.Tensor",
    "aten.matmul.default",
    "aten.linear.default",
    "aten.layer_norm.default",
    "aten.batch_norm.default",
    "aten.softmax.int",
    "aten.gelu.default",
    "aten.relu.default",
    "aten.upsample_bilinear2d.vec",
    "aten.zeros_like.default",
}


class OneTask(torch.nn.Module):
    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, image):
        return self.model(image, "semseg")


@pytest.mark.parametrize("overrides", ROUTINGS.values(), ids=ROUTINGS.keys())
def test_only_plain_operators(overrides):
    model = small_model(**overrides)
    for layer in model.moe_layers():
        layer.compute = lambda x, *_: torch.zeros_like(x)
    program = torch.export.export(OneTask(model), (images(model.config),))
    found = {str(node.target) for node in program.graph.nodes if node.op == "call_function"}
    assert found - {"<built-in function getitem>"} <= PLAIN
