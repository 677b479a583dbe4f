"""Small random multi-task models, as torch modules and as ONNX files."""

from dataclasses import replace
from pathlib import Path

import torch
from hypothesis import strategies as st

from edgemtl.exporters.models import M3ViT, ModelConfig, TaskSpec
from edgemtl.exporters.to_onnx import export_onnx
from examples.foreign import as_dense, as_microsoft_moe, as_nonzero
from examples.random_models import build
from tests.support.foreign import as_task_id_gather, as_task_id_if, plain_cnn, plain_vit

__all__ = [
    "SMALL",
    "TASKS",
    "as_dense",
    "as_microsoft_moe",
    "as_nonzero",
    "as_task_id_gather",
    "as_task_id_if",
    "build",
    "build_and_export",
    "moe_configs",
    "plain_cnn",
    "plain_vit",
    "small_config",
]

TASKS = (
    TaskSpec("semseg", 5, "segmentation"),
    TaskSpec("depth", 1, "depth"),
    TaskSpec("normals", 3, "normals"),
    TaskSpec("edges", 1, "edges"),
)

SMALL = ModelConfig(
    image=(16, 24),
    patch=8,
    dim=24,
    depth=2,
    heads=2,
    mlp_hidden=40,
    tasks=TASKS[:2],
    moe_blocks=(1,),
    experts=5,
    top_k=2,
    expert_hidden=20,
    class_token=False,
    head_channels=(12, 8),
)
"""Two tasks, two blocks, the second a mixture of five experts."""


# Small models gain nothing from threads, and spinning ones starve each other on a busy machine.
torch.set_num_threads(1)


def small_config(**changes: object) -> ModelConfig:
    """`SMALL` with some fields replaced."""
    return replace(SMALL, **changes)  # type: ignore[arg-type]


@st.composite
def moe_configs(draw: st.DrawFn) -> ModelConfig:
    """Small configs of every routing: widths that are no multiple of 16, odd sizes, one to four tasks."""
    heads, per_head, patch = (
        draw(st.sampled_from([1, 2, 3])),
        draw(st.integers(4, 12)),
        draw(st.sampled_from([3, 4, 5, 8])),
    )
    depth, tasks = draw(st.integers(1, 4)), draw(st.integers(1, 4))
    experts = draw(st.integers(1, 9))
    top_k = draw(st.integers(1, experts))
    routing = draw(st.sampled_from(["multi_gate", "single_gate", "task_conditioned", "window"]))
    embeddings = {"task_conditioned": st.integers(1, 12), "window": st.sampled_from([0, 0, 5])}
    blocks = draw(st.sets(st.integers(0, depth - 1), min_size=1))
    return ModelConfig(
        image=(patch * draw(st.integers(1, 4)), patch * draw(st.integers(1, 5))),
        patch=patch,
        dim=max(8, heads * per_head) if heads > 1 or per_head > 7 else 8,
        depth=depth,
        heads=heads,
        mlp_hidden=draw(st.integers(5, 50)),
        tasks=TASKS[:tasks],
        moe_blocks=tuple(sorted(blocks)),
        experts=experts,
        top_k=top_k,
        expert_hidden=draw(st.integers(3, 40)),
        routing=routing,
        experts_per_task=draw(st.integers(top_k, experts)) if routing == "window" else 0,
        task_embedding=draw(embeddings.get(routing, st.just(0))),
        expert_prune=draw(st.sampled_from([0.0, 0.0, 0.15])),
        class_token=draw(st.booleans()),
        head_channels=tuple(draw(st.lists(st.integers(3, 20), min_size=1, max_size=3))),
        gate_input_ahead=draw(st.sampled_from([False, False, True])),
    )


def build_and_export(config: ModelConfig, seed: int, folder: Path) -> tuple[M3ViT, Path]:
    """The torch model and its ONNX file in `folder`."""
    model = build(config, seed)
    path = Path(folder) / f"model_{seed}.onnx"
    export_onnx(model, path)
    return model, path
