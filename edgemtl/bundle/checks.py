"""What must hold between the fields of a manifest; one small function per rule."""

from __future__ import annotations

from edgemtl.bundle.checks_fpga import check_fpga, check_fpga_sizes, fpga_members
from edgemtl.bundle.checks_program import INDEX_DTYPES, check_program, check_tensors, fail
from edgemtl.bundle.fpga import FpgaProgram
from edgemtl.bundle.golden import stored_elements
from edgemtl.bundle.manifest import CASES, PLAIN, WEIGHTS, GoldenEntry, InputEntry, Manifest, MoEEntry, golden_paths
from edgemtl.bundle.npy import npy_bytes
from edgemtl.records import shorten
from edgemtl.vocabulary import count_names

GOLDEN_BYTES = 1 << 20


def check_manifest(manifest: Manifest) -> None:
    """Raise ConfigError where two parts of the manifest contradict each other."""
    _check_inputs(manifest)
    _check_tasks(manifest)
    _check_program(manifest)
    _check_golden(manifest)
    if manifest.sections:
        check_sections(manifest)


def expected_sections(manifest: Manifest) -> tuple[str, ...]:
    """The names of every member but the manifest's own two, in file order."""
    golden = [path for entry in manifest.golden for path in golden_paths(entry.task, entry.case, len(entry.inputs))]
    program = manifest.program
    members = fpga_members(program) if isinstance(program, FpgaProgram) else (program.library,)
    return tuple(sorted([*golden, *members, WEIGHTS]))


def _check_inputs(manifest: Manifest) -> None:
    names = [entry.name for entry in manifest.inputs]
    if not names or len(set(names)) != len(names):
        fail("inputs", "at least one input, each name once", names)
    for index, entry in enumerate(manifest.inputs):
        _check_normalisation(entry, f"inputs[{index}]")
        if entry.bounds is not None and not (entry.dtype in INDEX_DTYPES and entry.bounds[0] <= entry.bounds[1]):
            fail(f"inputs[{index}].bounds", f"of {' or '.join(INDEX_DTYPES)}, the least first", list(entry.bounds))


def _check_normalisation(entry: InputEntry, place: str) -> None:
    channels = entry.shape[1] if entry.is_image else 0
    if entry.is_camera and len(entry.shape) == 4:
        *_, channels = entry.shape
    for name, values in (("mean", entry.mean), ("std", entry.std)):
        if values is not None and len(values) != channels:
            fail(f"{place}.{name}", f"{channels} numbers, one per channel of an image", len(values))
    if entry.std is not None and min(entry.std) <= 0:
        fail(f"{place}.std", "greater than 0", min(entry.std))


def _check_tasks(manifest: Manifest) -> None:
    names = [task.name for task in manifest.tasks]
    if not names or len(set(names)) != len(names):
        fail("tasks", "at least one task, each name once", names)
    if set(manifest.program.tasks) != set(names):
        fail("program.tasks", f"the tasks {sorted(names)}", sorted(manifest.program.tasks))
    known = [entry.name for entry in manifest.inputs]
    for index, task in enumerate(manifest.tasks):
        if not task.inputs or list(task.inputs) != [name for name in known if name in task.inputs]:
            fail(f"tasks[{index}].inputs", f"some of {known}, in this order", list(task.inputs))
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
    check_fpga(program, manifest.inputs)


def _check_golden(manifest: Manifest) -> None:
    names = [task.name for task in manifest.tasks]
    pairs = [(entry.task, entry.case) for entry in manifest.golden]
    expected = [pair for pair in ((name, case) for name in names for case in CASES) if pair in pairs or PLAIN in pair]
    if pairs != expected:
        fail("golden", f"a plain pair, then a skewed one or none, per task in the order {names}", pairs)
    for entry in manifest.golden:
        _check_golden_entry(manifest, entry)


def _check_golden_entry(manifest: Manifest, entry: GoldenEntry) -> None:
    place = f"{entry.case} golden of {entry.task}"
    reads = manifest.task(entry.task).inputs
    if (names := tuple(part.name for part in entry.inputs)) != reads:
        fail(f"{place}: inputs", f"{list(reads)}, those that the task reads", list(names))
    for part in entry.inputs:
        whole = manifest.input(part.name).shape
        if len(part.shape) != len(whole) or any(n > size for n, size in zip(part.shape, whole, strict=True)):
            fail(f"{place}: {part.name}", f"a part of {list(whole)}", list(part.shape))
    expected = stored_elements(manifest.program.tasks[entry.task].output.shape, entry.output_stride)
    if entry.output_elements != expected:
        fail(f"{place}: output_elements", f"{expected}, one in {entry.output_stride}", entry.output_elements)
    if (size := sum(golden_bytes(manifest, entry))) > GOLDEN_BYTES:
        fail(place, f"at most {GOLDEN_BYTES} bytes", f"{size} bytes")


def golden_bytes(manifest: Manifest, entry: GoldenEntry) -> tuple[int, ...]:
    """The sizes in bytes of a golden pair's members, the output's last."""
    inputs = (npy_bytes(part.shape, manifest.input(part.name).dtype) for part in entry.inputs)
    return (*inputs, npy_bytes((entry.output_elements,), manifest.program.tasks[entry.task].output.dtype))


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
        expected |= dict(
            zip(golden_paths(entry.task, entry.case, len(entry.inputs)), golden_bytes(manifest, entry), strict=True)
        )
    for name, size in expected.items():
        if sizes[name] != size:
            fail(f"sections: {name}", f"{size} bytes", f"{sizes[name]} bytes")
    if isinstance(program, FpgaProgram):
        check_fpga_sizes(program, sizes)
