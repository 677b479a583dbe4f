"""What must hold between the fields of a manifest; one small function per rule."""

from __future__ import annotations

from math import prod

from edgemtl.bundle.checks_fpga import check_fpga, check_fpga_sizes, fpga_members
from edgemtl.bundle.checks_program import check_program, check_tensors, fail
from edgemtl.bundle.fpga import FpgaProgram
from edgemtl.bundle.manifest import CASES, PLAIN, WEIGHTS, GoldenEntry, Manifest, MoEEntry, golden_paths
from edgemtl.bundle.npy import npy_bytes
from edgemtl.records import shorten
from edgemtl.vocabulary import count_names

GOLDEN_BYTES = 1 << 20


def check_manifest(manifest: Manifest) -> None:
    """Raise ConfigError where two parts of the manifest contradict each other."""
    _check_input(manifest)
    _check_tasks(manifest)
    _check_program(manifest)
    _check_golden(manifest)
    if manifest.sections:
        check_sections(manifest)


def expected_sections(manifest: Manifest) -> tuple[str, ...]:
    """The names of every member but the manifest's own two, in file order."""
    golden = [path for entry in manifest.golden for path in golden_paths(entry.task, entry.case)]
    program = manifest.program
    members = fpga_members(program) if isinstance(program, FpgaProgram) else (program.library,)
    return tuple(sorted([*golden, *members, WEIGHTS]))


def _check_input(manifest: Manifest) -> None:
    shape = manifest.input.shape
    if len(shape) != 4 or shape[0] != 1:
        fail("input.shape", "[1, C, H, W]", list(shape))
    for name, values in (("mean", manifest.input.mean), ("std", manifest.input.std)):
        if values is not None and len(values) != shape[1]:
            fail(f"input.{name}", f"{shape[1]} numbers, one per channel", len(values))
    if manifest.input.std is not None and min(manifest.input.std) <= 0:
        fail("input.std", "greater than 0", min(manifest.input.std))


def _check_tasks(manifest: Manifest) -> None:
    names = [task.name for task in manifest.tasks]
    if not names or len(set(names)) != len(names):
        fail("tasks", "at least one task, each name once", names)
    if set(manifest.program.tasks) != set(names):
        fail("program.tasks", f"the tasks {sorted(names)}", sorted(manifest.program.tasks))
    for index, task in enumerate(manifest.tasks):
        for layer, moe in enumerate(task.moe):
            _check_experts(moe, f"tasks[{index}].moe[{layer}]")
        shape = manifest.program.tasks[task.name].output.shape
        # An output of less than two dimensions has no axis of channels, and counts as one.
        if task.channels != (shape[1] if len(shape) > 1 else 1):
            must = f"[N, {task.channels}, ...]" if task.channels > 1 else "[N, 1, ...], [N] or []"
            fail(f"program.tasks.{task.name}.output.shape", must, list(shape))
        if task.classes and len(task.classes) != (count := count_names(task.kind, shape)):
            fail(f"tasks.{task.name}.classes", f"{count} names, or none", f"{len(task.classes)}")


def _check_experts(moe: MoEEntry, place: str) -> None:
    for index, expert in enumerate(moe.experts):
        if expert >= moe.total:
            fail(f"{place}.experts[{index}]", f"an integer from 0 to {moe.total - 1}", expert)
    if not moe.experts or list(moe.experts) != sorted(set(moe.experts)):
        fail(f"{place}.experts", "ascending expert ids", shorten(list(moe.experts)))
    if moe.top_k > len(moe.experts):
        fail(f"{place}.top_k", f"an integer from 1 to {len(moe.experts)}", moe.top_k)


def _check_program(manifest: Manifest) -> None:
    program = manifest.program
    if not isinstance(program, FpgaProgram):
        check_program(program)
        check_tensors(manifest.weights, program.weights_bytes)
        return
    if manifest.weights:
        fail("weights", "empty beside a program of an FPGA, whose hosts have tensors", f"{len(manifest.weights)} long")
    check_fpga(program, manifest.input.shape)


def _check_golden(manifest: Manifest) -> None:
    names = [task.name for task in manifest.tasks]
    pairs = [(entry.task, entry.case) for entry in manifest.golden]
    expected = [pair for pair in ((name, case) for name in names for case in CASES) if pair in pairs or PLAIN in pair]
    if pairs != expected:
        fail("golden", f"a plain pair, then a skewed one or none, per task in the order {names}", pairs)
    for entry in manifest.golden:
        _check_golden_entry(manifest, entry)


def _check_golden_entry(manifest: Manifest, entry: GoldenEntry) -> None:
    image, stored = manifest.input.shape, entry.input_shape
    if len(stored) != 4 or stored[:2] != image[:2] or stored[2] > image[2] or stored[3] > image[3]:
        fail(f"{entry.case} golden of {entry.task}: input_shape", f"a part of {list(image)}", list(stored))
    elements = prod(manifest.program.tasks[entry.task].output.shape)
    if entry.output_elements != (stored_elements := -(-elements // entry.output_stride)):
        fail(
            f"{entry.case} golden of {entry.task}: output_elements",
            f"{stored_elements}, one in {entry.output_stride}",
            entry.output_elements,
        )
    if (size := sum(golden_bytes(entry))) > GOLDEN_BYTES:
        fail(f"{entry.case} golden of {entry.task}", f"at most {GOLDEN_BYTES} bytes", f"{size} bytes")


def golden_bytes(entry: GoldenEntry) -> tuple[int, int]:
    """The sizes in bytes of a golden pair's two members."""
    return npy_bytes(entry.input_shape), npy_bytes((entry.output_elements,))


def check_sections(manifest: Manifest) -> None:
    """Raise ConfigError unless the sections are the ones the rest of the manifest needs, in file order."""
    names = [section.name for section in manifest.sections]
    if names != list(expected_sections(manifest)):
        fail(
            "sections",
            f"{', '.join(expected_sections(manifest))}, in this order",
            ", ".join(names) or "empty",
        )
    sizes = {section.name: section.bytes for section in manifest.sections}
    program = manifest.program
    weights = program.parameters_bytes if isinstance(program, FpgaProgram) else program.weights_bytes
    expected = {WEIGHTS: weights}
    for entry in manifest.golden:
        expected |= dict(zip(golden_paths(entry.task, entry.case), golden_bytes(entry), strict=True))
    for name, size in expected.items():
        if sizes[name] != size:
            fail(f"sections: {name}", f"{size} bytes", f"{sizes[name]} bytes")
    if isinstance(program, FpgaProgram):
        check_fpga_sizes(program, sizes)
