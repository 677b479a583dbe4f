"""Memory budgets: a budget holds or the compile fails with the bytes that are missing."""

from __future__ import annotations

import numpy as np
import pytest

from edgemtl.codegen.cpu import compile_cpu
from edgemtl.codegen.cpu.memory import ProgramLayout, fit, lay_out
from edgemtl.errors import BudgetError
from edgemtl.exporters.models import preset
from edgemtl.frontend import read_model
from edgemtl.lowering.task import group_task
from edgemtl.partition import TaskModel, partition
from edgemtl.processor import resolve
from tests.codegen import oracle
from tests.codegen.graphs import random
from tests.codegen.harness import Machine
from tests.support.models import build_and_export

TARGET = resolve("cpu")


@pytest.fixture(scope="module")
def tasks(tmp_path_factory: pytest.TempPathFactory) -> tuple[TaskModel, ...]:
    path = build_and_export(preset("demo"), 0, tmp_path_factory.mktemp("demo"))[1]
    return partition(read_model(path), ["depth", "normals"], "exact")


@pytest.fixture(scope="module")
def unbounded(tasks: tuple[TaskModel, ...]) -> ProgramLayout:
    return fit(tasks, TARGET, None)


@pytest.fixture(scope="module")
def least_bytes(tasks: tuple[TaskModel, ...]) -> int:
    """What the smallest program needs; it differs between processors."""
    grouped = [group_task(task.task.name, task.ir) for task in tasks]
    return lay_out(grouped, TARGET, tuple(lay_out(grouped, TARGET).prepared)).required_bytes


def kernels(layout: ProgramLayout) -> list[str]:
    return [bound.kernel.symbol for task in layout.tasks for bound in task]


def test_without_a_budget_every_3x3_uses_winograd(unbounded: ProgramLayout) -> None:
    assert sum("winograd" in name for name in kernels(unbounded)) == 6
    assert unbounded.slowed == ()


def test_prepared_buffers_of_all_tasks_lie_side_by_side(unbounded: ProgramLayout) -> None:
    assert len(unbounded.prepared) == 6
    assert all(offset % 64 == 0 for offset in unbounded.prepared.values())
    assert unbounded.required_bytes == unbounded.plan.arena_bytes + unbounded.prepared_bytes


def test_a_budget_that_holds_changes_nothing(tasks: tuple[TaskModel, ...], unbounded: ProgramLayout) -> None:
    assert kernels(fit(tasks, TARGET, unbounded.required_bytes)) == kernels(unbounded)


@pytest.mark.parametrize("share", [0.95, 0.5, 0.05])
def test_a_smaller_budget_is_kept_and_costs_winograd(
    share: float, tasks: tuple[TaskModel, ...], unbounded: ProgramLayout, least_bytes: int
) -> None:
    budget = least_bytes + int((unbounded.required_bytes - least_bytes) * share)
    layout = fit(tasks, TARGET, budget)
    assert layout.required_bytes <= budget
    assert sum("winograd" in name for name in kernels(layout)) == 6 - len(layout.slowed) < 6


def test_while_the_arena_fits_the_bytes_that_save_least_time_go_first(
    tasks: tuple[TaskModel, ...], unbounded: ProgramLayout
) -> None:
    layout = fit(tasks, TARGET, unbounded.required_bytes - 1)
    assert [name.split(".")[-3] for name in layout.slowed] == ["conv_0"]


def test_while_the_arena_does_not_fit_the_largest_workspaces_go_first(
    tasks: tuple[TaskModel, ...], unbounded: ProgramLayout
) -> None:
    layout = fit(tasks, TARGET, unbounded.plan.arena_bytes - 1)
    scratch = {
        view.buffer: sum(buffer.bytes for buffer in bound.workspaces)
        for task in unbounded.tasks
        for bound in task
        for view in bound.step.inputs
        if view.buffer in unbounded.prepared
    }
    assert scratch[layout.slowed[0]] == max(scratch.values())


def test_what_cannot_fit_names_the_least_that_would(tasks: tuple[TaskModel, ...], least_bytes: int) -> None:
    with pytest.raises(BudgetError) as caught:
        fit(tasks, TARGET, 4096)
    assert caught.value.required == least_bytes
    assert caught.value.available == 4096
    assert str(caught.value) == (
        f"the smallest program found needs {caught.value.required} bytes, the budget is 4096 bytes, "
        f"{caught.value.required - 4096} bytes are missing; "
        "allow more, compile fewer tasks (--task) or fewer threads (--threads)"
    )
    assert fit(tasks, TARGET, caught.value.required).required_bytes == caught.value.required


def test_a_program_without_winograd_computes_the_same(tasks: tuple[TaskModel, ...], least_bytes: int) -> None:
    program = compile_cpu(tasks, TARGET, memory_budget=least_bytes)
    assert program.prepared_bytes + program.arena_bytes == least_bytes
    assert any("without Winograd's algorithm, to fit the memory budget" in note for note in program.notes)
    machine, image = Machine(program), random(*tasks[0].inputs[0].shape, seed=5)
    for task in tasks:
        (expected,) = oracle.run(task, image)
        np.testing.assert_allclose(machine.run(task.task.name, image), expected, atol=1e-4, rtol=1e-4)


def test_weights_of_a_task_count_whichever_algorithm_reads_them(tasks: tuple[TaskModel, ...], least_bytes: int) -> None:
    """Those that Winograd's algorithm transforms when the bundle is opened belong to the task as well."""
    transformed, plain = (compile_cpu(tasks, TARGET, memory_budget=budget) for budget in (None, least_bytes))
    assert transformed.prepared_bytes > 0 == plain.prepared_bytes
    assert [task.constant_bytes for task in transformed.tasks] == [task.constant_bytes for task in plain.tasks]
