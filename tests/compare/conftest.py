"""One small model with its torch module, its partitioned tasks and its integers, made once."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from edgemtl import frontend, partition
from edgemtl.compare import Comparison, Limits, Pair, Side, compare_sides, make_side
from edgemtl.exporters.checkpoints import save_checkpoint
from edgemtl.exporters.models import M3ViT
from edgemtl.exporters.to_onnx import export_onnx
from edgemtl.exporters.watch import watch_modules
from edgemtl.frontend import MultiTaskModel
from edgemtl.operators import Frame
from edgemtl.options import QuantiseOptions
from edgemtl.partition import TaskModel
from edgemtl.processor import CpuTarget, resolve
from edgemtl.quantize.quantised_model import Quantised, quantise
from tests.support.models import build, small_config

CONFIG = small_config(depth=3, moe_blocks=(1, 2), head_channels=(12, 8, 8), class_token=True)
TASK = "depth"


@dataclass(frozen=True)
class Lab:
    """A model and everything its sides are made from; ``task`` is the one that is compared."""

    folder: Path
    torch: M3ViT
    model: MultiTaskModel
    tasks: tuple[TaskModel, ...]
    target: CpuTarget
    images: dict[str, Frame]
    quantised: Quantised

    @property
    def task(self) -> TaskModel:
        return next(task for task in self.tasks if task.task.name == TASK)

    def side(self, name: str, torch: M3ViT | None = None) -> Side:
        model = torch or self.torch
        watch = lambda image: watch_modules(model, TASK, image)  # noqa: E731
        return make_side(name, self.task, self.target, self.quantised.integers[TASK], watch)

    def compare(self, a: Side, b: Side, limits: Limits | None = None) -> Comparison:
        return compare_sides(Pair(("a", "b"), (a, b)), self.task, list(self.images.values())[:2], limits or Limits())


@pytest.fixture(scope="session")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Lab:
    folder = tmp_path_factory.mktemp("lab")
    torch = build(CONFIG, 2)
    export_onnx(torch, folder / "model.onnx")
    save_checkpoint(torch, folder / "model.safetensors", {})
    (folder / "images").mkdir()
    generator = np.random.default_rng(0)
    images = {
        f"{i}.npy": {"image": generator.standard_normal((1, 3, *CONFIG.image)).astype(np.float32)} for i in range(8)
    }
    for name, image in images.items():
        np.save(folder / "images" / name, image["image"])
    model, target = frontend.read_model(folder / "model.onnx"), resolve("cpu", 1)
    tasks = partition.partition(model, CONFIG.task_names, "exact")
    quantised = quantise(model, tasks, target, images, QuantiseOptions(least_sqnr_db=float("-inf")))
    return Lab(folder, torch, model, tasks, target, images, quantised)


@pytest.fixture(scope="session")
def sides(lab: Lab) -> dict[str, Side]:
    return {name: lab.side(name) for name in ("torch", "onnx", "fp32", "int8", "functional")}
