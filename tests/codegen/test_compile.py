"""Whole programs against onnxruntime: every task of the demo model and of small random ones."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from edgemtl.bundle import CPU_LIBRARY, Output
from edgemtl.codegen.cpu import CpuProgram, compile_cpu, describe_program, describe_weight
from edgemtl.errors import UsageError
from edgemtl.exporters.models import ModelConfig, preset
from edgemtl.frontend import read_model
from edgemtl.partition import TaskModel, partition
from edgemtl.processor import CpuTarget, resolve
from edgemtl.vocabulary import PATHWAYS
from tests.codegen import oracle
from tests.codegen.graphs import random
from tests.codegen.harness import Machine
from tests.support.frames import frames
from tests.support.models import TASKS, build_and_export, moe_configs, small_config
from tests.support.processors import on_each

TOLERANCE = 1e-4


def specialised(config: ModelConfig, folder: Path, mode: str = "exact", seed: int = 0) -> tuple[TaskModel, ...]:
    """Every task of a random model of this config."""
    model = read_model(build_and_export(config, seed, folder)[1])
    images = frames([random(*model.inputs[0].shape, seed=7)]) if mode == "calibrated" else None
    return partition(model, [task.name for task in model.tasks], mode, images)


def image_of(task: TaskModel, seed: int = 3) -> np.ndarray:
    return random(*task.inputs[0].shape, seed=seed)


def assert_matches(tasks: tuple[TaskModel, ...], target: CpuTarget, seed: int = 3) -> CpuProgram:
    """Compile the tasks and compare each with onnxruntime."""
    program = compile_cpu(tasks, target, memory_budget=None)
    machine = Machine(program)
    for task in tasks:
        image = image_of(task, seed)
        (expected,) = oracle.run(task, image)
        assert oracle.decides_clearly(task, image), "choose another seed"
        np.testing.assert_allclose(machine.run(task.task.name, image), expected, atol=TOLERANCE, rtol=TOLERANCE)
    return program


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> tuple[TaskModel, ...]:
    return specialised(preset("demo"), tmp_path_factory.mktemp("demo"))


@pytest.fixture(scope="module")
def program(demo: tuple[TaskModel, ...]) -> CpuProgram:
    return compile_cpu(demo, resolve("cpu"), memory_budget=None)


@pytest.fixture(scope="module")
def machine(program: CpuProgram) -> Machine:
    return Machine(program)


def test_every_task_of_the_demo_matches_onnxruntime(demo: tuple[TaskModel, ...], machine: Machine) -> None:
    for task in demo:
        (expected,) = oracle.run(task, image_of(task))
        result = machine.run(task.task.name, image_of(task))
        np.testing.assert_allclose(result, expected, atol=TOLERANCE, rtol=TOLERANCE)


def test_a_task_behind_the_common_prefix_gives_the_same_bits(
    demo: tuple[TaskModel, ...], program: CpuProgram, machine: Machine
) -> None:
    image = image_of(demo[0])
    whole = [machine.run(task.task.name, image) for task in demo]
    machine.run(demo[0].task.name, image)
    assert program.common_prefix_steps == 13  # embedding, one dense block, the second block's attention and norm
    for task, expected in zip(demo[1:], whole[1:], strict=True):
        np.testing.assert_array_equal(machine.run(task.task.name, image, program.common_prefix_steps), expected)


def test_single_steps_make_the_whole(program: CpuProgram, demo: tuple[TaskModel, ...]) -> None:
    machine, task = Machine(program), program.tasks[1]
    image = image_of(demo[1])
    expected = machine.run(task.task, image)
    for step in range(len(task.steps)):
        last = machine.run(task.task, image, step, step + 1)
    np.testing.assert_array_equal(last, expected)


def test_the_same_tasks_give_the_same_bytes(demo: tuple[TaskModel, ...], program: CpuProgram) -> None:
    again = compile_cpu(demo, resolve("cpu"), memory_budget=None)
    assert again.library == program.library
    assert describe_program(again, CPU_LIBRARY) == describe_program(program, CPU_LIBRARY)
    assert all(a.array.tobytes() == b.array.tobytes() for a, b in zip(again.weights, program.weights, strict=True))


def test_tasks_share_the_weights_they_have_in_common(demo: tuple[TaskModel, ...], program: CpuProgram) -> None:
    alone = compile_cpu(demo[:1], resolve("cpu"), memory_budget=None)
    assert alone.common_prefix_steps == 0
    others = program.weights_bytes - alone.weights_bytes
    heads = sum(t.array.nbytes for t in program.weights if "decoders" in t.name and "semseg" not in t.name)
    gates = 3 * 3 * 96 * 16 * 4  # three tasks, three layers, eight columns padded to sixteen
    assert others <= heads + gates + 64 * len(program.weights)


def test_the_manifest_describes_every_task(program: CpuProgram) -> None:
    described = describe_program(program, CPU_LIBRARY).tasks
    assert list(described) == ["semseg", "depth", "normals", "edges"]
    assert described["semseg"].output == Output((1, 8, 96, 128), "float32")
    assert described["depth"].entry == "run_depth"
    assert described["depth"].prepare == "prepare_depth"
    assert sum(layer.macs for layer in described["semseg"].layers) == program.tasks[0].macs
    assert all(layer.origin for layer in described["semseg"].layers)
    offsets = [describe_weight(tensor).offset for tensor in program.weights]
    assert offsets == sorted(offsets)
    assert all(offset % 64 == 0 for offset in offsets)


CONFIGS = {
    "one gate per task": {},
    "a gate that sees the task": {"routing": "task_conditioned", "task_embedding": 6},
    "a window of experts": {"routing": "window", "experts": 6, "experts_per_task": 3},
    "one expert per token, pruned": {"top_k": 1, "expert_prune": 0.3},
    "every expert, class token": {"top_k": 5, "class_token": True, "depth": 3, "moe_blocks": (0, 2)},
    "one task, odd sizes": {"tasks": TASKS[1:2], "image": (15, 25), "patch": 5, "dim": 21, "heads": 3},
    "no experts": {"moe_blocks": (), "dim": 32},
}


@pytest.mark.parametrize("name", CONFIGS)
def test_small_models_match_onnxruntime(name: str, tmp_path: Path) -> None:
    assert_matches(specialised(small_config(**CONFIGS[name]), tmp_path), resolve("cpu"))


@pytest.mark.parametrize("mode", ["window", "calibrated"])
def test_narrow_pathways_match_onnxruntime(mode: str, tmp_path: Path) -> None:
    config = small_config(routing="window", experts=7, experts_per_task=4)
    assert_matches(specialised(config, tmp_path, mode), resolve("cpu"))


@pytest.mark.parametrize("threads", [1, 3])
def test_other_numbers_of_parts_match_onnxruntime(threads: int, tmp_path: Path) -> None:
    assert_matches(specialised(small_config(), tmp_path), resolve("cpu", threads))


@on_each([resolve("cpu-avx2")])
def test_the_program_for_avx2_matches_onnxruntime(target: CpuTarget, tmp_path: Path) -> None:
    assert_matches(specialised(small_config(), tmp_path), target)


@pytest.mark.timeout(3600)  # test-full draws ten times as many models, each of which is compiled
@settings(suppress_health_check=list(HealthCheck), max_examples=settings.default.max_examples // 4)
@given(config=moe_configs(), mode=st.sampled_from(PATHWAYS), seed=st.integers(0, 99), threads=st.integers(1, 4))
def test_random_models_match_onnxruntime(
    config: ModelConfig, mode: str, seed: int, threads: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Every routing, k and pathway mode; a model without windows stands in for "window" with its exact pathway."""
    possible = "exact" if mode == "window" and config.routing != "window" else mode
    tasks = specialised(config, tmp_path_factory.mktemp("model"), possible, seed)
    assume(all(oracle.decides_clearly(task, image_of(task, seed)) for task in tasks))
    assert_matches(tasks, resolve("cpu", threads), seed)


def test_no_task_is_refused() -> None:
    with pytest.raises(UsageError, match=r"a program must have at least one task, not none; name one with --task"):
        compile_cpu((), resolve("cpu"), memory_budget=None)
