"""`edgemtl export` of checkpoints that do not say all: notes, refusals and the file."""

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from edgemtl.cli.app import main
from edgemtl.exporters.models import M3ViT
from tests.support.models import build, small_config
from tests.support.run import run_onnx


@pytest.fixture
def checkpoint(in_folder):
    """A model whose gate reads its block's input, in a file and with a config that do not say so."""
    model = build(small_config(gate_input_ahead=True), 5)
    torch.save({"state_dict": model.state_dict()}, "m.pth")
    config = small_config().to_json()
    del config["gate_input_ahead"]
    Path("c.json").write_text(json.dumps(config))
    return model


def export(*arguments):
    return main(["export", "--checkpoint", "m.pth", "--config", "c.json", "-o", "m.onnx", *arguments])


def largest_error(model: M3ViT) -> float:
    image = torch.randn(1, 3, 16, 24, generator=torch.Generator().manual_seed(7))
    outputs = run_onnx(Path("m.onnx"), {"image": image.numpy()})
    with torch.no_grad():
        expected = {name: value.numpy() for name, value in model.forward_all(image).items()}
    return max(np.abs(outputs[name] - value).max() / np.abs(value).max() for name, value in expected.items())


def test_what_was_assumed_is_printed(capsys, checkpoint):
    assert export("--json") == 0
    printed = capsys.readouterr()
    note = (
        "assumed, since the checkpoint does not say: gate_input_ahead False, moe_top_k 2, expert_prune False; "
        "tasks numbered semseg, depth (--upstream-flags say otherwise)"
    )
    assert f"note: {note}\n" in printed.err
    assert json.loads(printed.out)["notes"] == ["weights are those under state_dict", note]
    assert largest_error(checkpoint) > 1e-3


def test_flags_give_the_model_that_was_trained(capsys, checkpoint):
    assert export("--upstream-flags", "--gate_input_ahead True") == 0
    assert "gate_input_ahead" not in capsys.readouterr().err
    assert largest_error(checkpoint) < 1e-5
    document = json.loads(onnx.load("m.onnx").metadata_props[0].value)
    assert document["model"]["gate_input_ahead"] is True


def test_a_flag_without_a_model_is_refused_before_anything_is_read(capsys, checkpoint):
    Path("m.pth").write_bytes(b"damaged")
    assert export("--upstream-flags", "--sem_force True") == 3
    assert "error: --sem_force True: " in capsys.readouterr().err
    assert not Path("m.onnx").exists()


def test_a_yaml_file_with_a_foreign_backbone_is_refused(capsys, checkpoint):
    Path("m.yml").write_text("backbone: resnet50\n")
    assert main(["export", "--checkpoint", "m.pth", "--upstream-config", "m.yml", "-o", "m.onnx"]) == 3
    assert "error: backbone in m.yml: it must be VisionTransformer_moe" in capsys.readouterr().err


def test_weights_that_overflow_are_named_as_the_cause(capsys, checkpoint):
    state = checkpoint.state_dict()
    state["backbone.blocks.0.mlp.fc2.weight"][:] = 3e38
    torch.save(state, "m.pth")
    assert export() == 1
    assert "task semseg must give finite values in torch, and gives NaN or infinite ones" in capsys.readouterr().err
    assert not Path("m.onnx").exists()
