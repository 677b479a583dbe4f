"""Flags of M3ViT's trainer: the model they mean, by the facts of its code, and those that are refused."""

import json
import re

import numpy as np
import pytest
import torch

from edgemtl.errors import ConfigError, UnsupportedError
from edgemtl.exporters.build import ModelSource, build_model
from edgemtl.exporters.models import M3ViT
from edgemtl.exporters.upstream_flags import apply_flags, parse_flags
from tests.exporters import numpy_model
from tests.exporters.small import TASKS, images, small_config, small_model

WINDOW = "--task_one_hot True --regu_experts_fromtask True --num_experts_pertask 3"


def of_flags(text, **overrides):
    config = small_config(**overrides)
    changed = apply_flags(config, parse_flags(text).given).to_json()
    return {key: value for key, value in changed.items() if value != config.to_json()[key]}


@pytest.mark.parametrize(
    ("text", "changes"),
    [
        ("", {}),
        ("--multi_gate True", {}),
        ("--gate_input_ahead True", {"gate_input_ahead": True}),
        ("--gate_input_ahead=yes", {"gate_input_ahead": True}),
        ("--gate_input_ahead 0", {}),
        ("--expert_prune True", {"expert_prune": 0.1}),
        ("--multi_gate False", {"routing": "single_gate"}),
        ("--multi_gate f --task_one_hot True", {"routing": "single_gate"}),
        (
            "--multi_gate False --task_one_hot True --gate_task_specific_dim 6",
            {"routing": "task_conditioned", "task_embedding": 6},
        ),
        (f"--multi_gate False {WINDOW}", {"routing": "window", "experts_per_task": 3}),
        (
            f"--multi_gate False {WINDOW} --gate_task_specific_dim 6",
            {"routing": "window", "experts_per_task": 3, "task_embedding": 6},
        ),
        ("--moe_experts 8 --moe_top_k 4 --moe_mlp_ratio 2", {"experts": 8, "top_k": 4, "expert_hidden": 24}),
        ("--moe_mlp_ratio -1", {"expert_hidden": 20}),
        ("--moe_gate_type noisy_vmoe --moe_gate_arch ''", {}),
    ],
)
def test_what_flags_mean(text, changes):
    assert of_flags(text) == changes


def test_flags_replace_what_a_config_says():
    window = dict(routing="window", experts_per_task=3, expert_prune=0.3, gate_input_ahead=True)
    assert of_flags("", **window) == {}
    assert of_flags("--num_experts_pertask 2", **window) == {"experts_per_task": 2}
    assert of_flags("--expert_prune False --gate_input_ahead False", **window) == {
        "expert_prune": 0.0,
        "gate_input_ahead": False,
    }
    assert of_flags("--regu_experts_fromtask False", **window) == {"routing": "single_gate", "experts_per_task": 0}


def test_a_dense_model_has_no_gates_to_change():
    assert of_flags("--gate_input_ahead True --moe_top_k 99", moe_blocks=()) == {}


def test_flags_of_training_have_no_effect_and_are_named():
    text = "--lr 0.01 --regu_subimage True --eval --pretrained x.pth --moe_data_distributed --vmoe_noisy_std 0"
    flags = parse_flags(text)
    names = "--lr, --regu_subimage, --eval, --pretrained, --moe_data_distributed, --vmoe_noisy_std"
    assert sorted(flags.notes[0].split(": ")[1].split(", ")) == sorted(names.split(", "))
    assert flags.notes[0].startswith("without effect on a trained model: ")
    assert flags.given == {}


TRAIN_OTHERWISE = "edgemtl cannot import this model; train without the flag"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "--regu_sem True",
            f"--regu_sem True: segmentation maps as an input of gates are not implemented; {TRAIN_OTHERWISE}",
        ),
        (
            "--sem_force t",
            f"--sem_force True: segmentation maps as an input of gates are not implemented; {TRAIN_OTHERWISE}",
        ),
        (
            "--moe_gate_arch vit_gate",
            f"--moe_gate_arch: a network of its own as the gate is not implemented; {TRAIN_OTHERWISE}",
        ),
        (
            "--moe_gate_type noisy",
            f"--moe_gate_type noisy: it must be noisy_vmoe, the gate that upstream can run; {TRAIN_OTHERWISE}",
        ),
        (
            "--gate_input_behind True",
            "--upstream-flags --gate_input_behind True: edgemtl does not know it as a flag of M3ViT's trainer; "
            "check its spelling, written in full",
        ),
        (
            "--gate_input True",
            "--upstream-flags --gate_input True: edgemtl does not know it as a flag of M3ViT's trainer; "
            "check its spelling, written in full",
        ),
        (
            "--gate_input_ahead maybe",
            "--upstream-flags: argument --gate_input_ahead: must be True or False, not 'maybe'; "
            "give flags as to train_fastmoe.py",
        ),
        (
            "--moe_top_k two",
            "--upstream-flags: argument --moe_top_k: invalid int value: 'two'; give flags as to train_fastmoe.py",
        ),
        (
            "--moe_top_k",
            "--upstream-flags: argument --moe_top_k: expected one argument; give flags as to train_fastmoe.py",
        ),
        ("--ckp 'x", "--upstream-flags: No closing quotation; give flags as on a command line"),
        (
            "--gate_task_specific_dim 6",
            "--multi_gate True with --gate_task_specific_dim: upstream's gates then expect a task embedding that they "
            "are not given; give the one it has",
        ),
        (
            WINDOW,
            "--multi_gate True with --regu_experts_fromtask True: upstream's gates then choose among all experts, and "
            "are moved by the window afterwards; give the one it has",
        ),
        (
            "--multi_gate False --regu_experts_fromtask True --num_experts_pertask 3",
            "--regu_experts_fromtask True without --task_one_hot True: upstream's trainer then tells the gate no task, "
            "and the windows are not used; add --task_one_hot True if the tasks were run one by one, or leave it out",
        ),
    ],
)
def test_refused_by_name(text, message):
    with pytest.raises(UnsupportedError, match=f"^{re.escape(message)}$"):
        apply_flags(small_config(), parse_flags(text).given)


def test_numbers_that_make_no_model():
    expected = "--upstream-flags must describe a model: top_k must be at most experts (5), not 6"
    with pytest.raises(ConfigError, match=f"^{re.escape(expected)}$"):
        apply_flags(small_config(), parse_flags("--moe_top_k 6").given)


TWO = TASKS[:2]
MEANINGS = {
    "--gate_input_ahead True": dict(gate_input_ahead=True),
    "--expert_prune True": dict(expert_prune=0.1),
    "--moe_top_k 3": dict(top_k=3),
    "--multi_gate False": dict(routing="single_gate"),
    f"--multi_gate False {WINDOW}": dict(routing="window", experts_per_task=3),
    f"--multi_gate False {WINDOW} --gate_task_specific_dim 6 --gate_input_ahead True": dict(
        routing="window", experts_per_task=3, task_embedding=6, gate_input_ahead=True
    ),
}


@pytest.mark.parametrize(("text", "meaning"), MEANINGS.items())
@torch.no_grad()
def test_the_model_of_flags_equals_the_numpy_model(tmp_path, text, meaning):
    """The same file with and without the flags: two models, each equal to its own reference."""
    saved = small_model(tasks=TWO, **meaning)
    torch.save({"state_dict": saved.state_dict()}, tmp_path / "m.pth")
    (tmp_path / "c.json").write_text(json.dumps(small_config(tasks=TWO).to_json()))
    model = build_model(ModelSource(tmp_path / "m.pth", config=tmp_path / "c.json", upstream_flags=text)).model
    (image,) = images(saved.config)
    state = {name: value.double().numpy() for name, value in saved.state_dict().items()}
    for task, name in enumerate(("semseg", "depth")):
        window = [(0, 3), (2, 3)][task] if "window" in meaning.values() else None
        expected = numpy_model.run(state, small_config(tasks=TWO, **meaning), image.double().numpy(), task, window)
        np.testing.assert_allclose(model(image[None], name)[0], expected, atol=2e-5 * np.abs(expected).max())
        if "routing" not in meaning:
            plain = M3ViT(small_config(tasks=TWO)).eval()
            plain.load_state_dict(saved.state_dict())
            assert np.abs(plain(image[None], name)[0].numpy() - expected).max() > 1e-3 * np.abs(expected).max()
