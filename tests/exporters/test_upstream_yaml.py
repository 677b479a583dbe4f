"""M3ViT's yaml files: the model, and every key that is refused."""

import re
from dataclasses import replace

import pytest
import torch
import yaml

from edgemtl.errors import CheckpointError, ConfigError, UnsupportedError, UsageError
from edgemtl.exporters.build import ModelSource, build_model
from edgemtl.exporters.models import M3ViT, preset
from edgemtl.exporters.upstream_flags import apply_flags, parse_flags
from edgemtl.exporters.upstream_yaml import read_yaml

TEXT = """
setup: multi_task
train_db_name: {data_set}
val_db_name: {data_set}
trBatch: 8
valBatch: 8
nworkers: 4
epochs: 100
optimizer: sgd
optimizer_kwargs: {{lr: 0.002, momentum: 0.9, weight_decay: 0.0001}}
scheduler: poly
model: baseline
model_kwargs: {{tam: True, tam_level2: False}}
multi_level: False
backbone: VisionTransformer_moe
backbone_kwargs:
   dilated: False
   model_name: 'vit_small_patch16_224'
   img_size: {size}
   patch_size: 16
   in_chans: 3
   embed_dim: 384
   depth: 12
   num_heads: 12
   num_classes: 40
   drop_rate: 0.
   pos_embed_interp: True
   align_corners: False
   mlp_ratio: 4.
   qkv_bias: True,
   attn_drop_rate: 0.
   drop_path_rate: 0.
   random_init: True
   distilled: False
   moe_mlp_ratio: 2
   moe_top_k: 2
   gate_dim: 389
   gate_return_decoupled_activation: False
head: VisionTransformerUpHead
head_kwargs:
   in_channels: 1024
   channels: 512
   embed_dim: 384
   img_size: {size}
   align_corners: False
   num_conv: 4
   upsampling_method: 'bilinear'
   num_upsampe_layer: 4
   num_classes: 40
   in_index: 11
   patch_size: 16
   conv3x3_conv1x1: True
task_dictionary: {tasks}
loss_kwargs: {{loss_scheme: baseline}}
eval_final_10_epochs_only: True
"""
PASCAL = "{include_semseg: True, include_human_parts: True, include_sal: True, include_edge: True, include_normals: True, edge_w: 0.95}"  # fmt: skip  # noqa: E501


def text(data_set="PASCALContext", size="[512,512]", tasks=PASCAL):
    return TEXT.format(data_set=data_set, size=size, tasks=tasks)


@pytest.fixture
def read(tmp_path):
    def read(content, flags=""):
        path = tmp_path / "m.yml"
        path.write_text(content if isinstance(content, str) else yaml.safe_dump(content))
        given = parse_flags(flags).given
        return apply_flags(read_yaml(path, given), given)

    return read


def test_published_files_are_the_presets(read):
    """With the flags of the project's README, top-k 4 and hidden dim as wide as the token, they are the paper's."""
    assert read(text(), "--multi_gate True") == preset("m3vit_small_pascal")
    flags = "--multi_gate True --moe_top_k 4 --moe_mlp_ratio 1 --gate_task_specific_dim -1 --task_one_hot False"
    assert read(text(), flags) == preset("m3vit_small_pascal_paper")
    nyud = text("NYUD", "[480,640]", "{include_depth: True, include_semseg: True}")
    assert read(nyud, "--multi_gate True") == preset("m3vit_small_nyud")


def test_without_flags_one_gate_serves_all_tasks(read):
    config = read(text())
    assert (config.routing, config.experts, config.top_k, config.gate_input_ahead) == ("single_gate", 16, 2, False)


@pytest.mark.parametrize(
    ("data_set", "included", "tasks"),
    [
        ("NYUD", ("edge", "depth", "normals", "semseg"), [("semseg", 40), ("normals", 3), ("edge", 1), ("depth", 1)]),
        ("CityScapes", ("depth", "semseg"), [("semseg", 7), ("depth", 1)]),
        ("PASCALContext", ("normals", "sal", "human_parts"), [("human_parts", 7), ("sal", 1), ("normals", 3)]),
    ],
)
def test_tasks_are_numbered_as_the_trainer_does(read, data_set, included, tasks):
    entries = ", ".join(f"include_{name}: True" for name in included)
    config = read(text(data_set, tasks=f"{{{entries}, include_never: False}}".replace(", include_never: False", "")))
    assert [(task.name, task.channels) for task in config.tasks] == tasks


def test_a_task_that_is_not_included(read):
    config = read(text(tasks="{include_semseg: True, include_edge: False}"))
    assert config.task_names == ("semseg",)


def test_a_dense_backbone(read):
    content = yaml.safe_load(text())
    content["backbone"] = "VisionTransformer"
    for key in ("moe_mlp_ratio", "moe_top_k", "gate_dim", "gate_return_decoupled_activation", "distilled"):
        del content["backbone_kwargs"][key]
    config = read(content)
    assert (config.moe_blocks, config.dim, config.mlp_hidden) == ((), 384, 1536)


def test_a_negative_ratio_is_that_of_the_dense_mlp(read):
    assert read(text(), "--moe_mlp_ratio -1").expert_hidden == 1536


def change(section, key, value):
    content = yaml.safe_load(text())
    (content if section is None else content[section])[key] = value
    return content


HINT = "edgemtl has no model for it"


@pytest.mark.parametrize(
    ("section", "key", "value", "reason"),
    [
        (None, "setup", "single_task", "it must be multi_task, not 'single_task'"),
        (None, "model", "jtrl", "it must be baseline, not 'jtrl'"),
        (None, "backbone", "resnet50", "it must be VisionTransformer_moe or VisionTransformer, not 'resnet50'"),
        (None, "head", "deeplab", "it must be VisionTransformerUpHead, not 'deeplab'"),
        (None, "train_db_name", "COCO", "it must be PASCALContext or NYUD or CityScapes, not 'COCO'"),
        (None, "auxilary_task_dictionary", {}, "edgemtl does not know what it changes"),
        ("backbone_kwargs", "dilated", True, "it must be False, not True"),
        ("backbone_kwargs", "distilled", True, "it must be False, not True"),
        ("backbone_kwargs", "in_chans", 4, "it must be 3, not 4"),
        ("backbone_kwargs", "patch_size", 8, "it must be 16, not 8"),
        ("backbone_kwargs", "qkv_bias", False, "it must be True or True,, not False"),
        ("backbone_kwargs", "gate_return_decoupled_activation", True, "it must be False, not True"),
        ("backbone_kwargs", "moe_experts", 4, "edgemtl does not know what it changes"),
        ("head_kwargs", "align_corners", True, "it must be False, not True"),
        ("head_kwargs", "num_conv", 2, "it must be 4, not 2"),
        ("head_kwargs", "num_upsampe_layer", 1, "it must be 4, not 1"),
        ("head_kwargs", "upsampling_method", "nearest", "it must be bilinear, not 'nearest'"),
        ("head_kwargs", "img_size", [512, 256], "it must be the backbone's, [512, 512], not [512, 256]"),
        ("head_kwargs", "embed_dim", 192, "it must be the backbone's, 384, not 192"),
        ("head_kwargs", "in_index", 8, "heads must read the last block, 11, not 8"),
        ("task_dictionary", "include_boxes", True, "edgemtl does not know what it changes"),
    ],
)
def test_refused_by_name(read, tmp_path, section, key, value, reason):
    where = f" of {section}" if section else ""
    expected = f"{key}{where} in {tmp_path / 'm.yml'}: {reason}; {HINT}"
    with pytest.raises(UnsupportedError, match=f"^{re.escape(expected)}$"):
        read(change(section, key, value))


def test_a_task_its_data_set_does_not_have(read, tmp_path):
    expected = (
        f"include_depth of task_dictionary in {tmp_path / 'm.yml'}: upstream has this task for NYUD and CityScapes, "
        "not for PASCALContext; leave it out"
    )
    with pytest.raises(UnsupportedError, match=f"^{re.escape(expected)}$"):
        read(change("task_dictionary", "include_depth", True))


@pytest.mark.parametrize(
    ("section", "key", "value", "text"),
    [
        (
            "backbone_kwargs",
            "embed_dim",
            "wide",
            "embed_dim of backbone_kwargs in M must be an integer from 1 to 65536",
        ),
        ("backbone_kwargs", "depth", 10**9, "depth of backbone_kwargs in M must be an integer from 1 to 65536"),
        ("backbone_kwargs", "num_heads", True, "num_heads of backbone_kwargs in M must be an integer from 1 to 65536"),
        ("backbone_kwargs", "moe_top_k", 1.5, "moe_top_k of backbone_kwargs in M must be an integer from 1 to 65536"),
        ("backbone_kwargs", "mlp_ratio", None, "mlp_ratio of backbone_kwargs in M must be a number, not None"),
        ("backbone_kwargs", "mlp_ratio", float("nan"), "mlp_ratio of backbone_kwargs in M must be a number, not nan"),
        (None, "backbone_kwargs", [], "backbone_kwargs in M must be a mapping, not list"),
        (None, "task_dictionary", {"edge_w": 1}, "task_dictionary in M must include a task, include_semseg: True"),
    ],
)
def test_values_that_cannot_be(read, tmp_path, section, key, value, text):
    with pytest.raises(UsageError, match=re.escape(text.replace(" M ", f" {tmp_path / 'm.yml'} "))):
        read(change(section, key, value))


def test_an_image_that_is_no_size(read):
    content = change("backbone_kwargs", "img_size", 512)
    content["head_kwargs"]["img_size"] = 512
    with pytest.raises(
        ConfigError, match=r"^image must be a tuple of two positive integers, height and width, not 512$"
    ):
        read(content)


def test_a_key_that_is_missing(read, tmp_path):
    content = yaml.safe_load(text())
    del content["head_kwargs"]["num_conv"], content["head_kwargs"]["in_index"]
    expected = f"{tmp_path / 'm.yml'} must have num_conv, in_index of head_kwargs; give the yaml file of the training"
    with pytest.raises(UsageError, match=f"^{re.escape(expected)}$"):
        read(content)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("a: [", "must be a readable yaml file, and M is not: while parsing"),
        ("[" * 5000, "must be a readable yaml file, and M is not: "),
        ("!!python/object/apply:os.system [x]", "must be a readable yaml file, and M is not: could not determine"),
        ("- a", "must be a yaml mapping, and M holds list"),
        ("", "must be a yaml mapping, and M holds NoneType"),
        ("# " + "x" * 2**20, "must be a yaml file of at most 1048576 bytes, and M is larger"),
    ],
)
def test_files_that_are_no_yaml(read, tmp_path, content, reason):
    expected = f"--upstream-config {reason}".replace(" M ", f" {tmp_path / 'm.yml'} ")
    with pytest.raises(UsageError, match=f"^{re.escape(expected)}"):
        read(content)


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(UsageError, match=r"^--upstream-config must be a readable yaml file, and .*no.yml is not: "):
        read_yaml(tmp_path / "no.yml", {})


SMALL = "{include_semseg: True, include_normals: True}"
ONE_GATE = dict(routing="single_gate")
KNOWN = dict(routing="task_conditioned", task_embedding=7)
SHOWN = "shown by the parameters: "
OPEN = "assumed, since the checkpoint does not say: gate_input_ahead False, moe_top_k 2, expert_prune False"


@pytest.mark.parametrize(
    ("overrides", "flags", "notes"),
    [
        (
            {},
            "",
            [
                f"{SHOWN}multi_gate True, moe_experts 3, moe_mlp_ratio 1",
                f"{OPEN}; tasks numbered semseg, normals (--upstream-flags say otherwise)",
            ],
        ),
        (
            ONE_GATE,
            "--moe_experts 3",
            [
                f"{SHOWN}multi_gate False, moe_mlp_ratio 1",
                f"{OPEN}, regu_experts_fromtask False (--upstream-flags say otherwise)",
            ],
        ),
        (
            KNOWN,
            "--gate_input_ahead True --moe_top_k 2 --expert_prune False --regu_experts_fromtask False",
            [
                f"{SHOWN}multi_gate False, gate_task_specific_dim 7, moe_experts 3, moe_mlp_ratio 1",
                "assumed, since the checkpoint does not say: tasks numbered semseg, normals "
                "(--upstream-flags say otherwise)",
            ],
        ),
    ],
    ids=["multi_gate", "single_gate", "task_conditioned"],
)
def test_what_parameters_show_need_not_be_said(read, tmp_path, overrides, flags, notes):
    content = yaml.safe_load(text("NYUD", "[16, 32]", SMALL))
    content["backbone_kwargs"] |= {"embed_dim": 24, "depth": 2}
    content["head_kwargs"] |= {"embed_dim": 24, "in_index": 1}
    ahead = {"gate_input_ahead": True} if "ahead" in flags else {}
    config = preset("m3vit_small_nyud", tasks=read(content).tasks, image=(16, 32), dim=24, depth=2, moe_blocks=(1,))
    config = replace(config, mlp_hidden=96, experts=3, expert_hidden=24, **overrides, **ahead)
    torch.save({"state_dict": M3ViT(config).state_dict()}, tmp_path / "m.pth")
    source = ModelSource(tmp_path / "m.pth", upstream_config=tmp_path / "m.yml", upstream_flags=flags)
    loaded = build_model(source)
    assert loaded.model.config == config
    assert list(loaded.notes) == ["weights are those under state_dict", *notes]
    with pytest.raises(CheckpointError, match="must hold exactly the parameters of its model"):
        build_model(replace(source, upstream_flags=f"{flags} --moe_experts 4"))
