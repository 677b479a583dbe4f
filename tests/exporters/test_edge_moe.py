"""Edge-MoE's folders of raw arrays: each file as its testbench reads it, and what the published ones lack."""

import json
import re

import numpy as np
import pytest
import torch

from edgemtl.errors import CheckpointError
from edgemtl.exporters.build import ModelSource, build_model
from edgemtl.exporters.edge_moe import read_edge_moe
from edgemtl.exporters.models import M3ViT, preset
from tests.exporters import numpy_model
from tests.exporters.small import TASKS, images, small_config, small_model

TWO = TASKS[:2]
LAYOUT = dict(tasks=TWO, depth=2, moe_blocks=(1,))
"""As published: dense blocks at even places, mixtures at odd ones, a gate for each of two tasks."""


def published_names(depth):
    """The trunk as Edge-MoE's testbench reads it, (file, parameter) with their experts' matrices."""
    yield "patch_embed_weight", "patch_embed.proj.weight"
    yield "patch_embed_bias", "patch_embed.proj.bias"
    yield "pos_embed", "pos_embed"
    for i in range(depth):
        pairs = [("norm1", "norm1"), ("norm2", "norm2"), ("qkv", "attn.qkv"), ("attn_proj", "attn.proj")]
        if i % 2:
            pairs += [("htoh4", "mlp.experts.htoh4"), ("h4toh", "mlp.experts.h4toh")]
            yield f"l{i}_w_gate_T_task0", f"blocks.{i}.mlp.gate.0.w_gate"
            yield f"l{i}_w_gate_T_task1", f"blocks.{i}.mlp.gate.1.w_gate"
        else:
            pairs += [("fc1", "mlp.fc1"), ("fc2", "mlp.fc2")]
        for file, parameter in pairs:
            for kind in ("weight", "bias"):
                yield f"l{i}_{file}_{kind}", f"blocks.{i}.{parameter}.{kind}"


def write(folder, state, depth, without=()):
    folder.mkdir(exist_ok=True)
    names = {f"backbone.{parameter}": file for file, parameter in published_names(depth)}
    names |= {name: name.replace(".", "_") for name in state if name.startswith("decoders.") and "num_b" not in name}
    for name, file in names.items():
        value = state[name].numpy()
        if name == "backbone.pos_embed":
            # The class token is part of its first row.
            value = value.copy()
            value[0, 0] += state["backbone.cls_token"].numpy()[0, 0]
        if not any(part in file for part in without):
            (value.T if "w_gate" in file else value).astype("<f4").tofile(folder / f"{file}.float32.bin")


def config_file(folder):
    path = folder / "c.json"
    path.write_text(json.dumps(small_config(**LAYOUT).to_json()))
    return path


@torch.no_grad()
def test_the_model_equals_the_numpy_model(tmp_path):
    saved = small_model(**LAYOUT)
    write(tmp_path / "weights", saved.state_dict(), 2)
    np.zeros(4, np.float32).tofile(tmp_path / "weights/image.float32.bin")
    np.zeros(4, np.float32).tofile(tmp_path / "weights/l1_x_post_moe.float32.bin")
    (tmp_path / "weights/README").write_text("no weights")
    source = ModelSource(tmp_path / "weights", config=config_file(tmp_path), layout="edge-moe")
    loaded = build_model(source)
    (image,) = images(saved.config)
    state = {name: value.double().numpy() for name, value in saved.state_dict().items()}
    for task, spec in enumerate(TWO):
        expected = numpy_model.run(state, saved.config, image.double().numpy(), task)
        result = loaded.model(image[None], spec.name)[0]
        np.testing.assert_allclose(result, expected, atol=2e-5 * np.abs(expected).max())
    assert loaded.notes[0] == "input is pixel / 256: mean 0, deviation 256/255"


def test_the_input_is_a_pixel_over_256(tmp_path):
    """(pixel / 255 - mean) / std"""
    saved = small_model(**LAYOUT)
    write(tmp_path / "weights", saved.state_dict(), 2)
    config = read_edge_moe(tmp_path / "weights", saved.config).model.config
    for pixel in (0, 1, 128, 255):
        for mean, std in zip(config.mean, config.std, strict=True):
            assert (pixel / 255 - mean) / std == pytest.approx(pixel / 256, rel=1e-12)


def test_the_published_files_lack_the_experts_and_the_heads(tmp_path):
    """12 blocks of M3ViT-tiny; two matrices in each of six mixtures, and two heads."""
    with torch.device("meta"):
        shapes = {name: tensor.shape for name, tensor in M3ViT(preset("m3vit_tiny_cityscapes")).state_dict().items()}
    state = {name: torch.zeros(shape) for name, shape in shapes.items()}
    write(tmp_path / "weights", state, 12, without=("htoh4_weight", "h4toh_weight", "decoders"))
    with pytest.raises(CheckpointError) as caught:
        build_model(ModelSource(tmp_path / "weights", layout="edge-moe"))
    message = str(caught.value)
    assert message.startswith(f"{tmp_path / 'weights'} must hold a file for each parameter of its model; missing (")
    missing = message.split("): ")[1].split(", ")
    experts = {f"l{i}_{part}_weight.float32.bin" for i in range(1, 12, 2) for part in ("htoh4", "h4toh")}
    assert experts <= set(missing)
    others = sorted(set(missing) - experts)
    assert len(others) == len(missing) - 12 == sum(n.startswith("decoders") and "num_b" not in n for n in shapes)
    assert all(name.startswith("decoders_") for name in others)


@pytest.mark.parametrize("name", ["l2_norm1_weight", "l1_w_gate_T_task2", "head"])
def test_unknown_files_are_named(tmp_path, name):
    saved = small_model(**LAYOUT)
    write(tmp_path / "weights", saved.state_dict(), 2)
    np.zeros(4, np.float32).tofile(tmp_path / f"weights/{name}.float32.bin")
    with pytest.raises(CheckpointError, match=rf"of its model; unexpected \(1\): {name}.float32.bin$"):
        read_edge_moe(tmp_path / "weights", saved.config)


def test_files_of_another_size_are_named(tmp_path):
    saved = small_model(**LAYOUT)
    write(tmp_path / "weights", saved.state_dict(), 2)
    np.zeros(11, np.float32).tofile(tmp_path / "weights/l0_norm1_bias.float32.bin")
    text = "wrong (1): l0_norm1_bias.float32.bin (must be 48 bytes for [12], not 44)"
    with pytest.raises(CheckpointError, match=re.escape(text)):
        read_edge_moe(tmp_path / "weights", saved.config)


def test_values_that_are_not_finite_are_refused(tmp_path):
    saved = small_model(**LAYOUT)
    write(tmp_path / "weights", saved.state_dict(), 2)
    np.full(12, np.nan, np.float32).tofile(tmp_path / "weights/l0_norm1_bias.float32.bin")
    with pytest.raises(CheckpointError, match=r"backbone.blocks.0.norm1.bias \(must be finite, not NaN or infinite\)"):
        read_edge_moe(tmp_path / "weights", saved.config)


def test_a_file_is_no_folder(tmp_path):
    (tmp_path / "m.pth").write_bytes(b"x")
    with pytest.raises(
        CheckpointError, match=r"^checkpoint must be a folder of .float32.bin files with --layout edge-moe"
    ):
        read_edge_moe(tmp_path / "m.pth", small_config())
