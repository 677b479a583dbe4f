"""What a bundle says about a program for a CPU."""

from __future__ import annotations

from dataclasses import dataclass

ROLES = VALUES, INDICES, OFFSETS = ("values", "indices", "offsets")
"""What a tensor of weights is for."""


@dataclass(frozen=True)
class Target:
    """The processor the program is for, in LLVM's words; ``threads``: parts a kernel is split into."""

    name: str
    triple: str
    mcpu: str
    vector_bits: int
    threads: int


@dataclass(frozen=True)
class Output:
    """A task's output array; its shape is () for a scalar."""

    shape: tuple[int, ...]
    dtype: str


@dataclass(frozen=True)
class Layer:
    """One step: its kernel, the nodes it stands for, its multiply-accumulates and the bytes it touches."""

    step: int
    kernel: str
    origin: tuple[str, ...]
    macs: int
    bytes: int


@dataclass(frozen=True)
class TaskProgram:
    """The functions of one task in the library, its number of steps and its output."""

    entry: str
    prepare: str | None
    steps: int
    output: Output
    layers: tuple[Layer, ...]


@dataclass(frozen=True)
class Program:
    """The compiled program of a CPU: its library and the bytes of each space it works in; precision is fp32 or int8.

    The first task of a run starts at step 0, every further one at ``common_prefix_steps``.
    """

    device: str
    precision: str
    target: Target
    library: str
    arena_bytes: int
    prepared_bytes: int
    weights_bytes: int
    common_prefix_steps: int
    tasks: dict[str, TaskProgram]


@dataclass(frozen=True)
class WeightEntry:
    """One tensor of the weights section; ``offset`` in bytes, a multiple of 64.

    role: "values"; "indices", by which kernels find other values; or "offsets", by which they find other tensors of the
    section, in words of four bytes. range: of int32 and int64 what values lie between, of indices the bounds of what
    they count in.
    """

    name: str
    offset: int
    bytes: int
    shape: tuple[int, ...]
    dtype: str
    role: str = VALUES
    range: tuple[int, int] | None = None
