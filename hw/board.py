"""What is bought: a part, its memories, ports and CPU. Nothing here is a choice of ours."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Final

from edgemtl.records import Rule, check, integer, one_of

COUNT: Final = 10**7
"""More of anything than a part has; a number beyond is a slip of the pen."""


def whole(low: int, high: int) -> Rule:
    """A whole number from ``low`` to ``high``."""
    return integer(low, high, "a whole number")


def text(longest: int) -> Rule:
    """A line of printable text of at most ``longest`` characters."""
    return check(
        f"a line of 1 to {longest} printable characters",
        lambda value: type(value) is str and 0 < len(value) <= longest and value.isprintable(),
    )


@dataclass(frozen=True)
class Part:
    """The programmable logic: six-input tables, flip-flops, DSP48E2, BRAM of 36 Kib, UltraRAM of 288 Kib."""

    name: Annotated[str, text(40)]
    lut: Annotated[int, whole(1, COUNT)]
    ff: Annotated[int, whole(1, COUNT)]
    dsp: Annotated[int, whole(1, COUNT)]
    bram36: Annotated[int, whole(0, COUNT)]
    uram288: Annotated[int, whole(0, COUNT)]


PICOSECONDS = whole(0, 10**8)


@dataclass(frozen=True)
class MemoryTiming:
    """What DRAM takes beside transfers, in picoseconds. ``row_bytes``: a row of one bank, over all chips.

    Closing a row, opening it until its bytes move, and the least time from one opening of a bank to the next; from the
    last byte written to closing its row; from the last byte of one direction to the first of the other; a refresh of
    all banks, and the time from one to the next.
    """

    banks: Annotated[int, whole(1, 64)]
    row_bytes: Annotated[int, whole(64, 2**20)]
    precharge_ps: Annotated[int, PICOSECONDS]
    activate_ps: Annotated[int, PICOSECONDS]
    row_cycle_ps: Annotated[int, PICOSECONDS]
    write_recovery_ps: Annotated[int, PICOSECONDS]
    read_to_write_ps: Annotated[int, PICOSECONDS]
    write_to_read_ps: Annotated[int, PICOSECONDS]
    refresh_ps: Annotated[int, PICOSECONDS]
    refresh_interval_ps: Annotated[int, whole(10**5, 10**8)]


@dataclass(frozen=True)
class Memory:
    """A memory that weights and activations come from.

    ``sustained_bytes_per_s`` is what a design gets of it over a long run, both directions together.
    """

    kind: Annotated[str, text(40)]
    data_bits: Annotated[int, one_of(16, 32, 64, 128)]
    transfers_per_s: Annotated[int, whole(10**6, 10**11)]
    sustained_bytes_per_s: Annotated[int, whole(10**6, 10**13)]
    capacity_bytes: Annotated[int, whole(2**20, 2**44)]
    timing: MemoryTiming | None = None

    @property
    def peak_bytes_per_s(self) -> int:
        """What the pins carry."""
        return self.data_bits // 8 * self.transfers_per_s


@dataclass(frozen=True)
class Ports:
    """AXI ports from the logic to memory: ``hp`` past the CPU's caches, ``hpc`` through them."""

    hp: Annotated[int, whole(0, 64)]
    hpc: Annotated[int, whole(0, 64)]
    data_bits: Annotated[int, one_of(32, 64, 128)]
    most_clock_mhz: Annotated[int, whole(1, 2000)]


@dataclass(frozen=True)
class Cpu:
    """The processors beside the logic. ``sustained_bytes_per_s``: what they read and write of the memory together."""

    name: Annotated[str, text(40)]
    cores: Annotated[int, whole(1, 256)]
    clock_mhz: Annotated[int, whole(1, 10_000)]
    sustained_bytes_per_s: Annotated[int, whole(10**6, 10**13)]


@dataclass(frozen=True)
class Board:
    """A board. ``memory`` is that of the processing system.

    ``option``: a memory on the side of the logic, which the board has a socket for and does not ship with. Weights lie
    in both memories, in turn.
    """

    title: Annotated[str, text(80)]
    part: Part
    memory: Memory
    ports: Ports
    cpu: Cpu
    option: Memory | None = None
