"""From a finished run to files: the checkpoint, its measured results and its card."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from edgemtl.exporters.checkpoints import save_checkpoint
from edgemtl.exporters.models import M3ViT
from examples.rooms import card
from examples.rooms.data import HELD_OUT_SEED, THRESHOLD_SEED, TRAIN_SEED
from examples.rooms.evaluate import (
    HELD_OUT_SCENES,
    active_macs,
    expert_overlap,
    expert_shares,
    measure,
    measure_constant,
    render_views,
)
from examples.rooms.finish import fold_depth_units, fold_edge_threshold
from examples.rooms.labels import CLASSES
from examples.rooms.trainer import Trainer

CHECKPOINTS: Final = {"moe": "m3vit_demo.safetensors", "dense": "dense_demo.safetensors"}
_THRESHOLD_SCENES: Final = 100
_CONSTANT_SCENES: Final = 600


def publish(trainer: Trainer, out: Path) -> None:
    """Finish the averaged model, measure it and write checkpoint, results.json and CARD.md into ``out``."""
    name = trainer.options.name
    model = trainer.averaged_model()
    fold_depth_units(model)
    threshold = fold_edge_threshold(model, render_views(THRESHOLD_SEED, _THRESHOLD_SCENES))
    record = {**_describe(trainer, model), "edge_threshold": threshold, **_measure(model)}
    checkpoint = out / CHECKPOINTS[name]
    save_checkpoint(model, checkpoint, _metadata(trainer, record))
    record["bytes"] = checkpoint.stat().st_size
    results = _update_results(out / "results.json", name, record)
    (out / "CARD.md").write_text(card.render(results))
    print(json.dumps(record["scores"], indent=1), flush=True)


def _describe(trainer: Trainer, model: M3ViT) -> dict[str, Any]:
    return {
        "options": asdict(trainer.options),
        "spent": asdict(trainer.spent),
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "macs": active_macs(model.config),
        "moe_blocks": list(model.config.moe_blocks),
    }


def _measure(model: M3ViT) -> dict[str, Any]:
    views = render_views(HELD_OUT_SEED, HELD_OUT_SCENES)
    scores, class_iou = measure(model, views)
    record: dict[str, Any] = {"scores": scores, "class_iou": class_iou}
    if model.config.moe_blocks:
        record["expert_shares"] = expert_shares(model, views)
        record["expert_overlap"] = expert_overlap(model, views)
    return record


def _metadata(trainer: Trainer, record: dict[str, Any]) -> dict[str, object]:
    return {
        "name": CHECKPOINTS[trainer.options.name].removesuffix(".safetensors"),
        "data": f"{trainer.options.scenes} rendered rooms, examples/rooms/render.py",
        "seed": trainer.options.seed,
        "steps": trainer.options.steps,
        "classes": list(CLASSES),
        "units": {
            "depth": "metres",
            "normals": "camera frame, x right, y down, z forward",
            "edges": "logit > 0",
        },
        "scores": record["scores"],
    }


def _update_results(path: Path, name: str, record: dict[str, Any]) -> dict[str, Any]:
    """Put one model's record into the results file; the constant answer and the scenes are entered once."""
    results: dict[str, Any] = json.loads(path.read_text()) if path.exists() else _new_results()
    results["models"][name] = record
    path.write_text(json.dumps(results, indent=1) + "\n")
    return results


def _new_results() -> dict[str, Any]:
    held_out = render_views(HELD_OUT_SEED, HELD_OUT_SCENES)
    seen = render_views(TRAIN_SEED, _CONSTANT_SCENES)
    return {
        "scenes": {
            "train": TRAIN_SEED,
            "held_out": [HELD_OUT_SEED, HELD_OUT_SCENES],
            "threshold": [THRESHOLD_SEED, _THRESHOLD_SCENES],
            "constant": [TRAIN_SEED, _CONSTANT_SCENES],
        },
        "constant": measure_constant(held_out, seen),
        "models": {},
    }
