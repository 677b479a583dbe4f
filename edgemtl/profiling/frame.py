"""The time of a whole frame on a board: segments from the cycle simulator, steps of the host CPU from a time model."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from edgemtl.hw.spec import AcceleratorSpec, Cpu
from edgemtl.operators import Operator
from edgemtl.profiling.host_cycles import bytes_of, cycles_of
from edgemtl.report.profile import FrameStep, FrameTime, frame_time

Work = Operator | int | str
"""An operator of the host CPU, the number of a segment, or the name of a step that is native code."""


def host_ms(operator: Operator, cpu: Cpu, threads: int) -> float | None:
    """Milliseconds of a step on ``threads`` cores: its instructions or its memory traffic, whichever takes longer.

    None for an operator whose instructions nobody counted.
    """
    cycles = cycles_of(operator)
    if cycles is None:
        return None
    compute_ms = cycles / min(threads, cpu.cores) / (cpu.clock_mhz * 1e3)
    return max(compute_ms, bytes_of(operator) / cpu.sustained_bytes_per_s * 1e3)


def time_frame(work: Iterable[Work], segment_cycles: Sequence[int], board: AcceleratorSpec, threads: int) -> FrameTime:
    """A frame of the steps ``work``; ``segment_cycles``: steady-state cycles of each segment, by its number."""
    return frame_time([_step(step, segment_cycles, board, threads) for step in work], threads)


def _step(work: Work, segment_cycles: Sequence[int], board: AcceleratorSpec, threads: int) -> FrameStep:
    if isinstance(work, int):
        return FrameStep("accelerator", f"segment {work}", segment_cycles[work] / board.engine.clock_mhz / 1e3)
    if isinstance(work, str):
        return FrameStep("host CPU", work, None)
    return FrameStep("host CPU", type(work).__name__, host_ms(work, board.board.cpu, threads))
