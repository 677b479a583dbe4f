"""Configs: what they refuse, word for word, and what they work out."""

import json
import re

import pytest

from edgemtl.errors import ConfigError
from edgemtl.exporters.models import ModelConfig, TaskSpec, preset
from edgemtl.exporters.models.presets import PRESETS
from edgemtl.vocabulary import KINDS
from tests.exporters.small import TASKS, small_config

REFUSED = [
    (dict(image=(16, 25)), "image must be a multiple of patch (8) in height and width, not (16, 25)"),
    (dict(image=[16, 24]), "image must be a tuple of two positive integers, height and width, not [16, 24]"),
    (dict(image=(16,)), "image must be a tuple of two positive integers, height and width, not (16,)"),
    (dict(image=(0, 24)), "image must be a tuple of two positive integers, height and width, not (0, 24)"),
    (dict(patch=0), "patch must be a positive integer, not 0"),
    (dict(dim=12.0), "dim must be a positive integer, not 12.0"),
    (dict(depth=True), "depth must be a positive integer, not True"),
    (dict(heads=-1), "heads must be a positive integer, not -1"),
    (dict(heads=5), "dim must be a multiple of heads (5), not 12"),
    (dict(mlp_hidden="20"), "mlp_hidden must be a positive integer, not '20'"),
    (dict(tasks=()), "tasks must be a tuple of at least one TaskSpec, not ()"),
    (dict(tasks=("depth",)), "tasks must be a tuple of at least one TaskSpec, not ('depth',)"),
    (dict(tasks=TASKS[:1] * 2), "tasks must be named differently from each other, not ['semseg', 'semseg']"),
    (
        dict(moe_blocks=(1, 3)),
        "moe_blocks must be a tuple of increasing block indices below depth (3), not (1, 3)",
    ),
    (
        dict(moe_blocks=(2, 1)),
        "moe_blocks must be a tuple of increasing block indices below depth (3), not (2, 1)",
    ),
    (dict(moe_blocks=[1]), "moe_blocks must be a tuple of increasing block indices below depth (3), not [1]"),
    (
        dict(moe_blocks=(-1,)),
        "moe_blocks must be a tuple of increasing block indices below depth (3), not (-1,)",
    ),
    (dict(experts=0), "experts must be a positive integer, not 0"),
    (dict(top_k=0), "top_k must be a positive integer, not 0"),
    (dict(top_k=6), "top_k must be at most experts (5), not 6"),
    (dict(expert_hidden=0), "expert_hidden must be a positive integer, not 0"),
    (dict(expert_prune=1.0), "expert_prune must be a number of at least 0 and below 1, not 1.0"),
    (dict(expert_prune=float("nan")), "expert_prune must be a number of at least 0 and below 1, not nan"),
    (dict(routing="hash"), "routing must be one of multi_gate, single_gate, task_conditioned, window, not 'hash'"),
    (dict(routing="window"), "experts_per_task must be from top_k (2) to experts (5), not 0"),
    (
        dict(routing="window", experts_per_task=6),
        "experts_per_task must be from top_k (2) to experts (5), not 6",
    ),
    (dict(experts_per_task=3), "experts_per_task must be 0 unless routing is window, not 3"),
    (dict(task_embedding=3), "task_embedding must be 0 unless routing is task_conditioned or window, not 3"),
    (
        dict(routing="single_gate", task_embedding=3),
        "task_embedding must be 0 unless routing is task_conditioned or window, not 3",
    ),
    (
        dict(routing="window", experts_per_task=3, task_embedding=-1),
        "task_embedding must be an integer of at least 0, not -1",
    ),
    (dict(dim=65538), "dim must be at most 65536, not 65538"),
    (dict(image=(16, 8 * 10**9)), "image must be at most 65536, not (16, 8000000000)"),
    (dict(head_channels=(7, 10**9)), "head_channels must be at most 65536, not (7, 1000000000)"),
    (dict(head_channels=(1,) * 65), "head_channels must be at most 64 stages, not 65"),
    (dict(depth=10**9), "depth must be at most 1024, not 1000000000"),
    (dict(experts=10**9), "experts must be at most 65536, not 1000000000"),
    (
        dict(tasks=(TaskSpec("a", 10**9, "other"),)),
        "channels of task a must be at most 65536, not 1000000000",
    ),
    (dict(tasks=tuple(TaskSpec(f"t{i}", 1, "other") for i in range(65))), "tasks must be at most 64, not 65"),
    (
        dict(routing="task_conditioned", task_embedding=10**9),
        "task_embedding must be at most 65536, not 1000000000",
    ),
    (dict(gate_input_ahead=1), "gate_input_ahead must be true or false, not 1"),
    (dict(routing="task_conditioned"), "task_embedding must be a positive integer, not 0"),
    (dict(class_token=1), "class_token must be true or false, not 1"),
    (dict(head_channels=()), "head_channels must be a tuple of at least one positive integer, not ()"),
    (
        dict(head_channels=(8, 0)),
        "head_channels must be a tuple of at least one positive integer, not (8, 0)",
    ),
    (dict(norm_eps=10**309), f"norm_eps must be a positive number, not {10**309}"),
    (dict(mean=(0, 0, 10**309)), f"mean must be a tuple of three finite numbers, not (0, 0, {10**309})"),
    (dict(norm_eps=float("inf")), "norm_eps must be a positive number, not inf"),
    (dict(norm_eps=0.0), "norm_eps must be a positive number, not 0.0"),
    (dict(mean=(0, 1)), "mean must be a tuple of three finite numbers, not (0, 1)"),
    (dict(std=(1, 1, 0)), "std must be a tuple of three positive finite numbers, not (1, 1, 0)"),
]


@pytest.mark.parametrize(("overrides", "text"), REFUSED, ids=lambda v: v if isinstance(v, str) else "")
def test_refuses(overrides, text):
    with pytest.raises(ConfigError, match=f"^{re.escape(text)}$"):
        small_config(**overrides)


@pytest.mark.parametrize(
    ("values", "text"),
    [
        (
            ("a b", 1, "depth"),
            "task name must be a letter followed by letters, digits and underscores, not 'a b'",
        ),
        (("x", 0, "depth"), "channels of task x must be a positive integer, not 0"),
        (
            ("x", 1, "pose"),
            f"kind of task x must be one of {', '.join(KINDS)}, not 'pose'",
        ),
    ],
)
def test_task_refuses(values, text):
    with pytest.raises(ConfigError, match=f"^{re.escape(text)}$"):
        TaskSpec(*values)


def test_expert_fields_do_not_matter_to_a_dense_model():
    assert small_config(moe_blocks=(), top_k=99).moe_blocks == ()


@pytest.mark.parametrize("name", PRESETS)
def test_json_round_trip(name):
    config = preset(name)
    assert ModelConfig.from_json(json.loads(json.dumps(config.to_json()))) == config


def test_from_json_names_wrong_fields():
    data = small_config().to_json()
    patch = data.pop("patch")
    rule = (
        r"^model config must have the fields image, patch, dim, depth, heads, mlp_hidden, tasks, and patch is missing"
    )
    with pytest.raises(ConfigError, match=rf"{rule}; `export --print-config demo` shows them all$"):
        ModelConfig.from_json(data)
    data |= {"patch": patch, "colour": 8}
    with pytest.raises(
        ConfigError, match=r"^model config must not have a field 'colour', which there is not; the fields"
    ):
        ModelConfig.from_json(data)
    data["dpeth"] = data.pop("colour")
    with pytest.raises(ConfigError, match=r"'dpeth', which there is not; did you mean 'depth'"):
        ModelConfig.from_json(data)
    data = small_config().to_json()
    data["tasks"][1].pop("kind")
    with pytest.raises(ConfigError, match=r"^task must have the fields name, channels, kind, and kind is missing"):
        ModelConfig.from_json(data)
    with pytest.raises(ConfigError, match=r"^tasks must be a list of objects, not 3$"):
        ModelConfig.from_json({**small_config().to_json(), "tasks": 3})
    with pytest.raises(ConfigError, match=r"^model config must be a JSON object, not \[\]$"):
        ModelConfig.from_json([])


@pytest.mark.parametrize(
    ("experts", "size", "tasks", "starts"),
    [
        (16, 8, 2, [0, 8]),
        (16, 8, 3, [0, 4, 8]),
        (16, 4, 5, [0, 3, 6, 9, 12]),
        (8, 8, 3, [0, 0, 0]),
        (6, 2, 1, [0]),
    ],
)
def test_windows_are_evenly_spaced(experts, size, tasks, starts):
    specs = tuple(TaskSpec(f"t{i}", 1, "other") for i in range(tasks))
    config = small_config(tasks=specs, routing="window", experts=experts, experts_per_task=size)
    assert [config.window(i) for i in range(tasks)] == [(start, size) for start in starts]


def test_no_window_without_window_routing():
    assert small_config().window(1) is None


def test_tokens_and_grid():
    assert (small_config().grid, small_config().tokens) == ((2, 3), 7)
    assert small_config(class_token=False).tokens == 6


def test_a_field_that_came_later_may_be_absent():
    data = small_config(gate_input_ahead=True).to_json()
    assert ModelConfig.from_json(data).gate_input_ahead
    del data["gate_input_ahead"]
    assert ModelConfig.from_json(data) == small_config()


# name: dim, heads, image, {task: channels}, top-k, expert hidden
PUBLISHED = {
    "m3vit_tiny_cityscapes": (192, 3, (128, 256), {"semseg": 7, "depth": 1}, 2, 384),
    "m3vit_tiny_cityscapes_paper": (192, 3, (128, 256), {"semseg": 7, "depth": 1}, 4, 192),
    "m3vit_small_nyud": (384, 12, (480, 640), {"semseg": 40, "depth": 1}, 2, 768),
    "m3vit_small_nyud_paper": (384, 12, (480, 640), {"semseg": 40, "depth": 1}, 4, 384),
    "m3vit_base_nyud_paper": (768, 12, (480, 640), {"semseg": 40, "depth": 1}, 4, 768),
    "m3vit_base_nyud": (768, 12, (480, 640), {"semseg": 40, "depth": 1}, 2, 1536),
}
PASCAL = {"semseg": 21, "human_parts": 7, "sal": 1, "normals": 3, "edge": 1}
UPSTREAM_ORDER = ["semseg", "human_parts", "sal", "normals", "edge", "depth"]
for _size, _dim in (("small", 384), ("base", 768)):
    PUBLISHED[f"m3vit_{_size}_pascal"] = (_dim, 12, (512, 512), PASCAL, 2, 2 * _dim)
    PUBLISHED[f"m3vit_{_size}_pascal_paper"] = (_dim, 12, (512, 512), PASCAL, 4, _dim)


@pytest.mark.parametrize("name", [name for name in PRESETS if name != "demo"])
def test_published_sizes(name):
    config, (dim, heads, image, tasks, k, hidden) = preset(name), PUBLISHED[name]
    assert (config.dim, config.heads, config.image, config.top_k, config.expert_hidden) == (
        dim,
        heads,
        image,
        k,
        hidden,
    )
    assert [(task.name, task.channels) for task in config.tasks] == list(tasks.items())
    assert list(config.task_names) == [name for name in UPSTREAM_ORDER if name in tasks]
    assert (config.patch, config.depth, config.experts, config.mlp_hidden) == (16, 12, 16, 4 * dim)
    assert (config.moe_blocks, config.class_token, config.head_channels) == (
        (1, 3, 5, 7, 9, 11),
        True,
        (256,) * 4,
    )
    assert (config.routing, config.norm_eps) == ("multi_gate", 1e-6)


def test_demo():
    assert preset("demo").to_json() == {
        "image": [96, 128],
        "patch": 8,
        "dim": 96,
        "depth": 6,
        "heads": 3,
        "mlp_hidden": 384,
        "tasks": [
            {"name": "semseg", "channels": 8, "kind": "segmentation"},
            {"name": "depth", "channels": 1, "kind": "depth"},
            {"name": "normals", "channels": 3, "kind": "normals"},
            {"name": "edges", "channels": 1, "kind": "edges"},
        ],
        "moe_blocks": [1, 3, 5],
        "experts": 8,
        "top_k": 2,
        "expert_hidden": 192,
        "routing": "multi_gate",
        "experts_per_task": 0,
        "task_embedding": 0,
        "expert_prune": 0.0,
        "class_token": False,
        "head_channels": [64, 48, 32],
        "norm_eps": 1e-6,
        "mean": [0.5, 0.5, 0.5],
        "std": [0.25, 0.25, 0.25],
        "gate_input_ahead": False,
    }


def test_preset_overrides():
    assert preset("demo", depth=8, moe_blocks=()).depth == 8
    with pytest.raises(ConfigError, match=r"^preset must be one of demo, m3vit_tiny_cityscapes, .*, not 'huge'$"):
        preset("huge")
    with pytest.raises(ConfigError, match=r"^preset override must be a field of ModelConfig, not layers$"):
        preset("demo", layers=3)
