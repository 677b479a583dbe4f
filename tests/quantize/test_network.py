"""Whole integer networks: the compiled program gives the law's bits, and the law stays near the float network."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edgemtl.codegen.cpu import CpuProgram, compile_cpu
from edgemtl.errors import BudgetError, QuantisationError, UsageError
from edgemtl.exporters.models import ModelConfig
from edgemtl.frontend import read_model
from edgemtl.lowering.execute import run_steps
from edgemtl.operators import Frame
from edgemtl.options import QuantiseOptions
from edgemtl.partition import TaskModel, partition
from edgemtl.processor import CpuTarget, resolve
from edgemtl.quantize.quantise import measure_sqnr
from edgemtl.quantize.quantised_model import Quantised, quantise
from tests.codegen.harness import Machine
from tests.support.frames import smooth_frames
from tests.support.models import build_and_export, moe_configs, small_config
from tests.support.processors import on_each, runnable

TARGETS = [resolve(name, 3) for name in ("cpu-avx512-vnni", "cpu-avx512", "cpu-avx2")]
DEFAULT = QuantiseOptions()
HEADS = (12, 8, 6)
"""Three enlargements by 2 make up for patches of 8: a head's last resize is one too."""


def prepared(
    config: ModelConfig, folder: Path, options: QuantiseOptions = DEFAULT, mode: str = "exact"
) -> tuple[tuple[TaskModel, ...], Quantised, list[np.ndarray]]:
    """Every task of a random model, quantised on smooth images, and two images it has not seen."""
    model = read_model(build_and_export(config, 1, folder)[1])
    images = smooth_frames(model.inputs[0], 14)
    tasks = partition(model, [task.name for task in model.tasks], mode, images if mode == "calibrated" else None)
    named = {str(i): image for i, image in enumerate(images[:12])}
    return tasks, quantise(model, tasks, resolve("cpu-avx2"), named, options), images[12:]


def assert_law(program: CpuProgram, quantised: Quantised, images: list[Frame]) -> None:
    """Every task gives the law's bits on every image."""
    machine = Machine(program)
    for image in images:
        for name, task in quantised.integers.items():
            expected = run_steps(task.steps, image)
            np.testing.assert_array_equal(machine.run(name, image).reshape(-1), expected, err_msg=name)


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory):
    return prepared(small_config(head_channels=HEADS), tmp_path_factory.mktemp("small"))


@on_each(TARGETS)
def test_every_target_gives_the_bits_of_the_law(target: CpuTarget, small) -> None:
    tasks, quantised, images = small
    program = compile_cpu(tasks, target, memory_budget=None, integers=quantised.integers)
    assert program.precision == "int8"
    assert_law(program, quantised, images)


def test_the_common_beginning_stays_common_and_nothing_is_prepared(small) -> None:
    tasks, quantised, _ = small
    program = compile_cpu(tasks, resolve("cpu"), memory_budget=None, integers=quantised.integers)
    whole = compile_cpu(tasks, resolve("cpu"), memory_budget=None)
    assert program.common_prefix_steps > whole.common_prefix_steps > 0
    assert program.prepared_bytes == 0


def test_weights_are_stored_once_for_all_tasks(small) -> None:
    tasks, quantised, _ = small
    target = resolve("cpu")
    alone = [
        compile_cpu((task,), target, memory_budget=None, integers=quantised.integers).weights_bytes for task in tasks
    ]
    both = compile_cpu(tasks, target, memory_budget=None, integers=quantised.integers).weights_bytes
    assert both < 0.75 * sum(alone)


@pytest.mark.parametrize(
    "changes",
    [
        dict(class_token=True, routing="window", experts_per_task=3),
        dict(routing="task_conditioned", task_embedding=5, expert_prune=0.15),
        dict(moe_blocks=()),
        dict(experts=9, top_k=4, heads=3, dim=27, image=(24, 8)),
    ],
    ids=["class token, windows", "task embedding, pruned", "no experts", "odd sizes"],
)
def test_other_models_give_the_bits_of_the_law_too(changes: dict, tmp_path: Path) -> None:
    tasks, quantised, images = prepared(small_config(head_channels=HEADS, **changes), tmp_path)
    program = compile_cpu(tasks, resolve("cpu"), memory_budget=None, integers=quantised.integers)
    assert_law(program, quantised, images)


@settings(max_examples=4, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(config=moe_configs(), data=st.data())
def test_random_models_give_the_bits_of_the_law(config: ModelConfig, data: st.DataObject) -> None:
    """Heads that do not end in an enlargement by 2 keep their last resize in float: its bits are not the law's."""
    changes = dict(patch=8, image=(16, 8), head_channels=(5, 6, 7))
    target = replace(data.draw(st.sampled_from(runnable(TARGETS))), threads=data.draw(st.integers(1, 3)))
    with tempfile.TemporaryDirectory() as folder:
        given_ = small_config(**{**vars(config), **changes})
        tasks, quantised, images = prepared(given_, Path(folder), QuantiseOptions(least_sqnr_db=-99))
        program = compile_cpu(tasks, target, memory_budget=None, integers=quantised.integers)
        assert_law(program, quantised, images)


def test_a_calibrated_pathway_in_integers(tmp_path: Path) -> None:
    """Random routers decide some tokens by a hair: how near the floats it comes is not asked here."""
    config, options = small_config(head_channels=HEADS, experts=9), QuantiseOptions(least_sqnr_db=-99)
    tasks, quantised, images = prepared(config, tmp_path, options, "calibrated")
    program = compile_cpu(tasks, resolve("cpu"), memory_budget=None, integers=quantised.integers)
    assert_law(program, quantised, images)


def test_integers_are_near_the_float_network_and_naive_ones_are_not_nearer(tmp_path: Path) -> None:
    config = small_config(head_channels=HEADS, dim=48, depth=4, moe_blocks=(1, 3))
    _, quantised, images = prepared(config, tmp_path)
    _, naive, _ = prepared(config, tmp_path, QuantiseOptions(quieten=False, correct=False))
    for name, floats in quantised.floats.items():
        ours, theirs = (measure_sqnr(floats, q.integers[name], images) for q in (quantised, naive))
        assert ours > 25
        assert ours > theirs - 3


@pytest.mark.parametrize(
    "pattern", ["*Gelu", "*norm1*", "*MoE", "*qkv*", "*attn/*", "*syncbn_fc_1*", "*patch_embed*", "*"]
)
def test_layers_kept_in_float_compile_and_bring_the_network_no_further_away(pattern: str, tmp_path: Path) -> None:
    config = small_config(head_channels=HEADS)
    if pattern == "*qkv*":
        keep_float = ("*qkv*", "*attn/*")  # attention reads scales that its layer has chosen
    else:
        keep_float = (pattern,)
    tasks, quantised, images = prepared(config, tmp_path, QuantiseOptions(keep_float=keep_float))
    program = compile_cpu(tasks, resolve("cpu"), memory_budget=None, integers=quantised.integers)
    machine = Machine(program)
    assert all(task.float_layers for task in quantised.integers.values())
    for name, task in quantised.integers.items():
        for image in images:
            expected, found = run_steps(task.steps, image), machine.run(name, image).reshape(-1)
            # A rounding may fall the other way behind float arithmetic in another order.
            assert np.abs(expected - found).max() < 0.1 * np.abs(expected).max()
        assert measure_sqnr(quantised.floats[name], task, images) > 20


def test_a_pattern_that_names_nothing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--keep-float must match a layer, 'nothing' matches none"):
        prepared(small_config(head_channels=HEADS), tmp_path, QuantiseOptions(keep_float=("nothing",)))


def test_a_task_too_far_off_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(QuantisationError, match=r"semseg must keep a signal-to-noise ratio of 99 dB in int8, not \d"):
        prepared(small_config(head_channels=HEADS), tmp_path, QuantiseOptions(least_sqnr_db=99))


def test_a_budget_that_cannot_hold_is_refused(small) -> None:
    tasks, quantised, _ = small
    with pytest.raises(BudgetError, match=r"the int8 program needs \d+ bytes, the budget is 100 bytes") as caught:
        compile_cpu(tasks, resolve("cpu"), memory_budget=100, integers=quantised.integers)
    assert caught.value.missing == caught.value.required - 100
