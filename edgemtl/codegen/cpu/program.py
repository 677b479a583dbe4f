"""The compiled program of a CPU: what the bundle stores and the runtime runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

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
    role: str = "values"
    bounds: tuple[int, int] | None = None


@dataclass(frozen=True)
class Layer:
    """One step as a user reads it: its kernel, the ONNX nodes it stands for, its work and the bytes it
    touches.
    """

    step: int
    kernel: str
    origin: tuple[str, ...]
    macs: int
    bytes: int


@dataclass(frozen=True)
class TaskProgram:
    """One task: the exported functions that run and prepare it, its layers and its output."""

    task: str
    entry: str
    prepare: str | None
    steps: tuple[Step, ...]
    layers: tuple[Layer, ...]
    output_shape: tuple[int, ...]
    output_dtype: str

    @property
    def macs(self) -> int:
        """Multiply-accumulates of one run."""
        return sum(layer.macs for layer in self.layers)

    @property
    def constant_bytes(self) -> int:
        """Bytes of the weights and parameters it reads, not yet packed, each content once."""
        return sum(c.array.nbytes for c in {c.key: c for step in self.steps for c in step.constants}.values())


@dataclass(frozen=True)
class CpuProgram:
    """Every task compiled for one CPU target.

    ``library`` is a shared object; ``weights`` are in file order. Sizes in bytes. The first task of a run
    starts at step 0, every further one at ``common_prefix_steps``.
    """

    target: CpuTarget
    library: bytes = field(repr=False)
    weights: tuple[WeightTensor, ...] = field(repr=False)
    tasks: tuple[TaskProgram, ...]
    plan: Plan
    arena_bytes: int
    prepared_bytes: int
    weights_bytes: int
    image_bytes: int
    common_prefix_steps: int
    precision: str
    notes: tuple[str, ...]


def to_manifest(program: CpuProgram) -> dict[str, Any]:
    """The "program" and "weights" entries of a bundle's manifest."""
    return {"program": _program_entry(program), "weights": [weight_entry(w) for w in program.weights]}


def weights_section(program: CpuProgram) -> bytes:
    """The section of weights, zeros between tensors."""
    return pack_section(program.weights, program.weights_bytes)


def pack_section(tensors: Sequence[WeightTensor], size: int) -> bytes:
    """A section of ``size`` bytes with tensors in their places, zeros between."""
    section = bytearray(size)
    for tensor in tensors:
        section[tensor.offset : tensor.offset + tensor.array.nbytes] = tensor.array.tobytes()
    return bytes(section)


def _program_entry(program: CpuProgram) -> dict[str, Any]:
    target = program.target
    return {
        "device": "cpu",
        "precision": program.precision,
        "target": {
            "name": target.name,
            "triple": target.triple,
            "mcpu": target.mcpu,
            "vector_bits": target.vector_bits,
            "threads": target.threads,
        },
        "library": "program/cpu.so",
        "arena_bytes": program.arena_bytes,
        "prepared_bytes": program.prepared_bytes,
        "weights_bytes": program.weights_bytes,
        "common_prefix_steps": program.common_prefix_steps,
        "tasks": {task.task: _task_entry(task) for task in program.tasks},
    }


def _task_entry(task: TaskProgram) -> dict[str, Any]:
    return {
        "entry": task.entry,
        "prepare": task.prepare,
        "steps": len(task.steps),
        "output": {"shape": list(task.output_shape), "dtype": task.output_dtype},
        "layers": [_layer_entry(layer) for layer in task.layers],
    }


def _layer_entry(layer: Layer) -> Mapping[str, Any]:
    return {
        "step": layer.step,
        "kernel": layer.kernel,
        "origin": list(layer.origin),
        "macs": layer.macs,
        "bytes": layer.bytes,
    }


def weight_entry(tensor: WeightTensor) -> Mapping[str, Any]:
    """A tensor as a manifest describes it."""
    return {
        "name": tensor.name,
        "offset": tensor.offset,
        "bytes": tensor.array.nbytes,
        "shape": list(tensor.array.shape),
        "dtype": tensor.array.dtype.name,
        "role": tensor.role,
        "range": _range(tensor),
    }


def _range(tensor: WeightTensor) -> list[int] | None:
    """The bounds of indices, the least and the largest of other integers; None of other values."""
    if tensor.bounds is not None:
        return list(tensor.bounds)
    array = tensor.array
    return [int(array.min()), int(array.max())] if array.dtype in (np.int32, np.int64) and array.size else None
