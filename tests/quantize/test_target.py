"""A model with the outliers of trained weights reaches the signal-to-noise ratio that is asked for."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest

from edgemtl.errors import QuantisationError, UsageError
from edgemtl.exporters.to_onnx import export_onnx
from edgemtl.frontend import read_model
from edgemtl.lowering.execute import run_steps
from edgemtl.lowering.ir import Step
from edgemtl.options import CompileOptions, QuantiseOptions
from edgemtl.partition import partition
from edgemtl.processor import resolve
from edgemtl.quantize import write_parameters
from edgemtl.quantize.layer_groups import LayerGroup, group_layers
from edgemtl.quantize.quantise import measure_sqnr
from edgemtl.quantize.quantised_model import Quantised, from_parameters, quantise
from edgemtl.quantize.search import TIME, WEIGHT_BYTES, choose_levels
from examples.smooth_images import smooth_images
from tests.support.stress import build_stress

Frames = list[dict[str, np.ndarray]]


@pytest.fixture(scope="module")
def stress(tmp_path_factory: pytest.TempPathFactory):
    """The model, its tasks, and 16 images: 12 to calibrate on, 4 it has not seen."""
    path = tmp_path_factory.mktemp("stress") / "stress.onnx"
    export_onnx(build_stress(), path)
    model = read_model(path)
    spec = model.inputs[0]
    frames = [{spec.name: image} for image in smooth_images(spec.shape, 16, 7)]
    return model, partition(model, [task.name for task in model.tasks], "exact", None), frames


def integers(stress, options: QuantiseOptions, tasks: int = 2) -> Quantised:
    model, parts, frames = stress
    return quantise(model, parts[:tasks], resolve("cpu-avx2"), {str(i): f for i, f in enumerate(frames[:12])}, options)


def chosen_experts(steps: tuple[Step, ...], frame: dict[str, np.ndarray]) -> list[np.ndarray]:
    """The experts of every token, sorted, of every router."""
    chosen: list[np.ndarray] = []

    def watch(index, values, outputs) -> None:
        if "slots" in outputs:
            experts = np.searchsorted(outputs["offsets"], outputs["slots"], side="right") - 1
            chosen.append(np.sort(experts, -1))

    run_steps(steps, frame, watch)
    return chosen


def agreement(floats: tuple[Step, ...], steps: tuple[Step, ...], frames: Frames) -> float:
    """The share of tokens' choices that the float model makes as well."""
    equal = total = 0
    for frame in frames:
        pairs = zip(chosen_experts(floats, frame), chosen_experts(steps, frame), strict=True)
        for ours, theirs in itertools.chain.from_iterable(zip(*pair, strict=True) for pair in pairs):
            equal, total = equal + len({*ours.tolist()} & {*theirs.tolist()}), total + len(ours)
    return equal / total


def test_the_target_holds_on_images_it_has_not_seen(stress, tmp_path: Path) -> None:
    plain, quantised = (integers(stress, QuantiseOptions(sqnr_target=db, least_sqnr_db=0)) for db in (1.0, 30.0))
    unseen = stress[2][12:]
    for name, floats in quantised.floats.items():
        steps = quantised.integers[name].steps
        assert measure_sqnr(floats, quantised.integers[name], unseen) >= 30
        assert agreement(floats, steps, unseen) >= 0.99
    # What is easy is left alone, and is not enough.
    assert plain.parameters.choices == ("--sqnr-target 1: reached in int8 alone",)
    assert plain.parameters.wide == plain.parameters.keep_float == ()
    assert min(plain.parameters.sqnr_db.values()) < 25
    assert any("estimated time" in note for note in quantised.notes)
    # A file of parameters determines the same integers.
    write_parameters(tmp_path / "p.json", quantised.parameters, quantised.floats)
    again = from_parameters(stress[0], stress[1], resolve("cpu-avx2"), tmp_path / "p.json")
    assert again.notes == quantised.notes
    assert again.integers["depth"].steps == quantised.integers["depth"].steps


def test_gate_logits_beyond_32_octaves_are_not_cut_off(stress) -> None:
    """The gates' logits have a deviation of 14: with 10 fraction bits the largest would all be equal."""
    quantised = integers(stress, QuantiseOptions(least_sqnr_db=0), tasks=1)
    routers = [step.operator for step in quantised.integers["semseg"].steps if step.reads("logits")]
    assert [operator.fraction_bits for operator in routers] == [10, 10, 8, 10]
    assert agreement(quantised.floats["semseg"], quantised.integers["semseg"].steps, stress[2][12:]) > 0.97


@pytest.mark.slow
def test_without_float_layers_a_target_may_be_out_of_reach(stress) -> None:
    with pytest.raises(QuantisationError, match=r"semseg must reach a .* of 60 dB with 12-bit activations, not \d"):
        integers(stress, QuantiseOptions(sqnr_target=60, require_int8=True), tasks=1)


def test_groups_hold_every_step_once_and_mixtures_whole(stress) -> None:
    tasks = integers(stress, QuantiseOptions(least_sqnr_db=0)).floats
    groups = group_layers(tasks)
    nodes = [(task, i) for group in groups for task, steps in group.steps.items() for i in steps]
    assert sorted(nodes) == sorted((task, i) for task, steps in tasks.items() for i in range(len(steps)))
    mixtures = [g for g in groups if any("MoE" in name for name in g.names)]
    assert len(mixtures) == 4
    assert all(len(group.steps) == 2 for group in mixtures)  # experts are shared by both tasks


def test_the_choice_of_levels_is_near_the_cheapest() -> None:
    """Against all choices of four groups: at most a third more expensive, and within the limit."""
    rng = np.random.default_rng(5)
    for _ in range(30):
        groups = [LayerGroup({"a": frozenset({i})}, (str(i),), int(rng.integers(1, 99)), 9, True) for i in range(4)]
        amounts = rng.uniform(0, 1, 4)
        noise = {}
        for i, amount in enumerate(amounts):
            noise |= {(i, "int8"): {"a": amount}, (i, "wide"): {"a": amount / 5}, (i, "float32"): {"a": 0.0}}
        limit = amounts.sum() * 0.4

        def price(levels, groups=groups) -> float:
            macs = sum(group.macs for group in groups)
            time = sum((TIME[level] - 1) * group.macs / macs for group, level in zip(groups, levels, strict=True))
            return time + sum((WEIGHT_BYTES[level] - 1) / 4 for level in levels)

        def total(levels, noise=noise) -> float:
            return sum(noise[i, level]["a"] for i, level in enumerate(levels))

        levels = choose_levels(groups, noise, {"a": limit})
        best = min(price(one) for one in itertools.product(TIME, repeat=4) if total(one) <= limit)
        assert total(levels) <= limit
        assert price(levels) <= best * 4 / 3 + 1e-3


@pytest.mark.parametrize("decibel", [0.0, -3.0, float("nan"), float("inf"), 101.0])
def test_targets_that_mean_nothing_are_refused(decibel: float) -> None:
    with pytest.raises(UsageError, match="--sqnr-target must be above 0 and at most 100, not"):
        QuantiseOptions(sqnr_target=decibel)


def test_a_board_has_no_wide_activations() -> None:
    with pytest.raises(UsageError, match="--sqnr-target must come with a CPU target, not zcu104"):
        CompileOptions(
            target="zcu104", precision="int8", calibration=Path("x"), quantise=QuantiseOptions(sqnr_target=30)
        )
