"""What must hold between the fields of a manifest; one small function per rule."""

from __future__ import annotations

from math import prod
from typing import NoReturn

from edgemtl.bundle.manifest import WEIGHTS, GoldenEntry, Manifest, golden_paths
from edgemtl.bundle.npy import npy_bytes
from edgemtl.errors import ConfigError

WEIGHT_ALIGNMENT = 64
GOLDEN_BYTES = 1 << 20
ITEM_BYTES = {"float32": 4, "float16": 2, "int8": 1, "uint8": 1, "int16": 2, "int32": 4, "int64": 8}


def check_manifest(manifest: Manifest) -> None:
    """Raise ConfigError where two parts of the manifest contradict each other."""
    _check_input(manifest)
    _check_tasks(manifest)
    _check_program(manifest)
    _check_weights(manifest)
    _check_golden(manifest)
    if manifest.sections:
        check_sections(manifest)


def expected_sections(manifest: Manifest) -> tuple[str, ...]:
    """The names of every member but the manifest's own two, in file order."""
    golden = [path for entry in manifest.golden for path in golden_paths(entry.task)]
    return tuple(sorted([*golden, manifest.program.library, WEIGHTS]))


def _fail(place: str, must: str, found: object) -> NoReturn:
    raise ConfigError(f"manifest.{place} must be {must}, not {found}; compile the bundle again")


def _check_input(manifest: Manifest) -> None:
    shape = manifest.input.shape
    if len(shape) != 4 or shape[0] != 1:
        _fail("input.shape", "[1, C, H, W]", list(shape))
    for name, values in (("mean", manifest.input.mean), ("std", manifest.input.std)):
        if values is not None and len(values) != shape[1]:
            _fail(f"input.{name}", f"{shape[1]} numbers, one per channel", len(values))
    if manifest.input.std is not None and min(manifest.input.std) <= 0:
        _fail("input.std", "greater than 0", min(manifest.input.std))


def _check_tasks(manifest: Manifest) -> None:
    names = [task.name for task in manifest.tasks]
    if not names or len(set(names)) != len(names):
        _fail("tasks", "at least one task, each name once", names)
    if set(manifest.program.tasks) != set(names):
        _fail("program.tasks", f"the tasks {sorted(names)}", sorted(manifest.program.tasks))
    for task in manifest.tasks:
        shape = manifest.program.tasks[task.name].output.shape
        if shape[:2] != (1, task.channels):
            _fail(f"program.tasks.{task.name}.output.shape", f"[1, {task.channels}, ...]", list(shape))


def _check_program(manifest: Manifest) -> None:
    program = manifest.program
    entries = [name for task in program.tasks.values() for name in (task.entry, task.prepare) if name]
    if len(set(entries)) != len(entries):
        _fail("program.tasks", "tasks with entries of their own", entries)
    for name, task in program.tasks.items():
        if program.common_prefix_steps > task.steps:
            _fail(
                "program.common_prefix_steps",
                f"at most {task.steps}, the steps of {name}",
                program.common_prefix_steps,
            )
        steps = [layer.step for layer in task.layers]
        if steps != list(range(task.steps)):
            _fail(
                f"program.tasks.{name}.layers",
                f"one for each of {task.steps} steps, in order",
                f"{len(steps)} layers",
            )


def _check_weights(manifest: Manifest) -> None:
    end = 0
    for index, entry in enumerate(manifest.weights):
        place = f"weights[{index}]"
        if entry.offset % WEIGHT_ALIGNMENT:
            _fail(f"{place}.offset", f"a multiple of {WEIGHT_ALIGNMENT}", entry.offset)
        if entry.offset < end:
            _fail(f"{place}.offset", f"at least {end}, the end of the tensor before", entry.offset)
        if entry.bytes != (size := prod(entry.shape) * ITEM_BYTES[entry.dtype]):
            _fail(f"{place}.bytes", f"{size}, what its shape and dtype take", entry.bytes)
        end = entry.offset + entry.bytes
    if end > manifest.program.weights_bytes:
        _fail("weights", f"inside the section of {manifest.program.weights_bytes} bytes", f"{end} bytes long")


def _check_golden(manifest: Manifest) -> None:
    names = [task.name for task in manifest.tasks]
    if [entry.task for entry in manifest.golden] != names:
        _fail("golden", f"one pair per task in the order {names}", [entry.task for entry in manifest.golden])
    for entry in manifest.golden:
        _check_golden_entry(manifest, entry)


def _check_golden_entry(manifest: Manifest, entry: GoldenEntry) -> None:
    image, stored = manifest.input.shape, entry.input_shape
    if len(stored) != 4 or stored[:2] != image[:2] or stored[2] > image[2] or stored[3] > image[3]:
        _fail(f"golden of {entry.task}: input_shape", f"a part of {list(image)}", list(stored))
    elements = prod(manifest.program.tasks[entry.task].output.shape)
    if entry.output_elements != (kept := -(-elements // entry.output_stride)):
        _fail(
            f"golden of {entry.task}: output_elements",
            f"{kept}, one in {entry.output_stride}",
            entry.output_elements,
        )
    if (size := sum(golden_bytes(entry))) > GOLDEN_BYTES:
        _fail(f"golden of {entry.task}", f"at most {GOLDEN_BYTES} bytes", f"{size} bytes")


def golden_bytes(entry: GoldenEntry) -> tuple[int, int]:
    """The sizes in bytes of a golden pair's two members."""
    return npy_bytes(entry.input_shape), npy_bytes((entry.output_elements,))


def check_sections(manifest: Manifest) -> None:
    """Raise ConfigError unless the sections are the ones the rest of the manifest needs, in file order."""
    names = [section.name for section in manifest.sections]
    if names != list(expected_sections(manifest)):
        _fail(
            "sections",
            f"{', '.join(expected_sections(manifest))}, in this order",
            ", ".join(names) or "empty",
        )
    sizes = {section.name: section.bytes for section in manifest.sections}
    expected = {WEIGHTS: manifest.program.weights_bytes}
    for entry in manifest.golden:
        expected |= dict(zip(golden_paths(entry.task), golden_bytes(entry), strict=True))
    for name, size in expected.items():
        if sizes[name] != size:
            _fail(f"sections: {name}", f"{size} bytes", f"{sizes[name]} bytes")
