"""How good the list of experts fetched early is: counted on calibration scenes, held against held-out scenes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edgemtl import frontend, partition
from edgemtl.codegen.fpga.prefetch import prefetch_lists
from edgemtl.hw.spec import Engine
from edgemtl.images import normalise
from edgemtl.lowering.execute import run_steps
from edgemtl.operators import Frame, QRouter, Values
from edgemtl.options import QuantiseOptions
from edgemtl.processor import resolve
from edgemtl.quantize import IntegerTask
from edgemtl.quantize.quantised_model import quantise
from examples.rooms.data import HELD_OUT_SEED, TRAIN_SEED
from examples.rooms.demo import export
from examples.rooms.evaluate import render_views

CALIBRATION_SCENES = 32
HELD_OUT_SCENES = 100


@dataclass(frozen=True)
class HitRate:
    """Over all tasks, layers and held-out scenes: experts fetched early, those of them with tokens, all with tokens."""

    fetched: int
    hits: int
    used: int

    @property
    def useful(self) -> float:
        """Of the experts fetched early, those that got tokens."""
        return self.hits / self.fetched

    @property
    def covered(self) -> float:
        """Of the experts with tokens, those that had been fetched early."""
        return self.hits / self.used


def demo_hit_rate(engine: Engine, folder: Path) -> HitRate:
    """The trained demo model, all four tasks."""
    path = folder / "demo.onnx"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        export(path)
    model = frontend.read_model(path)
    (spec,) = model.inputs
    assert spec.mean is not None
    assert spec.std is not None
    mean, std = spec.mean, spec.std

    def images(first: int, count: int) -> list[Frame]:
        return [{spec.name: normalise(view.image, mean, std)} for view in render_views(first, count)]

    known = images(TRAIN_SEED, CALIBRATION_SCENES)
    tasks = partition.partition(model, [task.name for task in model.tasks], "exact")
    named = {str(index): image for index, image in enumerate(known)}
    integers = quantise(model, tasks, resolve("cpu"), named, QuantiseOptions()).integers
    lists = prefetch_lists(integers, known, engine)
    held_out = images(HELD_OUT_SEED, HELD_OUT_SCENES)
    parts = [_count(task, lists[name], held_out) for name, task in integers.items()]
    return HitRate(*(sum(getattr(part, name) for part in parts) for name in ("fetched", "hits", "used")))


def _count(task: IntegerTask, lists: dict[str, tuple[int, ...]], images: list[Frame]) -> HitRate:
    fetched = hits = used = 0
    routers = {i: step for i, step in enumerate(task.steps) if isinstance(step.operator, QRouter)}

    def watch(index: int, values: Values, outputs: Mapping[str, np.ndarray]) -> None:
        nonlocal fetched, hits, used
        if index in routers:
            busy = set(np.flatnonzero(np.diff(outputs["offsets"])).tolist())
            early = lists.get(routers[index]["logits"].buffer, ())
            fetched, hits, used = fetched + len(early), hits + len(busy.intersection(early)), used + len(busy)

    for image in images:
        run_steps(task.steps, image, watch)
    return HitRate(fetched, hits, used)
