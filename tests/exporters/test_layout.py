"""Names and shapes of the parameters: the upstream checkpoint layout, written out."""

import pytest
import torch

from edgemtl.exporters.models import M3ViT, preset
from tests.exporters.small import small_config

BLOCK = {
    "norm1.weight": (12,),
    "norm1.bias": (12,),
    "attn.qkv.weight": (36, 12),
    "attn.qkv.bias": (36,),
    "attn.proj.weight": (12, 12),
    "attn.proj.bias": (12,),
    "norm2.weight": (12,),
    "norm2.bias": (12,),
}
DENSE = {"fc1.weight": (20, 12), "fc1.bias": (20,), "fc2.weight": (12, 20), "fc2.bias": (12,)}
EXPERTS = {
    "experts.htoh4.weight": (5, 9, 12),
    "experts.htoh4.bias": (5, 9),
    "experts.h4toh.weight": (5, 12, 9),
    "experts.h4toh.bias": (5, 12),
}
MULTI_GATE = {f"gate.{task}.w_gate": (12, 5) for task in range(3)}
TASK_EMBEDDING = {
    "fc1.weight": (6, 3),
    "fc1.bias": (6,),
    "fc2.weight": (6, 6),
    "fc2.bias": (6,),
    "norm.weight": (6,),
    "norm.bias": (6,),
}


def norm(name, width):
    vectors = ("weight", "bias", "running_mean", "running_var")
    return {f"{name}.{v}": (width,) for v in vectors} | {f"{name}.num_batches_tracked": ()}


def head(name, channels):
    table = {"norm.weight": (12,), "norm.bias": (12,), "conv_0.weight": (7, 12, 3, 3), "conv_0.bias": (7,)}
    table |= {"conv_1.weight": (6, 7, 3, 3), "conv_1.bias": (6,), "conv_2.weight": (channels, 6, 1, 1)}
    table |= {"conv_2.bias": (channels,)} | norm("syncbn_fc_0", 7) | norm("syncbn_fc_1", 6)
    return {f"decoders.{name}.{key}": shape for key, shape in table.items()}


def layout(moe_blocks, gates):
    table = {"pos_embed": (1, 7, 12), "cls_token": (1, 1, 12)}
    table |= {"patch_embed.proj.weight": (12, 3, 8, 8), "patch_embed.proj.bias": (12,)}
    for i in range(3):
        mlp = EXPERTS | gates if i in moe_blocks else DENSE
        table |= {f"blocks.{i}.{key}": shape for key, shape in BLOCK.items()}
        table |= {f"blocks.{i}.mlp.{key}": shape for key, shape in mlp.items()}
    heads = head("semseg", 4) | head("depth", 1) | head("normals", 3)
    return {f"backbone.{key}": shape for key, shape in table.items()} | heads


def shapes(model):
    return {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}


@pytest.mark.parametrize(
    ("overrides", "gates", "extra"),
    [
        ({}, MULTI_GATE, {}),
        (dict(routing="window", experts_per_task=3), {"gate.w_gate": (12, 5)}, {}),
        (dict(routing="single_gate"), {"gate.w_gate": (12, 5)}, {}),
        (dict(routing="task_conditioned", task_embedding=6), {"gate.w_gate": (18, 5)}, TASK_EMBEDDING),
        (dict(routing="window", experts_per_task=3, task_embedding=6), {"gate.w_gate": (18, 5)}, TASK_EMBEDDING),
        (dict(gate_input_ahead=True), MULTI_GATE, {}),
    ],
    ids=["multi_gate", "window", "single_gate", "task_conditioned", "window_of_a_known_task", "gate_input_ahead"],
)
def test_upstream_layout(overrides, gates, extra):
    expected = layout((1, 2), gates)
    expected |= {f"backbone.gate_task_represent.{key}": shape for key, shape in extra.items()}
    assert shapes(M3ViT(small_config(**overrides))) == expected


def test_dense_layout():
    assert shapes(M3ViT(small_config(moe_blocks=()))) == layout((), {})


def test_no_class_token():
    expected = layout((1, 2), MULTI_GATE) | {"backbone.pos_embed": (1, 6, 12)}
    expected.pop("backbone.cls_token")
    assert shapes(M3ViT(small_config(class_token=False))) == expected


def test_published_heads_have_four_convolutions():
    with torch.device("meta"):
        names = shapes(M3ViT(preset("m3vit_tiny_cityscapes")))
    assert names["decoders.semseg.conv_0.weight"] == (256, 192, 3, 3)
    assert names["decoders.semseg.conv_3.weight"] == (256, 256, 3, 3)
    assert names["decoders.semseg.conv_4.weight"] == (7, 256, 1, 1)
    assert names["decoders.depth.syncbn_fc_3.running_var"] == (256,)
    assert names["backbone.pos_embed"] == (1, 129, 192)
    assert "backbone.norm.weight" not in names
