"""What a profile says, as data. Cycles count from the begin of the frame; bytes, joules and milliseconds as named.

Of a task on the accelerator everything but the first frame's latency describes one steady frame: the same task ran
before and runs again. Its weights unit works ahead, so its cycles may be negative: they lie in the frame before.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

from edgemtl.hw.spec import AcceleratorSpec
from edgemtl.report.profile.parts import (
    BufferLife,
    Coefficient,
    EnergyPart,
    ExpertLoads,
    InstructionSpan,
    KernelTime,
    Latency,
    LayerProfile,
    MemoryUse,
)

SCHEMA_VERSION: Final = 1

Device = Literal["sim", "cpu"]
Figures = Literal["simulated", "measured"]


@dataclass(frozen=True)
class TaskProfile:
    """One task on the accelerator. macs: of all layers; macs_made: products the array made in the frame.

    utilisation: by unit, busy cycles over the frame's; "array": products made over what the array could have made in
    the frame. left: what ran on the CPU instead, each with its reason; its time is in no figure here.
    """

    task: str
    latency: Latency
    macs: int
    macs_made: int
    layers: tuple[LayerProfile, ...]
    spans: tuple[InstructionSpan, ...]
    traffic: Mapping[str, int]
    memories: tuple[MemoryUse, ...]
    buffers: tuple[BufferLife, ...]
    ring: tuple[tuple[int, int], ...]
    experts: tuple[ExpertLoads, ...]
    energy: tuple[EnergyPart, ...]
    utilisation: Mapping[str, float]
    left: tuple[str, ...] = ()


@dataclass(frozen=True)
class CpuTaskProfile:
    """One task on a CPU: whole runs, and its kernels, which were timed one by one and need not add up to them."""

    task: str
    runs: int
    median_ms: float
    least_ms: float
    most_ms: float
    kernels: tuple[KernelTime, ...]


@dataclass(frozen=True)
class CpuTarget:
    """The CPU that was measured: its name, what code it ran, and how many threads."""

    name: str
    target: str
    threads: int


@dataclass(frozen=True)
class Switches:
    """Frames of changing tasks, one behind the other. extra: cycles above those of the same task in a row."""

    order: tuple[str, ...]
    cycles: tuple[int, ...]
    steady: Mapping[str, int]
    extra: tuple[int, ...]


@dataclass(frozen=True)
class Profile:
    """All that a report shows. Either ``board`` and ``tasks`` are there, or ``cpu`` and ``cpu_tasks``."""

    schema_version: int
    device: Device
    figures: Figures
    model: str
    bundle: str
    board: AcceleratorSpec | None
    cpu: CpuTarget | None
    images: tuple[str, ...]
    tasks: tuple[TaskProfile, ...]
    cpu_tasks: tuple[CpuTaskProfile, ...]
    switches: Switches | None
    coefficients: tuple[Coefficient, ...]
    notes: tuple[str, ...]
