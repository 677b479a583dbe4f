"""The time of a whole frame on a board: segments from the cycle simulator, steps of the host CPU from a time model."""

from __future__ import annotations

from collections.abc import Sequence

from edgemtl.hw.spec import AcceleratorSpec, Cpu
from edgemtl.lowering.words import operator_name
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


def time_frame(
    work: Sequence[Work], macs: Sequence[int], segment_cycles: Sequence[int], board: AcceleratorSpec, threads: int
) -> FrameTime:
    """A frame of the steps ``work``, which have ``macs`` multiply-accumulates.

    segment_cycles: steady-state cycles of each segment, by its number.
    """

    def timed(step: Work, step_macs: int) -> FrameStep:
        if isinstance(step, int):
            ms = segment_cycles[step] / board.engine.clock_mhz / 1e3
            return FrameStep("accelerator", f"segment {step}", ms, step_macs)
        if isinstance(step, str):
            return FrameStep("host CPU", step, None, step_macs)
        return FrameStep("host CPU", operator_name(step), host_ms(step, board.board.cpu, threads), step_macs)

    return frame_time([timed(*pair) for pair in zip(work, macs, strict=True)], threads)
