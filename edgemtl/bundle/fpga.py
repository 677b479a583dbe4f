"""What a bundle says about a program for an FPGA: the board, the streams of every task, and the CPU beside them."""

from __future__ import annotations

from dataclasses import dataclass

from edgemtl.bundle.program import Output, Program, WeightEntry
from edgemtl.bundle.segment import Segment
from edgemtl.host import HostStep
from edgemtl.hw.spec import AcceleratorSpec

HOST_CONSTANTS = "program/host_constants.bin"


@dataclass(frozen=True)
class Handover:
    """The step of a host's program in which a segment runs, and where its rows lie in the arena, in bytes."""

    step: int
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]


@dataclass(frozen=True)
class Host:
    """The CPU program of the steps beside the overlay, for one processor; a segment's step does nothing there.

    weights: the member with its weights, which ``tensors`` describe. handovers: by task, one for each segment.
    """

    name: str
    cpu: Program
    weights: str
    tensors: tuple[WeightEntry, ...]
    handovers: dict[str, tuple[Handover, ...]]


@dataclass(frozen=True)
class LeftStep:
    """A step that stays on the CPU, what it is, and why."""

    origin: tuple[str, ...]
    kind: str
    reason: str


@dataclass(frozen=True)
class FpgaTask:
    """One task: steps of a host's program, its output, its segments in order, and the steps left to the CPU.

    host: what each step computes, for a simulation that runs no native code.
    """

    steps: int
    output: Output
    host: tuple[HostStep, ...]
    segments: tuple[Segment, ...]
    left: tuple[LeftStep, ...]


@dataclass(frozen=True)
class FpgaProgram:
    """The program of one board, in integers.

    engine: digest of the engine the streams are for, 16 hexadecimal digits. share: of the memory on chip that blocks
    may take, 1 where no budget asked for less. on_chip: bytes by memory, the most any segment takes. parameters_bytes:
    the window `parameters`, which is the section weights.bin. constants: those of the tasks' host steps, not packed, in
    the section HOST_CONSTANTS.
    """

    device: str
    precision: str
    board: AcceleratorSpec
    engine: str
    share: float
    on_chip: dict[str, int]
    parameters_bytes: int
    hosts: tuple[Host, ...]
    constants: tuple[WeightEntry, ...]
    constants_bytes: int
    tasks: dict[str, FpgaTask]

    def host(self, name: str) -> Host:
        """The host called ``name``. Raises KeyError."""
        return {host.name: host for host in self.hosts}[name]
