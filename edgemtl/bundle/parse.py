"""The manifest from JSON: every field read strictly, then the fields compared with each other."""

from __future__ import annotations

from edgemtl.bundle.checks import check_manifest
from edgemtl.bundle.fields import Field
from edgemtl.bundle.fpga import FpgaProgram
from edgemtl.bundle.manifest import (
    CASES,
    SCHEMA_VERSION,
    GoldenEntry,
    InputEntry,
    Manifest,
    ModelEntry,
    MoEEntry,
    Section,
    TaskEntry,
    Tool,
)
from edgemtl.bundle.parse_fpga import read_fpga_program
from edgemtl.bundle.parse_program import read_program, read_weight
from edgemtl.bundle.program import Program
from edgemtl.bundle.values import MAX_BYTES, MAX_COUNT, MAX_FLOAT32, MAX_VALUE, read_floats, read_shape, read_texts
from edgemtl.errors import ConfigError
from edgemtl.vocabulary import KINDS, PATHWAYS, RESIZE_FILTERS


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
        notes=read_texts(notes),
        program=_program(program),
        weights=tuple(read_weight(item) for item in weights.items()),
        golden=tuple(_golden(item) for item in golden.items()),
        sections=tuple(_section(item) for item in sections.items()),
    )
    check_manifest(manifest)
    return manifest


def _check_version(root: Field) -> None:
    version = root.entries().get("schema_version")
    if version is None:
        raise ConfigError("manifest must have the field 'schema_version'; compile the bundle again")
    number = version.integer(0, MAX_COUNT)
    if number != SCHEMA_VERSION:
        advice = "update edgemtl to read this bundle" if number > SCHEMA_VERSION else "compile this older bundle again"
        raise ConfigError(f"manifest.schema_version must be {SCHEMA_VERSION}, not {number}; {advice}")


def _program(field: Field) -> Program | FpgaProgram:
    device = field.entries().get("device")
    if device is not None and device.choice("cpu", "fpga") == "fpga":
        return read_fpga_program(field)
    return read_program(field)


def _tool(field: Field) -> Tool:
    name, version = field.members("name", "version")
    return Tool(name.text(), version.text())


def _model(field: Field) -> ModelEntry:
    name, sha256 = field.members("name", "sha256")
    return ModelEntry(name.text(), sha256.sha256())


def _input(field: Field) -> InputEntry:
    name, shape, mean, std, resize_filter = field.members("name", "shape", "mean", "std", "resize_filter")
    numbers = read_floats(mean), read_floats(std)
    return InputEntry(name.text(), read_shape(shape), *numbers, resize_filter.choice(*RESIZE_FILTERS))


def _task(field: Field) -> TaskEntry:
    name, kind, channels, pathway, moe, notes, classes = field.members(
        "name", "kind", "channels", "pathway", "moe", "notes", "classes"
    )
    return TaskEntry(
        name.name(),
        kind.choice(*KINDS),
        channels.integer(1, MAX_COUNT),
        pathway.choice(*PATHWAYS),
        tuple(_moe(item) for item in moe.items()),
        read_texts(notes),
        read_texts(classes),
    )


def _moe(field: Field) -> MoEEntry:
    node, layer, experts, total, top_k = field.members("node", "layer", "experts", "total", "top_k")
    count = total.integer(1, MAX_COUNT)
    ids = tuple(item.integer(0, count - 1) for item in experts.items())
    if not ids or list(ids) != sorted(set(ids)):
        experts.fail("ascending expert ids")
    return MoEEntry(node.text(), layer.integer(0, MAX_COUNT), ids, count, top_k.integer(1, len(ids)))


def _golden(field: Field) -> GoldenEntry:
    task, case, shape, fill, stride, elements, tolerance = field.members(
        "task", "case", "input_shape", "fill", "output_stride", "output_elements", "tolerance"
    )
    return GoldenEntry(
        task.name(),
        case.choice(*CASES),
        read_shape(shape),
        None if fill.value is None else fill.number(-MAX_VALUE, MAX_VALUE),
        stride.integer(1, MAX_COUNT),
        elements.integer(1, MAX_COUNT),
        tolerance.number(0, MAX_FLOAT32),
    )


def _section(field: Field) -> Section:
    name, size, sha256 = field.members("name", "bytes", "sha256")
    return Section(name.text(), size.integer(0, MAX_BYTES), sha256.sha256())
