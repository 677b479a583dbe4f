"""The manifest from JSON: every field read strictly, then the fields compared with each other."""

from __future__ import annotations

from edgemtl.bundle.checks import check_manifest
from edgemtl.bundle.fields import Field
from edgemtl.bundle.manifest import (
    KINDS,
    PATHWAYS,
    SCHEMA_VERSION,
    GoldenEntry,
    InputEntry,
    Layer,
    Manifest,
    ModelEntry,
    MoEEntry,
    Output,
    Program,
    Section,
    Target,
    TaskEntry,
    TaskProgram,
    Tool,
    WeightEntry,
)
from edgemtl.errors import ConfigError

# Offsets are below 4 GiB: the container has no 64-bit sizes.
MAX_BYTES = (1 << 32) - 1
MAX_COUNT = (1 << 31) - 1
MAX_MACS = 1 << 53
MAX_RANK = 8
MAX_VALUE = 1e30
TRIPLES = ("x86_64-linux-gnu", "aarch64-linux-gnu")
WEIGHT_DTYPES = ("float32", "float16", "int8", "uint8", "int16", "int32", "int64")


def parse_manifest(document: object) -> Manifest:
    """The manifest a JSON document describes.

    Raises ConfigError, with the field's place, for anything that is missing, unknown, of the wrong type, out
    of range, contradictory, or of a newer schema. A document without "sections" has none yet.
    """
    root = Field("manifest", {"sections": [], **document} if isinstance(document, dict) else document)
    _check_version(root)
    version, tool, model, image, tasks, notes, program, weights, golden, sections = root.members(
        "schema_version",
        "tool",
        "model",
        "input",
        "tasks",
        "notes",
        "program",
        "weights",
        "golden",
        "sections",
    )
    manifest = Manifest(
        schema_version=version.integer(SCHEMA_VERSION, SCHEMA_VERSION),
        tool=_tool(tool),
        model=_model(model),
        input=_input(image),
        tasks=tuple(_task(item) for item in tasks.items()),
        notes=_texts(notes),
        program=_program(program),
        weights=tuple(_weight(item) for item in weights.items()),
        golden=tuple(_golden(item) for item in golden.items()),
        sections=tuple(_section(item) for item in sections.items()),
    )
    check_manifest(manifest)
    return manifest


def _check_version(root: Field) -> None:
    version = root.entries().get("schema_version")
    if version is None:
        raise ConfigError("manifest must have the field 'schema_version'; compile the bundle again")
    if version.integer(0, MAX_COUNT) > SCHEMA_VERSION:
        raise ConfigError(
            f"manifest.schema_version must be {SCHEMA_VERSION}, not {version.value}; update edgemtl to read this bundle"
        )


def _tool(field: Field) -> Tool:
    name, version = field.members("name", "version")
    return Tool(name.text(), version.text())


def _model(field: Field) -> ModelEntry:
    name, sha256 = field.members("name", "sha256")
    return ModelEntry(name.text(), sha256.sha256())


def _input(field: Field) -> InputEntry:
    name, shape, mean, std = field.members("name", "shape", "mean", "std")
    return InputEntry(name.text(), _shape(shape), _floats(mean), _floats(std))


def _task(field: Field) -> TaskEntry:
    name, kind, channels, pathway, moe, notes = field.members("name", "kind", "channels", "pathway", "moe", "notes")
    return TaskEntry(
        name.name(),
        kind.choice(*KINDS),
        channels.integer(1, MAX_COUNT),
        pathway.choice(*PATHWAYS),
        tuple(_moe(item) for item in moe.items()),
        _texts(notes),
    )


def _moe(field: Field) -> MoEEntry:
    node, layer, experts, total, top_k = field.members("node", "layer", "experts", "total", "top_k")
    count = total.integer(1, MAX_COUNT)
    ids = tuple(item.integer(0, count - 1) for item in experts.items())
    if not ids or list(ids) != sorted(set(ids)):
        experts.fail("ascending expert ids")
    return MoEEntry(node.text(), layer.integer(0, MAX_COUNT), ids, count, top_k.integer(1, len(ids)))


def _program(field: Field) -> Program:
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
        library.choice("program/cpu.so"),
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
    return Target(name.name(), triple.choice(*TRIPLES), mcpu.name(), bits, threads.integer(1, 1024))


def _task_program(field: Field) -> TaskProgram:
    entry, prepare, steps, output, layers = field.members("entry", "prepare", "steps", "output", "layers")
    shape, dtype = output.members("shape", "dtype")
    return TaskProgram(
        entry.name(),
        None if prepare.value is None else prepare.name(),
        steps.integer(1, MAX_COUNT),
        Output(_shape(shape), dtype.choice("float32")),
        tuple(_layer(item) for item in layers.items()),
    )


def _layer(field: Field) -> Layer:
    step, kernel, origin, macs, size = field.members("step", "kernel", "origin", "macs", "bytes")
    return Layer(
        step.integer(0, MAX_COUNT),
        kernel.text(),
        _texts(origin),
        macs.integer(0, MAX_MACS),
        size.integer(0, MAX_MACS),
    )


def _weight(field: Field) -> WeightEntry:
    name, offset, size, shape, dtype = field.members("name", "offset", "bytes", "shape", "dtype")
    return WeightEntry(
        name.text(),
        offset.integer(0, MAX_BYTES),
        size.integer(0, MAX_BYTES),
        _shape(shape, rank=0),
        dtype.choice(*WEIGHT_DTYPES),
    )


def _golden(field: Field) -> GoldenEntry:
    task, shape, stride, elements, tolerance = field.members(
        "task", "input_shape", "output_stride", "output_elements", "tolerance"
    )
    return GoldenEntry(
        task.name(),
        _shape(shape),
        stride.integer(1, MAX_COUNT),
        elements.integer(1, MAX_COUNT),
        tolerance.number(0, MAX_VALUE),
    )


def _section(field: Field) -> Section:
    name, size, sha256 = field.members("name", "bytes", "sha256")
    return Section(name.text(), size.integer(0, MAX_BYTES), sha256.sha256())


def _shape(field: Field, rank: int = 2) -> tuple[int, ...]:
    shape = tuple(item.integer(1, MAX_COUNT) for item in field.items())
    if not rank <= len(shape) <= MAX_RANK:
        field.fail(f"{rank} to {MAX_RANK} dimensions")
    return shape


def _floats(field: Field) -> tuple[float, ...] | None:
    return None if field.value is None else tuple(item.number(-MAX_VALUE, MAX_VALUE) for item in field.items())


def _texts(field: Field) -> tuple[str, ...]:
    return tuple(item.text() for item in field.items())
