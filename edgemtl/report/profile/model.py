"""The contents of a profile. Cycles count from the start of the frame; other units are in the names.

Everything about a task on the accelerator, except the first frame's latency, describes one steady frame: the same task
runs back to back. The weights unit works ahead, so its cycles may be negative: they lie in the previous frame.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

from edgemtl.hw.spec import AcceleratorSpec
from edgemtl.report.profile.frame import FrameTime
from edgemtl.report.profile.parts import (
    BufferLife,
    Coefficient,
    DramEfficiency,
    EnergyPart,
    ExpertLoads,
    InstructionSpan,
    KernelTime,
    Latency,
    LayerProfile,
    MemoryUse,
)

SCHEMA_VERSION: Final = 3

Device = Literal["sim", "cpu"]
Figures = Literal["simulated", "measured"]


@dataclass(frozen=True)
class TaskProfile:
    """One task on the accelerator. macs: of all layers; macs_executed: MACs that the array executed in the frame.

    latency: of the accelerator alone. frame: of image to result, with the host CPU. dram: how the latency depends on
    what DRAM sustains. utilisation: by unit, its busy cycles as a share of the accelerator's; "array": the MAC
    utilisation. left: the steps that ran on the host CPU instead, each with its reason; only ``frame`` includes their
    time.
    """

    task: str
    latency: Latency
    frame: FrameTime
    macs: int
    macs_executed: int
    layers: tuple[LayerProfile, ...]
    spans: tuple[InstructionSpan, ...]
    traffic: Mapping[str, int]
    memories: tuple[MemoryUse, ...]
    buffers: tuple[BufferLife, ...]
    ring: tuple[tuple[int, int], ...]
    experts: tuple[ExpertLoads, ...]
    energy: tuple[EnergyPart, ...]
    utilisation: Mapping[str, float]
    dram: tuple[DramEfficiency, ...]
    left: tuple[str, ...] = ()


@dataclass(frozen=True)
class CpuTaskProfile:
    """One task on a CPU: whole runs, and its kernels, timed one by one, whose sum may differ from a whole run."""

    task: str
    runs: int
    median_ms: float
    least_ms: float
    most_ms: float
    kernels: tuple[KernelTime, ...]


@dataclass(frozen=True)
class MeasuredCpu:
    """The CPU that was measured: its name, the target it ran code for, and the number of threads."""

    name: str
    target: str
    threads: int


@dataclass(frozen=True)
class Switches:
    """Frames of alternating tasks. extra: cycles of each frame beyond a steady frame of its task."""

    order: tuple[str, ...]
    cycles: tuple[int, ...]
    steady: Mapping[str, int]
    extra: tuple[int, ...]


@dataclass(frozen=True)
class Profile:
    """Everything a report shows: either ``board`` and ``tasks``, or ``cpu`` and ``cpu_tasks``."""

    schema_version: int
    device: Device
    figures: Figures
    model: str
    bundle: str
    board: AcceleratorSpec | None
    cpu: MeasuredCpu | None
    images: tuple[str, ...]
    tasks: tuple[TaskProfile, ...]
    cpu_tasks: tuple[CpuTaskProfile, ...]
    switches: Switches | None
    coefficients: tuple[Coefficient, ...]
    notes: tuple[str, ...]
