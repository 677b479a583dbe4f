"""Bias correction: means of corrected layers are those of the float network, and shared layers stay shared."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from edgemtl.frontend import read_model
from edgemtl.lowering.execute import run_steps
from edgemtl.options import QuantiseOptions
from edgemtl.partition import partition
from edgemtl.processor import resolve
from edgemtl.quantize.align import share_ranges, shared_layers
from edgemtl.quantize.bias import correct_biases
from edgemtl.quantize.build import IntegerTask, build_integer
from edgemtl.quantize.observe import observe
from edgemtl.quantize.quantised_model import float_steps
from tests.support.frames import smooth_frames
from tests.support.models import build_and_export, small_config


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory):
    config = small_config(head_channels=(12, 8, 6), depth=3, moe_blocks=(1,))
    path = build_and_export(config, 2, tmp_path_factory.mktemp("bias"))[1]
    model = read_model(path)
    tasks = partition(model, [task.name for task in model.tasks], "exact")
    floats, images = float_steps(tasks, resolve("cpu-avx2")), smooth_frames(model.inputs[0], 6)
    seen = share_ranges(floats, {name: observe(steps, images, "minmax") for name, steps in floats.items()})
    plain = build_integer(floats, seen, QuantiseOptions())
    return floats, plain, correct_biases(floats, plain, images), images


def means(steps: Sequence, images: Sequence[np.ndarray], wanted: set[int]) -> dict[int, np.ndarray]:
    """Mean output per channel of the wanted steps over all images."""
    sums: dict[int, list[np.ndarray]] = {index: [] for index in wanted}

    def watch(index, values, outputs):
        if index in wanted:
            sums[index].append(outputs["y"].reshape(-1, outputs["y"].shape[-1]).astype(float).mean(0))

    for image in images:
        run_steps(steps, image, watch)
    return {index: np.mean(values, axis=0) for index, values in sums.items()}


def errors(floats, task: IntegerTask, images) -> dict[int, tuple[np.ndarray, np.ndarray]]:
    """Per corrected float step: the float mean less the integer one, and the worth of a step of the output."""
    places = {c.source: c for c in task.correctable}
    real = means(floats[task.task], images, set(places))
    found = means(task.steps, images, {c.step for c in places.values()})
    gaps = {}
    for source, place in places.items():
        tensor = task.tensors[task.steps[place.step].outputs[0].buffer]
        scale = tensor.scale if tensor.parts is None else np.repeat(tensor.parts, len(real[source]) // 3)
        gaps[source] = real[source] - (found[place.step] - tensor.zero) * scale, np.max(scale)
    return gaps


def test_correction_brings_the_means_nearer_in_every_task(made) -> None:
    floats, plain, corrected, images = made
    for name in floats:
        before, after = (
            np.concatenate([gap for gap, _ in errors(floats, tasks[name], images).values()])
            for tasks in (plain, corrected)
        )
        assert np.abs(after).mean() < 0.5 * np.abs(before).mean()


def test_the_mean_over_the_tasks_of_a_shared_layer_is_right_but_for_rounding(made) -> None:
    """What is left of a mean is a small part of a step of the output."""
    floats, _, corrected, images = made
    layers, found = shared_layers(floats), {name: errors(floats, corrected[name], images) for name in floats}
    names = list(floats)
    compared = 0
    for source, (gap, step) in found[names[0]].items():
        if source < len(layers) and len(layers[source]) == len(names):
            mean = np.mean([found[name][source][0] for name in names], axis=0)
            # A rectified output follows its bias by less than the whole of it.
            assert np.median(np.abs(mean)) <= (1 if step < 1e-3 else 0.1) * step, source
            assert gap.shape == mean.shape
            compared += 1
    assert compared >= 4


def test_tasks_that_share_a_layer_share_its_biases(made) -> None:
    floats, _, corrected, _ = made
    layers = shared_layers(floats)
    first, second = (corrected[name] for name in floats)
    places = {c.source: c for c in second.correctable}
    same = [
        first.steps[c.step].constants[1] == second.steps[places[c.source].step].constants[1]
        for c in first.correctable
        if c.source < len(layers) and layers[c.source]
    ]
    assert sum(same) >= len(same) - 2  # where one task's range is a power of two smaller, its steps are too


def test_nothing_but_biases_changes(made) -> None:
    _, plain, corrected, _ = made
    for name, task in plain.items():
        for before, after in zip(task.steps, corrected[name].steps, strict=True):
            changed = [i for i, (a, b) in enumerate(zip(before.constants, after.constants, strict=True)) if a != b]
            assert changed in ([], [1])
            assert before.operator == after.operator
