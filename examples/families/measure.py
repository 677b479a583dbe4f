"""A family compiled whole: what one task's pathway keeps of it, and how exact it is."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from edgemtl.driver import compile_model, inspect_model
from edgemtl.options import CompileOptions, QuantiseOptions
from edgemtl.quantize.quality import signal_to_noise
from edgemtl.runtime import Session
from examples.families.family import Family, export

IMAGES, ROWS = 16, 512
"""Random frames to calibrate with: an image shows a layer thousands of values, a row of numbers few."""
CHECKED = 8
"""Frames that calibration has not seen, to compare with torch."""
TASK_ID = "task_id"
"""The input that selects a task, in the networks that have one."""
QUALITY = QuantiseOptions(sqnr_target=22.0)
"""Layers below it get 12-bit activations or float32, where a family needs that."""
Frame = dict[str, np.ndarray]


@dataclass(frozen=True)
class Exactness:
    """Compiled outputs beside torch's, the worst of all tasks and frames.

    difference: the largest absolute one in float32.  sqnr_db: signal-to-noise ratio in int8, in decibel.
    """

    difference: float
    sqnr_db: float


@dataclass(frozen=True)
class Share:
    """One task's pathway as shares of the whole model, from 0 to 1, the mean over tasks."""

    weights: float
    macs: float


@dataclass(frozen=True)
class Compiled:
    """The files of a family: the exported model, its bundles, and the network it was exported from."""

    family: Family
    network: nn.Module
    model: Path
    fp32: Path
    int8: Path


def compile_family(family: Family, folder: Path) -> Compiled:
    """Export and compile in both precisions. Raises the typed errors of the compiler."""
    model = folder / f"{family.name}.onnx"
    network = export(family, model)
    frames = folder / f"{family.name}_frames"
    frames.mkdir()
    for index in range(IMAGES if any(value.ndim == 4 for value in family.example().values()) else ROWS):
        np.savez(frames / f"{index}.npz", **frame(family, index))
    fp32, int8 = (folder / f"{family.name}_{precision}.edgemtl" for precision in ("fp32", "int8"))
    compile_model(model, CompileOptions(), fp32)
    compile_model(model, CompileOptions(precision="int8", calibration=frames, quantise=QUALITY), int8)
    return Compiled(family, network, model, fp32, int8)


def frame(family: Family, seed: int) -> Frame:
    """A frame without the task's id: one bundle holds all tasks."""
    return {name: value.numpy() for name, value in family.example(seed).items() if name != TASK_ID}


def exactness(compiled: Compiled) -> Exactness:
    """Run every task of both bundles on frames that calibration has not seen."""
    frames = [frame(compiled.family, 1000 + index) for index in range(CHECKED)]
    expected = [outputs(compiled, each) for each in frames]
    differences, ratios = [], []
    with Session.open(compiled.fp32) as fp32, Session.open(compiled.int8) as int8:
        for index, task in enumerate(fp32.tasks):
            real = [each[index] for each in expected]
            pairs = zip(real, (fp32.run(task, each) for each in frames), strict=True)
            differences.append(max(float(np.abs(a - b).max()) for a, b in pairs))
            ratios.append(signal_to_noise([int8.run(task, each) for each in frames], real))
    return Exactness(max(differences), min(ratios))


def outputs(compiled: Compiled, inputs: Frame) -> list[np.ndarray]:
    """What torch makes of a frame, task by task."""
    tensors = {name: torch.from_numpy(value) for name, value in inputs.items()}
    with torch.inference_mode():
        if TASK_ID not in compiled.family.example():
            results = compiled.network(*tensors.values())
        else:
            ids = range(len(inspect_model(compiled.model).tasks))
            results = [compiled.network(*tensors.values(), torch.tensor(task)) for task in ids]
    return [result.numpy() for result in ([results] if isinstance(results, Tensor) else results)]


def share(compiled: Compiled) -> Share:
    """Count weights and multiply-accumulates of each task's pathway."""
    inspection = inspect_model(compiled.model)
    costs = [task.cost for task in inspection.tasks]
    weights = sum(cost.weight_bytes for cost in costs) / len(costs) / inspection.full.weight_bytes
    return Share(weights, sum(cost.macs for cost in costs) / len(costs) / inspection.full.macs)
