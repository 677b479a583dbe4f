"""Sources of a model: what contradicts itself is refused, what a checkpoint leaves open is said."""

import json
import re

import pytest
import torch

from edgemtl.errors import UsageError
from edgemtl.exporters import build
from edgemtl.exporters.build import ModelSource, build_model
from edgemtl.exporters.checkpoints import save_checkpoint
from edgemtl.exporters.models import TaskSpec
from tests.exporters.small import TASKS, small_config, small_model


def write(folder, **overrides):
    """A checkpoint without a config and the config as a file."""
    model = small_model(**overrides)
    torch.save(model.state_dict(), folder / "m.pth")
    (folder / "c.json").write_text(json.dumps(model.config.to_json()))
    return ModelSource(folder / "m.pth", config=folder / "c.json")


HINT = "(--upstream-flags say otherwise)"
SAYS = "assumed, since the checkpoint does not say: "
OPEN = "gate_input_ahead False, moe_top_k 2, expert_prune False"
WINDOW = dict(routing="window", experts_per_task=3, expert_prune=0.2, gate_input_ahead=True)


@pytest.mark.parametrize(
    ("overrides", "text"),
    [
        ({}, f"{OPEN}; tasks numbered semseg, depth"),
        (dict(routing="single_gate"), f"{OPEN}, regu_experts_fromtask False"),
        (
            WINDOW,
            "gate_input_ahead True, moe_top_k 2, expert_prune below 0.2, regu_experts_fromtask True; "
            "tasks numbered semseg, depth",
        ),
    ],
)
def test_what_a_checkpoint_leaves_open_is_said(tmp_path, overrides, text):
    assert build_model(write(tmp_path, tasks=TASKS[:2], **overrides)).notes == (f"{SAYS}{text} {HINT}",)


def test_the_trainers_order_is_no_surprise(tmp_path):
    tasks = tuple(TaskSpec(name, 1, "other") for name in ("semseg", "normals", "edge"))
    assert build_model(write(tmp_path, tasks=tasks)).notes == (
        f"{SAYS}{OPEN}; tasks numbered semseg, normals, edge {HINT}",
    )
    tasks = tuple(TaskSpec(name, 1, "other") for name in ("edge", "normals"))
    (note,) = build_model(write(tmp_path, tasks=tasks)).notes
    assert "tasks numbered edge, normals, and not normals, edge as M3ViT's trainer numbers them" in note
    tasks = tuple(TaskSpec(name, 1, "other") for name in ("edge", "mine"))
    assert build_model(write(tmp_path, tasks=tasks)).notes == (f"{SAYS}{OPEN}; tasks numbered edge, mine {HINT}",)


def test_what_flags_say_is_not_assumed(tmp_path):
    source = write(tmp_path, routing="single_gate")
    flags = "--gate_input_ahead True --moe_top_k 3 --expert_prune True --regu_experts_fromtask False --epochs 3"
    loaded = build_model(ModelSource(source.checkpoint, config=source.config, upstream_flags=flags))
    assert loaded.notes == ("without effect on a trained model: --epochs",)
    assert loaded.model.config == small_config(routing="single_gate", gate_input_ahead=True, top_k=3, expert_prune=0.1)


def test_a_dense_model_and_a_checkpoint_of_ours_leave_nothing_open(tmp_path):
    assert build_model(write(tmp_path, moe_blocks=())).notes == ()
    save_checkpoint(small_model(), tmp_path / "m.safetensors", {})
    assert build_model(ModelSource(tmp_path / "m.safetensors")).notes == ()


def test_random_weights_of_a_model_with_flags(tmp_path):
    source = write(tmp_path)
    made = build_model(ModelSource(seed=3, config=source.config, upstream_flags="--gate_input_ahead True"))
    assert (made.model.config, made.notes) == (small_config(gate_input_ahead=True), ())


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (dict(), "export must be given exactly one of --checkpoint FILE and --seed N (random weights)"),
        (dict(seed=1), "--seed must come with --preset NAME or --config FILE: random weights need a model"),
        (dict(seed=-1, preset="demo"), "--seed must be an integer from 0 to 9223372036854775807, not -1"),
        (dict(seed=1 << 70, preset="demo"), f"--seed must be an integer from 0 to 9223372036854775807, not {1 << 70}"),
        (dict(seed=1, preset="demo", layout="tf"), "--layout must be one of upstream, edge-moe, not 'tf'"),
        (
            dict(seed=1, preset="demo", layout="edge-moe"),
            "--layout edge-moe must come with --checkpoint: random weights have no layout",
        ),
        (
            dict(seed=1, preset="demo", upstream_config="x.yml"),
            "export must be given one description of the model, not --preset and --upstream-config",
        ),
        (
            dict(checkpoint="m.pth", upstream_flags="--multi_gate True"),
            "--upstream-flags must come with --upstream-config, --preset or --config: flags change a model",
        ),
    ],
)
def test_sources_that_contradict_themselves(arguments, text):
    with pytest.raises(UsageError, match=f"^{re.escape(text)}$"):
        build_model(ModelSource(**arguments))


@pytest.mark.parametrize("content", ["{", "[" * 100_000, "\udcff"])
def test_a_config_that_is_no_json(tmp_path, content):
    (tmp_path / "c.json").write_text(content, errors="surrogateescape")
    with pytest.raises(UsageError, match=r"^--config must be a readable JSON file, and .*c.json is not: "):
        build_model(ModelSource(seed=1, config=tmp_path / "c.json"))


def test_random_weights_beyond_the_memory_of_a_machine(tmp_path, monkeypatch):
    (tmp_path / "c.json").write_text(
        json.dumps(small_config(mlp_hidden=65536, experts=60000, expert_hidden=60000).to_json())
    )
    with pytest.raises(
        UsageError, match=r"^a model of random weights must have at most 4.00 GiB of them, not .* GiB; "
    ):
        build_model(ModelSource(seed=1, config=tmp_path / "c.json"))
    assert build.MOST_RANDOM_BYTES == 4 << 30
