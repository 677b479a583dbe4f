"""A program small enough to know by heart, compiled for real, and its bundle.

Every task gives ``image * (1 + SCALE) * weight**2 + image`` with a weight of its own, in four steps: two
common ones, one that multiplies by the prepared square, one that adds the image.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from tvm.script import tirx as T

from edgemtl.bundle import (
    GoldenEntry,
    InputEntry,
    Layer,
    Manifest,
    ModelEntry,
    Output,
    Program,
    StoredInput,
    Target,
    TaskEntry,
    TaskProgram,
    Tool,
    WeightEntry,
    expand_input,
    pack_golden,
    write_bundle,
)
from edgemtl.processor import CpuTarget, resolve
from edgemtl.tvm_bridge.build import Argument, EntryFunction, KernelCall, build_library
from edgemtl.tvm_bridge.kernel import Kernel

SHAPE = (1, 3, 16, 32)
FLOATS = 3 * 16 * 32
ARENA = 3 * 4 * FLOATS
SCALE = np.float32(0.3)
WEIGHTS = {"semseg": np.float32(0.7), "depth": np.float32(1.3), "normals": np.float32(-2.1)}
KINDS = {"semseg": "segmentation", "depth": "depth", "normals": "normals"}
PREFIX = 2


def expected(task: str, image: np.ndarray) -> np.ndarray:
    """What a task gives, in the program's own order of rounding."""
    common = image * SCALE + image
    return common * (WEIGHTS[task] * WEIGHTS[task]) + image


@T.prim_func(private=True)
def _scale(a: T.handle("float32"), b: T.handle("float32"), c: T.handle("float32")) -> T.int32:
    T.func_attr({"calling_conv": -1, "tirx.noalias": True})
    A = T.decl_buffer((1536,), data=a)
    B = T.decl_buffer((16,), data=b)
    C = T.decl_buffer((1536,), data=c)
    for part in T.parallel(4):
        for i in T.serial(384):
            C[part * 384 + i] = A[part * 384 + i] * B[0]
    return T.int32(0)


@T.prim_func(private=True)
def _add(a: T.handle("float32"), b: T.handle("float32"), c: T.handle("float32")) -> T.int32:
    T.func_attr({"calling_conv": -1, "tirx.noalias": True})
    A = T.decl_buffer((1536,), data=a)
    B = T.decl_buffer((1536,), data=b)
    C = T.decl_buffer((1536,), data=c)
    for part in T.parallel(4):
        for i in T.serial(384):
            C[part * 384 + i] = A[part * 384 + i] + B[part * 384 + i]
    return T.int32(0)


@T.prim_func(private=True)
def _square(a: T.handle("float32"), c: T.handle("float32")) -> T.int32:
    T.func_attr({"calling_conv": -1, "tirx.noalias": True})
    A = T.decl_buffer((16,), data=a)
    C = T.decl_buffer((16,), data=c)
    for i in T.serial(16):
        C[i] = A[i] * A[i]
    return T.int32(0)


SCALE_KERNEL = Kernel("scale", (), _scale)
ADD_KERNEL = Kernel("add", (), _add)
SQUARE_KERNEL = Kernel("square", (), _square)


def _call(kernel: Kernel, *places: tuple[str, int]) -> KernelCall:
    return KernelCall(kernel, tuple(Argument(space, offset) for space, offset in places))


def _steps(index: int) -> tuple[KernelCall, ...]:
    """The steps of a task whose prepared weight lies at ``index``; intermediate values at 0, 4 N and 8 N."""
    a, b, c = (("arena", 4 * FLOATS * i) for i in range(3))
    image = ("inputs", 0)
    return (
        _call(SCALE_KERNEL, image, ("weights", 0), a),
        _call(ADD_KERNEL, a, image, b),
        _call(SCALE_KERNEL, b, ("prepared", 64 * index), c),
        _call(ADD_KERNEL, c, image, ("output", 0)),
    )


def _prepare(index: int) -> tuple[KernelCall, ...]:
    return (_call(SQUARE_KERNEL, ("weights", 64 * (index + 1)), ("prepared", 64 * index)),)


def _wild_steps(index: int) -> tuple[KernelCall, ...]:
    """As ``_steps``, but the last one also writes 64 bytes behind the arena."""
    return (*_steps(index), _call(SQUARE_KERNEL, ("prepared", 0), ("arena", ARENA)))


@cache
def library(target: CpuTarget, wild: bool = False) -> bytes:
    """The shared library of the three tasks."""
    spaces = {
        "arena": ARENA,
        "weights": 64 * (1 + len(WEIGHTS)),
        "prepared": 64 * len(WEIGHTS),
        "inputs": 4 * FLOATS,
        "output": 4 * FLOATS,
    }
    steps = _wild_steps if wild else _steps
    entries = [
        entry
        for i, task in enumerate(WEIGHTS)
        for entry in (
            EntryFunction(f"run_{task}", steps(i), spaces),
            EntryFunction(f"prepare_{task}", _prepare(i), spaces),
        )
    ]
    return build_library(entries, target)


def weights() -> np.ndarray:
    """The weights section: the common scale and a weight per task, each in the first of 16 floats."""
    section = np.zeros((1 + len(WEIGHTS), 16), np.float32)
    section[:, 0] = [SCALE, *WEIGHTS.values()]
    return section


def manifest(target: CpuTarget, steps: int = 4) -> Manifest:
    """The manifest of the bundle, without golden pairs."""
    layers = tuple(Layer(i, "scale" if i % 2 == 0 else "add", (f"node{i}",), FLOATS, 0) for i in range(steps))
    return Manifest(
        schema_version=3,
        tool=Tool("edgemtl", "0.1.0"),
        model=ModelEntry("small.onnx", "0" * 64),
        inputs=(InputEntry("image", SHAPE, (0.5, 0.5, 0.5), (0.25, 0.25, 0.25)),),
        tasks=tuple(TaskEntry(task, KINDS[task], 3, "exact", ("image",), (), ()) for task in WEIGHTS),
        notes=("a small program",),
        program=Program(
            device="cpu",
            precision="fp32",
            target=Target(target.name, target.triple, target.mcpu, target.vector_bits, target.threads),
            library="program/cpu.so",
            arena_bytes=ARENA,
            prepared_bytes=64 * len(WEIGHTS),
            weights_bytes=weights().nbytes,
            common_prefix_steps=PREFIX,
            tasks={
                task: TaskProgram(f"run_{task}", f"prepare_{task}", steps, Output(SHAPE, "float32"), layers)
                for task in WEIGHTS
            },
        ),
        weights=tuple(WeightEntry(name, 64 * i, 64, (16,), "float32") for i, name in enumerate(("scale", *WEIGHTS))),
        golden=(),
    )


def picture(seed: int, frames: int = 1) -> np.ndarray:
    """A random image float32 [frames, C, H, W]."""
    return np.random.default_rng(seed).standard_normal((frames, *SHAPE[1:])).astype(np.float32)


def write(path: Path, target: CpuTarget | None = None, wild: bool = False, **changes: Any) -> Path:
    """Write the bundle to ``path``; ``changes`` replace fields of its manifest."""
    target = target or resolve("cpu")
    described = replace(manifest(target, 5 if wild else 4), golden=tuple(entry for entry, _ in _goldens()))
    write_bundle(path, replace(described, **changes), sections(target, wild))
    return path


def sections(target: CpuTarget | None = None, wild: bool = False) -> dict[str, bytes]:
    """The members of the bundle."""
    made = {"weights.bin": weights().tobytes(), "program/cpu.so": library(target or resolve("cpu"), wild)}
    return made | {name: data for _, files in _goldens() for name, data in files.items()}


def _goldens() -> list[tuple[GoldenEntry, dict[str, bytes]]]:
    return [pack_golden(t, stored(0), expected(t, expand_input(stored(0)["image"], SHAPE)), 0.0) for t in WEIGHTS]


def stored(seed: int) -> dict[str, StoredInput]:
    """A random image as a golden pair stores it."""
    return {"image": StoredInput(picture(seed))}
