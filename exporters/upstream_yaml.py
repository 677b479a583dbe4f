"""M3ViT's yaml files (`configs/`): the model that its trainer makes of one, before flags."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from edgemtl.errors import UnsupportedError, UsageError
from edgemtl.exporters.models.config import ModelConfig, TaskSpec
from edgemtl.exporters.models.data_sets import CHANNELS, data_sets, tasks_of

HINT = "edgemtl has no model for it"
MOST_BYTES = 1 << 20
MOST_SIZE = 1 << 16

EXPERTS = 16
"""The trainer's default of `--moe_experts`."""

NO_EFFECT: dict[str, tuple[str, ...]] = {
    "": (
        *("val_db_name", "trBatch", "valBatch", "nworkers", "epochs", "optimizer", "optimizer_kwargs", "scheduler"),
        *("scheduler_kwargs", "loss_kwargs", "eval_final_10_epochs_only", "overfit", "multi_level", "model_kwargs"),
    ),
    "backbone_kwargs": (
        *("model_name", "num_classes", "drop_rate", "attn_drop_rate", "drop_path_rate", "pos_embed_interp"),
        *("align_corners", "random_init", "norm_cfg", "gate_dim"),
    ),
    "head_kwargs": ("in_channels", "channels", "num_classes", "conv3x3_conv1x1"),
    "task_dictionary": ("edge_w",),
}
"""Keys of training, and those whose value the parameters themselves show; by section."""

FIXED: dict[str, dict[str, tuple[object, ...]]] = {
    "": {
        "setup": ("multi_task",),
        "model": ("baseline",),
        "backbone": ("VisionTransformer_moe", "VisionTransformer"),
        "head": ("VisionTransformerUpHead",),
        "train_db_name": ("PASCALContext", "NYUD", "CityScapes"),
    },
    "backbone_kwargs": {
        "dilated": (False,),
        "distilled": (False,),
        "in_chans": (3,),
        "patch_size": (16,),
        # The yaml files have a comma behind it, which makes it a text; upstream takes any for true.
        "qkv_bias": (True, "True,"),
        "gate_return_decoupled_activation": (False,),
    },
    "head_kwargs": {
        "align_corners": (False,),
        "num_conv": (4,),
        "num_upsampe_layer": (4,),
        "upsampling_method": ("bilinear",),
        "patch_size": (16,),
    },
}
"""Keys with the values edgemtl has a model for; by section."""

SIZES = {
    "backbone_kwargs": ("img_size", "embed_dim", "depth", "num_heads", "mlp_ratio", "moe_mlp_ratio", "moe_top_k"),
    "head_kwargs": ("img_size", "embed_dim", "in_index"),
}
MOE_SIZES = ("moe_mlp_ratio", "moe_top_k")
NEEDED = {
    "": ("setup", "model", "backbone", "backbone_kwargs", "head", "head_kwargs", "train_db_name", "task_dictionary"),
    "backbone_kwargs": ("img_size", "patch_size", "embed_dim", "depth", "num_heads", "mlp_ratio", "qkv_bias"),
    "head_kwargs": ("img_size", "patch_size", "embed_dim", "num_conv", "num_upsampe_layer", "in_index"),
}


def read_yaml(path: Path, given: Mapping[str, Any]) -> ModelConfig:
    """The model of a yaml file with the trainer's default flags: one gate for all tasks, 16 experts.

    given: the trainer's flags, of which some take the place of keys.
    Raises `UsageError` for a file that cannot be read, `UnsupportedError` for a key, or a key's value, that edgemtl has
    no model for, `ConfigError` for sizes that make no sense.
    """
    content = _load(path)
    _check_keys(path, "", content)
    backbone, head, entries = (_section(path, content, name) for name in list(NO_EFFECT)[1:])
    backbone = backbone | {key: given[key] for key in MOE_SIZES if key in given}
    for name, keys in (("backbone_kwargs", backbone), ("head_kwargs", head), ("task_dictionary", entries)):
        _check_keys(path, name, keys)
    moe = content["backbone"] == "VisionTransformer_moe"
    _check_sizes(path, backbone, moe)
    _check_head(path, backbone, head)
    return _config(backbone, _tasks(path, content["train_db_name"], entries), moe)


def _load(path: Path) -> dict[str, Any]:
    try:
        if path.stat().st_size > MOST_BYTES:
            raise UsageError(
                f"--upstream-config must be a yaml file of at most {MOST_BYTES} bytes, and {path} is larger"
            )
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError, RecursionError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise UsageError(f"--upstream-config must be a readable yaml file, and {path} is not: {reason}") from error
    if not isinstance(content, dict):
        raise UsageError(f"--upstream-config must be a yaml mapping, and {path} holds {type(content).__name__}")
    return content


def _section(path: Path, content: Mapping[str, Any], name: str) -> dict[str, Any]:
    section = content.get(name)
    if not isinstance(section, dict):
        raise UsageError(f"{name} in {path} must be a mapping, not {type(section).__name__}")
    return section


def _check_keys(path: Path, section: str, keys: Mapping[str, Any]) -> None:
    fixed, where = FIXED.get(section, {}), f" of {section}" if section else ""
    known = (*NO_EFFECT[section], *fixed, *SIZES.get(section, ()), *NEEDED.get(section, ()))
    known += tuple(f"include_{task}" for task in CHANNELS) if section == "task_dictionary" else ()
    for key, value in keys.items():
        if key not in known:
            raise UnsupportedError(f"{key}{where} in {path}", "edgemtl does not know what it changes", HINT)
        if key in fixed and not any(type(value) is type(ok) and value == ok for ok in fixed[key]):
            accepted = " or ".join(map(str, fixed[key]))
            raise UnsupportedError(f"{key}{where} in {path}", f"it must be {accepted}, not {value!r}", HINT)
    missing = [key for key in NEEDED.get(section, ()) if key not in keys]
    if missing:
        raise UsageError(f"{path} must have {', '.join(missing)}{where}; give the yaml file of the training")


def _check_head(path: Path, backbone: Mapping[str, Any], head: Mapping[str, Any]) -> None:
    """The heads must read the last block, on the backbone's grid."""
    same = {"img_size": backbone["img_size"], "embed_dim": backbone["embed_dim"]}
    for key, value in same.items():
        if head[key] != value:
            reason = f"it must be the backbone's, {value}, not {head[key]}"
            raise UnsupportedError(f"{key} of head_kwargs in {path}", reason, HINT)
    if head["in_index"] not in (-1, backbone["depth"] - 1):
        reason = f"heads must read the last block, {backbone['depth'] - 1}, not {head['in_index']}"
        raise UnsupportedError(f"in_index of head_kwargs in {path}", reason, HINT)


def _check_sizes(path: Path, backbone: Mapping[str, Any], moe: bool) -> None:
    for key in ("embed_dim", "depth", "num_heads", *(["moe_top_k"] if moe else [])):
        value = backbone.get(key)
        if type(value) is not int or not 0 < value <= MOST_SIZE:
            rule = f"must be an integer from 1 to {MOST_SIZE}"
            raise UsageError(f"{key} of backbone_kwargs in {path} {rule}, not {value!r}")
    for key in ("mlp_ratio", *(["moe_mlp_ratio"] if moe else [])):
        value = backbone.get(key)
        if not isinstance(value, int | float) or isinstance(value, bool) or not abs(value) <= MOST_SIZE:
            raise UsageError(f"{key} of backbone_kwargs in {path} must be a number, not {value!r}")


def _tasks(path: Path, data_set: str, entries: Mapping[str, Any]) -> tuple[TaskSpec, ...]:
    names = [name for name in CHANNELS if entries.get(f"include_{name}")]
    if not names:
        raise UsageError(f"task_dictionary in {path} must include a task, include_semseg: True for one")
    for name in names:
        if data_set not in data_sets(name):
            reason = f"upstream has this task for {' and '.join(data_sets(name))}, not for {data_set}"
            raise UnsupportedError(f"include_{name} of task_dictionary in {path}", reason, "leave it out")
    return tasks_of(data_set, names)


def _config(backbone: Mapping[str, Any], tasks: tuple[TaskSpec, ...], moe: bool) -> ModelConfig:
    dim, depth = backbone["embed_dim"], backbone["depth"]
    ratio, dense = backbone.get("moe_mlp_ratio", -1), backbone["mlp_ratio"]  # a dense backbone has none
    image = backbone["img_size"]
    return ModelConfig(
        image=tuple(image) if isinstance(image, list) else image,
        patch=backbone["patch_size"],
        dim=dim,
        depth=depth,
        heads=backbone["num_heads"],
        mlp_hidden=int(dim * dense),
        tasks=tasks,
        moe_blocks=tuple(range(1, depth, 2)) if moe else (),
        experts=EXPERTS,
        top_k=backbone.get("moe_top_k", 1),
        expert_hidden=int(dim * (dense if ratio < 0 else ratio)),
        routing="single_gate",
    )
