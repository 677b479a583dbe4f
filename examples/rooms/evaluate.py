"""Quality of a model on held-out scenes, of the best constant answer, and the use of the experts."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterator, Sequence
from functools import wraps
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from edgemtl.evaluate.metrics import Meter, SegmentationMeter, make_meter
from edgemtl.exporters.checkpoints import load_checkpoint
from edgemtl.exporters.models import M3ViT, ModelConfig
from examples.rooms.data import HELD_OUT_SEED, IMAGE_MEAN, IMAGE_STD, TRAIN_SEED
from examples.rooms.labels import CLASSES
from examples.rooms.render import View, render_seed

Array = NDArray[Any]
Compute = Callable[..., Tensor]
Scores = dict[str, dict[str, float]]

HELD_OUT_SCENES: Final = 200
CHECKPOINT: Final = Path(__file__).parent / "m3vit_demo.safetensors"
_BATCH: Final = 20
_CONSTANT_SCENES: Final = 600
KINDS: Final = {"semseg": "segmentation", "depth": "depth", "normals": "normals", "edges": "edges"}
_CHANNELS: Final = {"semseg": len(CLASSES), "depth": 1, "normals": 3, "edges": 1}


def render_views(first_seed: int, count: int) -> list[View]:
    """Scenes ``first_seed`` .. ``first_seed + count``."""
    return [render_seed(seed) for seed in range(first_seed, first_seed + count)]


def label_of(view: View, task: str) -> Array:
    """The label a meter takes: [H, W], or [3, H, W] for normals."""
    labels: dict[str, Array] = {
        "semseg": view.classes,
        "depth": view.depth,
        "normals": view.normals.transpose(2, 0, 1),
        "edges": view.edges,
    }
    return labels[task]


def predict(model: M3ViT, images: Sequence[NDArray[np.uint8]]) -> dict[str, NDArray[np.float32]]:
    """Every task's output [N, C, H, W] for pictures [H, W, 3], in float32."""
    stacked = np.stack(images).transpose(0, 3, 1, 2).astype(np.float32)
    normalised = (stacked / np.float32(255) - np.float32(IMAGE_MEAN)) / np.float32(IMAGE_STD)
    with torch.no_grad():
        outputs = model.eval().forward_all(torch.from_numpy(normalised))
    return {task: output.numpy() for task, output in outputs.items()}


def predictions(model: M3ViT, views: Sequence[View]) -> Iterator[tuple[View, dict[str, NDArray[np.float32]]]]:
    """Each view with every task's output [C, H, W]."""
    for start in range(0, len(views), _BATCH):
        part = views[start : start + _BATCH]
        outputs = predict(model, [view.image for view in part])
        for index, view in enumerate(part):
            yield view, {task: output[index] for task, output in outputs.items()}


def make_meters() -> dict[str, Meter]:
    """An empty meter for each task."""
    return {task: make_meter(kind, _CHANNELS[task]) for task, kind in KINDS.items()}


def measure(model: M3ViT, views: Sequence[View]) -> tuple[Scores, dict[str, float]]:
    """Metrics of each task, and the intersection over union of each class."""
    meters = make_meters()
    for view, outputs in predictions(model, views):
        for task, meter in meters.items():
            meter.add(outputs[task], label_of(view, task))
    confusion = meters["semseg"]
    assert isinstance(confusion, SegmentationMeter)
    class_iou = dict(zip(CLASSES, confusion.class_iou().tolist(), strict=True))
    return {task: meter.result() for task, meter in meters.items()}, class_iou


def expert_shares(model: M3ViT, views: Sequence[View]) -> list[dict[str, list[float]]]:
    """For each MoE layer and task, the share of routed tokens each expert gets; a row sums to 1."""
    with model.recording():
        for _ in predictions(model, views):
            pass
    counts = model.expert_counts().double()
    shares = counts / counts.sum(-1, keepdim=True)
    return [dict(zip(model.config.task_names, layer, strict=True)) for layer in shares.tolist()]


def expert_overlap(model: M3ViT, views: Sequence[View]) -> list[list[list[float]]]:
    """For each MoE layer and pair of tasks, the mean share of a token's k experts that both tasks choose."""
    tasks, k = len(model.config.tasks), model.config.top_k
    layers = model.moe_layers()
    totals = torch.zeros(len(layers), tasks, tasks)
    for layer, total in zip(layers, totals, strict=True):
        layer.compute = _count_overlap(layer.compute, total, tasks, k)
    for _ in predictions(model, views):
        pass
    for layer in layers:
        layer.compute = layer.compute.__wrapped__  # type: ignore[attr-defined]
    shares: list[list[list[float]]] = (totals / totals[:, :1, :1]).tolist()
    return shares


def _count_overlap(compute: Compute, total: Tensor, tasks: int, k: int) -> Compute:
    """``compute``, adding to ``total`` [tasks, tasks] how many experts a token's tasks have in common."""

    @wraps(compute)
    def counted(x: Tensor, logits: Tensor, *rest: object) -> Tensor:
        chosen = torch.zeros_like(logits).scatter_(1, logits.topk(k, dim=1).indices, 1.0).view(tasks, -1)
        total.add_(chosen @ chosen.T)
        return compute(x, logits, *rest)

    return counted


def measure_constant(views: Sequence[View], seen: Sequence[View]) -> Scores:
    """Metrics of the best constant answer chosen on ``seen``; where metrics differ, the best for each."""
    depth = np.concatenate([view.depth.ravel() for view in seen])
    classes = np.concatenate([view.classes.ravel() for view in seen])
    normal = np.mean([view.normals.mean((0, 1)) for view in seen], axis=0)
    answers = {
        "semseg": np.bincount(classes, minlength=len(CLASSES)).astype(np.float32),
        "depth": np.array([depth.mean()], np.float32),
        "normals": normal.astype(np.float32),
        "edges": np.ones(1, np.float32),
    }
    scores = {task: _measure_answer(task, answer, views) for task, answer in answers.items()}
    for metric, answer in (("delta1", _densest(depth)), ("abs_rel", _least_relative(depth))):
        scores["depth"][metric] = _measure_answer("depth", np.array([answer], np.float32), views)[metric]
    return scores


def _measure_answer(task: str, answer: NDArray[np.float32], views: Sequence[View]) -> dict[str, float]:
    meter = make_meters()[task]
    for view in views:
        meter.add(np.broadcast_to(answer[:, None, None], (len(answer), *view.classes.shape)), label_of(view, task))
    return meter.result()


def _densest(depth: NDArray[np.float32]) -> float:
    """The constant with the most depths within a factor of 1.25."""
    candidates = np.arange(1.0, 6.0, 0.05)
    return float(max(candidates, key=lambda c: np.mean((depth < 1.25 * c) & (c < 1.25 * depth))))


def _least_relative(depth: NDArray[np.float32]) -> float:
    """The constant with the least mean relative error."""
    candidates = np.arange(1.0, 6.0, 0.05)
    return float(min(candidates, key=lambda c: np.mean(np.abs(c - depth) / depth)))


def active_macs(config: ModelConfig) -> dict[str, int]:
    """Multiply-accumulates of one task on one picture, by part; an MoE layer counts a token's k experts."""
    tokens, dim, moe = config.tokens, config.dim, len(config.moe_blocks)
    dense_ffn = (config.depth - moe) * 2 * tokens * dim * config.mlp_hidden
    experts = moe * 2 * tokens * dim * config.top_k * config.expert_hidden
    head, pixels, widths = 0, config.grid[0] * config.grid[1], (dim, *config.head_channels)
    for stage, (inputs, outputs) in enumerate(pairwise(widths)):
        head += pixels * 4**stage * 9 * inputs * outputs
    head += pixels * 4 ** (len(config.head_channels) - 1) * widths[-1] * max(task.channels for task in config.tasks)
    return {
        "patch": tokens * dim * 3 * config.patch**2,
        "attention": config.depth * (4 * tokens * dim**2 + 2 * tokens**2 * dim),
        "ffn": dense_ffn + experts,
        "gate": moe * tokens * dim * config.experts,
        "head": head,
    }


def main() -> None:
    """Command line: measure a checkpoint on held-out scenes and print the metrics as JSON."""
    parser = argparse.ArgumentParser(description="Measure a checkpoint on held-out rooms.")
    parser.add_argument("checkpoint", type=Path, nargs="?", default=Path(__file__).parent / "m3vit_demo.safetensors")
    parser.add_argument("--scenes", type=int, default=HELD_OUT_SCENES)
    parser.add_argument("--constant", action="store_true", help="measure the best constant answer too")
    arguments = parser.parse_args()
    views = render_views(HELD_OUT_SEED, arguments.scenes)
    scores, class_iou = measure(load_checkpoint(arguments.checkpoint), views)
    report: dict[str, object] = {"model": scores, "class_iou": class_iou}
    if arguments.constant:
        report["constant"] = measure_constant(views, render_views(TRAIN_SEED, _CONSTANT_SCENES))
    print(json.dumps(report, indent=1))


if __name__ == "__main__":
    main()
