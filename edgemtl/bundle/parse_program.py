"""The program of a CPU from JSON."""

from __future__ import annotations

from edgemtl.bundle.fields import Field
from edgemtl.bundle.program import ROLES, Layer, Output, Program, Target, TaskProgram, WeightEntry
from edgemtl.bundle.values import MAX_BYTES, MAX_COUNT, MAX_INT64, MAX_MACS, read_shape, read_texts
from edgemtl.processor import ARCHITECTURES

WEIGHT_DTYPES = ("float32", "float16", "int8", "uint8", "int16", "int32", "int64")
CPU_LIBRARY = "program/cpu.so"


def read_program(field: Field, library_name: str = CPU_LIBRARY) -> Program:
    """The program of a CPU, whose library must be the member ``library_name``."""
    device, precision, target, library, arena, prepared, weights, prefix, tasks = field.members(
        "device",
        "precision",
        "target",
        "library",
        "arena_bytes",
        "prepared_bytes",
        "weights_bytes",
        "common_prefix_steps",
        "tasks",
    )
    return Program(
        device.choice("cpu"),
        precision.choice("fp32", "int8"),
        _target(target),
        library.choice(library_name),
        arena.integer(0, MAX_BYTES),
        prepared.integer(0, MAX_BYTES),
        weights.integer(0, MAX_BYTES),
        prefix.integer(0, MAX_COUNT),
        {name: _task_program(item) for name, item in tasks.entries().items()},
    )


def _target(field: Field) -> Target:
    name, triple, mcpu, vector_bits, threads = field.members("name", "triple", "mcpu", "vector_bits", "threads")
    bits = vector_bits.integer(128, 512)
    if bits not in (128, 256, 512):
        vector_bits.fail("128, 256 or 512")
    triples = [architecture.triple for architecture in ARCHITECTURES.values()]
    return Target(name.name(), triple.choice(*triples), mcpu.name(), bits, threads.integer(1, 1024))


def _task_program(field: Field) -> TaskProgram:
    entry, prepare, steps, output, layers = field.members("entry", "prepare", "steps", "output", "layers")
    return TaskProgram(
        entry.name(),
        None if prepare.value is None else prepare.name(),
        steps.integer(1, MAX_COUNT),
        read_output(output),
        tuple(_layer(item) for item in layers.items()),
    )


def read_output(field: Field) -> Output:
    """A task's output, of any rank."""
    shape, dtype = field.members("shape", "dtype")
    return Output(read_shape(shape, rank=0), dtype.choice("float32"))


def _layer(field: Field) -> Layer:
    step, kernel, origin, macs, size = field.members("step", "kernel", "origin", "macs", "bytes")
    return Layer(
        step.integer(0, MAX_COUNT),
        kernel.text(),
        read_texts(origin),
        macs.integer(0, MAX_MACS),
        size.integer(0, MAX_MACS),
    )


def read_weight(field: Field) -> WeightEntry:
    """One tensor of a section of weights."""
    name, offset, size, shape, dtype, role, bounds = field.members(
        "name", "offset", "bytes", "shape", "dtype", "role", "range"
    )
    return WeightEntry(
        name.text(),
        offset.integer(0, MAX_BYTES),
        size.integer(0, MAX_BYTES),
        read_shape(shape, rank=0),
        dtype.choice(*WEIGHT_DTYPES),
        role.choice(*ROLES),
        _range(bounds),
    )


def _range(field: Field) -> tuple[int, int] | None:
    if field.value is None:
        return None
    bounds = tuple(item.integer(-MAX_INT64 - 1, MAX_INT64) for item in field.items())
    if len(bounds) != 2:
        field.fail("the least and the largest value")
    return bounds[0], bounds[1]
