"""The compiled program of a CPU: what the bundle stores and the runtime runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from edgemtl.bundle import VALUES, Program, Target, TaskProgram, WeightEntry
from edgemtl.lowering.ir import Step
from edgemtl.operators import Array
from edgemtl.processor import CpuTarget
from edgemtl.schedule import Plan


@dataclass(frozen=True)
class WeightTensor:
    """One packed tensor in the weights section; ``offset`` in bytes, a multiple of 64.

    role: "offsets" of tensors in words of four bytes, "indices" from the first to the last of ``bounds``, or "values".
    """

    name: str
    offset: int
    array: Array = field(repr=False)
    role: str = VALUES
    bounds: tuple[int, int] | None = None


@dataclass(frozen=True)
class CpuTask:
    """One task: the steps of a run, those that transform weights before, and what a bundle says of both functions."""

    task: str
    steps: tuple[Step, ...]
    prepare: tuple[Step, ...]
    program: TaskProgram

    @property
    def macs(self) -> int:
        """Multiply-accumulates of one run."""
        return sum(layer.macs for layer in self.program.layers)

    @property
    def constant_bytes(self) -> int:
        """Bytes of the weights and parameters it reads, not yet packed, each content once."""
        steps = (*self.prepare, *self.steps)
        return sum(c.array.nbytes for c in {c.key: c for step in steps for c in step.constants}.values())


@dataclass(frozen=True)
class CpuProgram:
    """Every task compiled for one CPU target.

    ``library`` is a shared object; ``weights`` are in file order. Sizes in bytes. The first task of a run
    starts at step 0, every further one at ``common_prefix_steps``. inputs: where each lies in their space.
    """

    target: CpuTarget
    library: bytes = field(repr=False)
    weights: tuple[WeightTensor, ...] = field(repr=False)
    tasks: tuple[CpuTask, ...]
    plan: Plan
    arena_bytes: int
    prepared_bytes: int
    weights_bytes: int
    inputs: Mapping[str, int]
    inputs_bytes: int
    common_prefix_steps: int
    precision: str
    notes: tuple[str, ...]


def describe_program(program: CpuProgram, library: str) -> Program:
    """What a bundle says of a program whose shared object is the member ``library``."""
    target = program.target
    return Program(
        device="cpu",
        precision=program.precision,
        target=Target(target.name, target.triple, target.mcpu, target.vector_bits, target.threads),
        library=library,
        arena_bytes=program.arena_bytes,
        prepared_bytes=program.prepared_bytes,
        weights_bytes=program.weights_bytes,
        common_prefix_steps=program.common_prefix_steps,
        tasks={task.task: task.program for task in program.tasks},
    )


def describe_weight(tensor: WeightTensor) -> WeightEntry:
    """What a bundle says of a tensor."""
    array = tensor.array
    return WeightEntry(
        tensor.name, tensor.offset, array.nbytes, array.shape, array.dtype.name, tensor.role, _range(tensor)
    )


def _range(tensor: WeightTensor) -> tuple[int, int] | None:
    """The bounds of indices, the least and the largest of other integers; None of other values."""
    if tensor.bounds is not None:
        return tensor.bounds
    array = tensor.array
    return (int(array.min()), int(array.max())) if array.dtype in (np.int32, np.int64) and array.size else None


def weights_section(program: CpuProgram) -> bytes:
    """The section of weights, zeros between tensors."""
    return pack_section(program.weights, program.weights_bytes)


def pack_section(tensors: Sequence[WeightTensor], size: int) -> bytes:
    """A section of ``size`` bytes with tensors in their places, zeros between."""
    section = bytearray(size)
    for tensor in tensors:
        section[tensor.offset : tensor.offset + tensor.array.nbytes] = tensor.array.tobytes()
    return bytes(section)
