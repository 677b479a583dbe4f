"""Frames of a bundle on the cycle simulator: one task in its steady state, and tasks in turn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import cycle, islice

import numpy as np

from edgemtl.bundle import FpgaProgram
from edgemtl.host import HostStep
from edgemtl.hw.encoding import decode_stream
from edgemtl.hw.sim.cycle import Frame, simulate
from edgemtl.hw.sim.energy import estimate
from edgemtl.hw.spec import AcceleratorSpec, at_efficiency
from edgemtl.profiling.frame import Work, time_frame
from edgemtl.report.profile import FrameTimings, Switches, TaskProfile, facts_of_bundle, switch_cost, task_profile
from edgemtl.report.profile.facts import Routes
from edgemtl.runtime import SegmentRun

BOARD_HOST = "a53"
"""The host whose program a board runs."""
STEADY_FRAMES = 4
STEADY = 2
"""Index of the steady frame among frames of one task run back to back: prefetching has settled, and a frame follows."""
DRAM_PERCENT = (60, 65, 70, 75, 80, 85, 90)
"""Percentages of DRAM's peak for which a profile says how long a frame takes."""
TURNS = 4
"""How often tasks take turns; nothing is fetched ahead for the first turn, and none follows the last."""


@dataclass(frozen=True)
class Recorded:
    """What the segments of a task did on each image."""

    task: str
    runs: tuple[tuple[SegmentRun, ...], ...]


@dataclass(frozen=True)
class TaskFrames:
    """A task's segments as the cycle simulator takes them, on each image, and how long they took.

    dram: steady-state cycles of the first image by the percentage of its peak that DRAM sustains; None is DRAM by rows,
    banks and refresh.
    """

    task: str
    runs: tuple[tuple[SegmentRun, ...], ...]
    frames: tuple[tuple[Frame, ...], ...]
    timings: tuple[FrameTimings, ...]
    image_cycles: tuple[int, ...]
    dram: Mapping[int | None, int]

    @property
    def steady_cycles(self) -> int:
        """Steady-state cycles of a frame of the first image."""
        return sum(timing.steady.cycles for timing in self.timings)

    @property
    def notes(self) -> tuple[str, ...]:
        """How much frames of different images vary, and how accurate the prefetch lists are."""
        notes = [*_hit_notes(self)]
        if len(self.image_cycles) > 1:
            low, high = min(self.image_cycles), max(self.image_cycles)
            notes.append(f"{self.task}: frames of {len(self.image_cycles)} images take {low:,} to {high:,} cycles")
        return tuple(notes)


def record_task(recorded: Recorded, board: AcceleratorSpec) -> TaskFrames:
    """Simulate a task on every image: the first in its steady state, then all, one after the other."""
    frames = tuple(tuple(_frame(run, board) for run in runs) for runs in recorded.runs)
    timings = _steady(frames[0], board)
    dram: dict[int | None, int] = {
        percent: _cycles(_steady(frames[0], at_efficiency(board, percent))) for percent in DRAM_PERCENT
    }
    if board.has_banks:
        dram[None] = _cycles(_steady(frames[0], board, banks=True))
    return TaskFrames(recorded.task, recorded.runs, frames, timings, _image_cycles(frames, board), dram)


def _cycles(timings: Sequence[FrameTimings]) -> int:
    return sum(timing.steady.cycles for timing in timings)


def _steady(frames: Sequence[Frame], board: AcceleratorSpec, banks: bool = False) -> tuple[FrameTimings, ...]:
    """The segments of a frame on an idle accelerator, and when the same frame runs back to back."""
    row = simulate(list(frames) * STEADY_FRAMES, board, banks)
    steady = row[STEADY * len(frames) : (STEADY + 1) * len(frames)]
    return tuple(FrameTimings(cold, warm) for cold, warm in zip(row[: len(frames)], steady, strict=True))


def _frame(run: SegmentRun, board: AcceleratorSpec) -> Frame:
    return Frame(decode_stream(run.stream, board.engine), run.routes, run.early)


def _image_cycles(frames: Sequence[Sequence[Frame]], board: AcceleratorSpec) -> tuple[int, ...]:
    """Cycles of a frame of every image, run one after the other, with one more frame before and after them."""
    if len(frames) == 1:
        return ()
    row = [*frames[-1], *(frame for image in frames for frame in image), *frames[0]]
    cycles = [timing.cycles for timing in simulate(row, board)]
    size = len(frames[0])
    return tuple(sum(cycles[(i + 1) * size : (i + 2) * size]) for i in range(len(frames)))


def simulated_task(task: TaskFrames, program: FpgaProgram) -> TaskProfile:
    """The profile of a task; the loads of experts are summed over all images."""
    board, entry = program.board, program.tasks[task.task]
    left = [f"{', '.join(step.origin)}: {step.reason}" for step in entry.left]
    cycles = [timing.steady.cycles for timing in task.timings]
    cpu = program.host(BOARD_HOST).cpu
    macs_by_step = {layer.step: layer.macs for layer in cpu.tasks[task.task].layers}
    macs = [macs_by_step[index] for index in range(len(entry.host))]
    frame = time_frame([*map(_work, entry.host)], macs, cycles, board, cpu.target.threads)
    runs = task.runs[0]
    facts = [
        facts_of_bundle(run.segment, frame.stream, run.layer.tolist(), run.routes, board.engine)
        for run, frame in zip(runs, task.frames[0], strict=True)
    ]
    routes = [_all_routes([image[index] for image in task.runs]) for index in range(len(runs))]
    energy = [estimate(timing.steady, board) for timing in task.timings]
    return task_profile(task.task, facts, task.timings, routes, board, frame, energy, left, task.dram)


def _work(step: HostStep) -> Work:
    if step.segment is not None:
        return step.segment
    return step.operator if step.sizes is None else step.sizes


def _all_routes(runs: Sequence[SegmentRun]) -> Routes:
    return tuple(np.concatenate(chosen) for chosen in zip(*(run.routes for run in runs), strict=True))


def simulate_switches(tasks: Sequence[TaskFrames], board: AcceleratorSpec) -> Switches:
    """Tasks in turn on the first image, against each task alone."""
    order = list(islice(cycle(tasks), TURNS * len(tasks)))
    cycles = iter([timing.cycles for timing in simulate([f for task in order for f in task.frames[0]], board)])
    took = [sum(islice(cycles, len(task.frames[0]))) for task in order]
    inner = slice(len(tasks), -len(tasks))
    steady = {task.task: task.steady_cycles for task in tasks}
    return switch_cost([task.task for task in order][inner], took[inner], steady)


def _hit_notes(task: TaskFrames) -> list[str]:
    """How many prefetched experts received tokens, and how many experts with tokens had been prefetched."""
    early = used = both = 0
    for image in task.runs:
        for run in image:
            for names, chosen in zip(run.early, run.routes, strict=True):
                busy = set(np.unique(chosen).tolist())
                early, used, both = early + len(names), used + len(busy), both + len(busy.intersection(names))
    if not early:
        return []
    fetched = f"{both / early:.1%} of the prefetched experts got tokens"
    return [f"{task.task}: {fetched}, and {both / used:.1%} of those with tokens had been prefetched"]
