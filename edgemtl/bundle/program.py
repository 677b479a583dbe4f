"""What a bundle says about a program for a CPU."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from edgemtl.processor import ARCHITECTURES
from edgemtl.records import check, integer, items, one_of
from edgemtl.records.types import AnyShape, Bytes, Count, Index, Macs, Name
from edgemtl.vocabulary import OUTPUT_DTYPES

CPU_LIBRARY = "program/cpu.so"
"""The member that is the library of a program for a CPU."""
DTYPES = ("float32", "float16", "int8", "uint8", "int16", "int32", "int64")
"""What weights are made of."""
VECTOR_BITS = (128, 256, 512)
ROLES = VALUES, INDICES, OFFSETS = ("values", "indices", "offsets")
"""What a tensor of weights is for."""
BOUNDS = items(integer(-(1 << 63), (1 << 63) - 1), 2, 2, "the least and the largest value")


@dataclass(frozen=True)
class Target:
    """The processor the program is for, in LLVM's words; ``threads``: parts a kernel is split into."""

    name: Name
    triple: Annotated[str, one_of(*(architecture.triple for architecture in ARCHITECTURES.values()))]
    mcpu: Name
    vector_bits: Annotated[int, integer(128, 512), check("128, 256 or 512", VECTOR_BITS.__contains__)]
    threads: Annotated[int, integer(1, 1024)]


@dataclass(frozen=True)
class Output:
    """A task's output array; its shape is () for a scalar."""

    shape: AnyShape
    dtype: Annotated[str, one_of(*OUTPUT_DTYPES)]


@dataclass(frozen=True)
class Layer:
    """One step: its kernel, the nodes it stands for, its multiply-accumulates and the bytes it touches."""

    step: Index
    kernel: str
    origin: tuple[str, ...]
    macs: Macs
    bytes: Macs


@dataclass(frozen=True)
class TaskProgram:
    """The functions of one task in the library, its number of steps and its output."""

    entry: Name
    prepare: Name | None
    steps: Count
    output: Output
    layers: tuple[Layer, ...]


@dataclass(frozen=True)
class Program:
    """The compiled program of a CPU: its library and the bytes of each space it works in; precision is fp32 or int8.

    The first task of a run starts at step 0, every further one at ``common_prefix_steps``.
    """

    device: Annotated[str, one_of("cpu")]
    precision: Annotated[str, one_of("fp32", "int8")]
    target: Target
    library: str
    arena_bytes: Bytes
    prepared_bytes: Bytes
    weights_bytes: Bytes
    common_prefix_steps: Index
    tasks: dict[str, TaskProgram]


@dataclass(frozen=True)
class WeightEntry:
    """One tensor of the weights section; ``offset`` in bytes, a multiple of 64.

    role: "values"; "indices", by which kernels find other values; or "offsets", by which they find other tensors of the
    section, in words of four bytes. range: of int32 and int64 what values lie between, of indices the bounds of what
    they count in.
    """

    name: str
    offset: Bytes
    bytes: Bytes
    shape: AnyShape
    dtype: Annotated[str, one_of(*DTYPES)]
    role: Annotated[str, one_of(*ROLES)] = VALUES
    range: Annotated[tuple[int, int], BOUNDS] | None = None
