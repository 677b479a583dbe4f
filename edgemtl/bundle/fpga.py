"""What a bundle says about a program for an FPGA: the board, the streams of every task, and the CPU beside them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from edgemtl.bundle.program import Output, Program, WeightEntry
from edgemtl.bundle.segment import Segment
from edgemtl.host import HostStep, read_step
from edgemtl.hw.isa import REGIONS, VERSION
from edgemtl.hw.spec import AcceleratorSpec, read_board
from edgemtl.processor import HOSTS
from edgemtl.records import Rule, integer, number, one_of
from edgemtl.records.rules import hexadecimal
from edgemtl.records.types import Bytes, Count, Index

HOST_CONSTANTS = "program/host_constants.bin"
DIGEST_DIGITS = 16
Memory = Annotated[str, one_of(*REGIONS, "ring", "routing")]
"""A memory on chip."""
Board = Annotated[AcceleratorSpec, Rule("a board", read_board)]
Step = Annotated[HostStep, Rule("a step", read_step)]


@dataclass(frozen=True)
class Handover:
    """The step of a host's program in which a segment runs, and where its rows lie in the arena, in bytes."""

    step: Index
    inputs: tuple[Bytes, ...]
    outputs: tuple[Bytes, ...]


@dataclass(frozen=True)
class Host:
    """The program of the steps on the host CPU, for one processor; the step of a segment does nothing there.

    weights: the member with its weights, which ``tensors`` describe. handovers: by task, one for each segment.
    """

    name: Annotated[str, one_of(*HOSTS)]
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

    steps: Count
    output: Output
    host: tuple[Step, ...]
    segments: tuple[Segment, ...]
    left: tuple[LeftStep, ...]


@dataclass(frozen=True)
class FpgaProgram:
    """The program of one board, in integers.

    instruction_set: version of the streams' instructions. engine: digest of the engine they are for, 16 hexadecimal
    digits. share: of the memory on chip that blocks may take, 1 where no budget asked for less. on_chip: bytes by
    memory, the most any segment takes. parameters_bytes: the window `parameters`, which is the section weights.bin.
    constants: those of the tasks' host steps, not packed, in the section HOST_CONSTANTS.
    """

    device: Annotated[str, one_of("fpga")]
    instruction_set: Annotated[int, integer(VERSION, VERSION)]
    precision: Annotated[str, one_of("int8")]
    board: Board
    engine: Annotated[str, hexadecimal(DIGEST_DIGITS)]
    share: Annotated[float, number(0, 1)]
    on_chip: dict[Memory, Bytes]
    parameters_bytes: Bytes
    hosts: tuple[Host, ...]
    constants: tuple[WeightEntry, ...]
    constants_bytes: Bytes
    tasks: dict[str, FpgaTask]

    def host(self, name: str) -> Host:
        """The host called ``name``. Raises KeyError."""
        return {host.name: host for host in self.hosts}[name]
