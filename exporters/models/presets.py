"""Published M3ViT sizes and the demo model, by name (arXiv 2210.14793; the repository's yaml files)."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any, cast

from edgemtl.errors import ConfigError
from edgemtl.exporters.models.config import ModelConfig, TaskSpec
from edgemtl.exporters.models.data_sets import tasks_of

CITYSCAPES = tasks_of("CityScapes", ("semseg", "depth"))
NYUD = tasks_of("NYUD", ("semseg", "depth"))
PASCAL_CONTEXT = tasks_of("PASCALContext", ("semseg", "human_parts", "sal", "normals", "edge"))

Size = tuple[int, int]
Tasks = tuple[TaskSpec, ...]


def _m3vit(image: Size, tasks: Tasks, dim: int, heads: int, paper: bool) -> ModelConfig:
    """An M3ViT of 12 blocks: top-k 4 and expert hidden dim in the paper, 2 and 2 * dim in the repository."""
    return ModelConfig(
        image=image,
        patch=16,
        dim=dim,
        depth=12,
        heads=heads,
        mlp_hidden=4 * dim,
        tasks=tasks,
        moe_blocks=(1, 3, 5, 7, 9, 11),
        experts=16,
        top_k=4 if paper else 2,
        expert_hidden=dim if paper else 2 * dim,
    )


def _tiny(paper: bool) -> ModelConfig:
    return _m3vit((128, 256), CITYSCAPES, dim=192, heads=3, paper=paper)


def _small(image: Size, tasks: Tasks, paper: bool) -> ModelConfig:
    return _m3vit(image, tasks, dim=384, heads=12, paper=paper)


def _base(image: Size, tasks: Tasks, paper: bool) -> ModelConfig:
    return _m3vit(image, tasks, dim=768, heads=12, paper=paper)


def demo() -> ModelConfig:
    """Four tasks at 96x128, small enough to train on a CPU."""
    return ModelConfig(
        image=(96, 128),
        patch=8,
        dim=96,
        depth=6,
        heads=3,
        mlp_hidden=384,
        tasks=(
            TaskSpec("semseg", 8, "segmentation"),
            TaskSpec("depth", 1, "depth"),
            TaskSpec("normals", 3, "normals"),
            TaskSpec("edges", 1, "edges"),
        ),
        moe_blocks=(1, 3, 5),
        experts=8,
        top_k=2,
        expert_hidden=192,
        class_token=False,
        head_channels=(64, 48, 32),
        mean=(0.5, 0.5, 0.5),
        std=(0.25, 0.25, 0.25),
    )


PRESETS: dict[str, Callable[[], ModelConfig]] = {
    "demo": demo,
    "m3vit_tiny_cityscapes": lambda: _tiny(paper=False),
    "m3vit_tiny_cityscapes_paper": lambda: _tiny(paper=True),
    "m3vit_small_nyud": lambda: _small((480, 640), NYUD, paper=False),
    "m3vit_small_nyud_paper": lambda: _small((480, 640), NYUD, paper=True),
    "m3vit_small_pascal": lambda: _small((512, 512), PASCAL_CONTEXT, paper=False),
    "m3vit_small_pascal_paper": lambda: _small((512, 512), PASCAL_CONTEXT, paper=True),
    "m3vit_base_nyud": lambda: _base((480, 640), NYUD, paper=False),
    "m3vit_base_nyud_paper": lambda: _base((480, 640), NYUD, paper=True),
    "m3vit_base_pascal": lambda: _base((512, 512), PASCAL_CONTEXT, paper=False),
    "m3vit_base_pascal_paper": lambda: _base((512, 512), PASCAL_CONTEXT, paper=True),
}


def preset(name: str, **overrides: object) -> ModelConfig:
    """The config called `name`, some fields replaced; raises `ConfigError` for an unknown name or field."""
    if name not in PRESETS:
        raise ConfigError(f"preset must be one of {', '.join(PRESETS)}, not {name!r}")
    config = PRESETS[name]()
    unknown = [field for field in overrides if field not in ModelConfig.__dataclass_fields__]
    if unknown:
        raise ConfigError(f"preset override must be a field of ModelConfig, not {', '.join(unknown)}")
    return replace(config, **cast(dict[str, Any], overrides))
