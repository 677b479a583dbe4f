"""What must hold between the fields of a CPU's program and its weights; one small function per rule."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import NoReturn

from edgemtl.bundle.program import CPU_LIBRARY, INDICES, OFFSETS, VALUES, Program, WeightEntry
from edgemtl.errors import ConfigError
from edgemtl.records import shorten

WEIGHT_ALIGNMENT = 64
OFFSET_DTYPE = "int32"
INDEX_DTYPES = ("int32", "int64")
"""What indices are made of."""
ITEM_BYTES = {"float32": 4, "float16": 2, "int8": 1, "uint8": 1, "int16": 2, "int32": 4, "int64": 8}


def fail(place: str, must: str, actual: object) -> NoReturn:
    """Raise ConfigError: the place in the manifest, what it must be, what it is."""
    raise ConfigError(f"manifest.{place} must be {must}, not {actual}; compile the bundle again")


def check_member(place: str, expected: str, name: str) -> None:
    """Raise ConfigError where the member named at ``place`` is not the one that its place in the program gives it."""
    if name != expected:
        fail(place, f"one of {expected}", shorten(name))


def check_program(program: Program, place: str = "program", library: str = CPU_LIBRARY) -> None:
    """Raise ConfigError where member, entries, steps and layers of the program at ``place`` contradict each other."""
    check_member(f"{place}.library", library, program.library)
    entries = [name for task in program.tasks.values() for name in (task.entry, task.prepare) if name]
    if len(set(entries)) != len(entries):
        fail(f"{place}.tasks", "tasks with entries of their own", entries)
    for name, task in program.tasks.items():
        if program.common_prefix_steps > task.steps:
            must = f"at most {task.steps}, the steps of {name}"
            fail(f"{place}.common_prefix_steps", must, program.common_prefix_steps)
        steps = [layer.step for layer in task.layers]
        # In this order: a file may claim more steps than there is memory to count.
        if len(steps) != task.steps or steps != list(range(task.steps)):
            must = f"one for each of {task.steps} steps, in order"
            fail(f"{place}.tasks.{name}.layers", must, f"{len(steps)} layers")
    _check_prefix(program, place)


def _check_prefix(program: Program, place: str) -> None:
    """Steps that run once for several tasks are the same kernels in each of them."""
    count = program.common_prefix_steps
    kernels = {tuple(layer.kernel for layer in task.layers[:count]) for task in program.tasks.values()}
    if len(kernels) > 1:
        fail(f"{place}.common_prefix_steps", "a number of steps with the same kernels in all tasks", count)


def check_tensors(tensors: Sequence[WeightEntry], section_bytes: int, place: str = "weights") -> None:
    """Raise ConfigError where the tensors at ``place`` overlap or leave their section."""
    end = 0
    for index, entry in enumerate(tensors):
        where = f"{place}[{index}]"
        if entry.offset % WEIGHT_ALIGNMENT:
            fail(f"{where}.offset", f"a multiple of {WEIGHT_ALIGNMENT}", entry.offset)
        if entry.offset < end:
            fail(f"{where}.offset", f"at least {end}, the end of the tensor before", entry.offset)
        if entry.bytes != (size := prod(entry.shape) * ITEM_BYTES[entry.dtype]):
            fail(f"{where}.bytes", f"{size}, what its shape and dtype take", entry.bytes)
        if (entry.range is not None) != (entry.dtype in INDEX_DTYPES and entry.bytes > 0):
            fail(f"{where}.range", f"there for {' and '.join(INDEX_DTYPES)}, null for the others", entry.range)
        if (entry.role != VALUES and entry.range is None) or (entry.role == OFFSETS and entry.dtype != OFFSET_DTYPE):
            must = f"{VALUES}, or of integers {INDICES}, or of {OFFSET_DTYPE} {OFFSETS}"
            fail(f"{where}.role", must, f"{entry.role} of {entry.dtype}")
        end = entry.offset + entry.bytes
    if end > section_bytes:
        fail(place, f"inside the section of {section_bytes} bytes", f"{end} bytes long")
