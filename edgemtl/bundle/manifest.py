"""What a bundle says about itself: the manifest as frozen dataclasses, field for field as its JSON."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from typing import Annotated, Any

from edgemtl.bundle.fpga import FpgaProgram
from edgemtl.bundle.program import BOUNDS, Program, WeightEntry
from edgemtl.errors import ConfigError
from edgemtl.hw.isa import VERSION
from edgemtl.records import Field, Rule, integer, number, one_of, read
from edgemtl.records.types import AnyShape, Bytes, Count, Index, Name, Number, Sha256
from edgemtl.vocabulary import DEFAULT_FILTER, INPUT_DTYPES, KINDS, PATHWAYS, RESIZE_FILTERS

SCHEMA_VERSION = 3
MANIFEST = "manifest.json"
MANIFEST_SHA256 = "manifest.sha256"
WEIGHTS = "weights.bin"
AGAIN = "compile this bundle for the board again"
PLAIN, SKEWED = CASES = ("plain", "skewed")
"""Golden pairs a task may have: on noise or an image, and on one value everywhere but in a corner."""
MAX_FLOAT32 = 3.4028234663852886e38


def _read_program(field: Field) -> Program | FpgaProgram:
    device = field.entries().get("device")
    if device is not None and one_of("cpu", "fpga").read(device) == "fpga":
        _check_instruction_set(field)
        return read(FpgaProgram, field)
    return read(Program, field)


def _check_instruction_set(field: Field) -> None:
    """Raise ConfigError for streams of an older instruction set, before anything that changed with it is read."""
    version = field.entries().get("instruction_set")
    if version is None:
        raise ConfigError(f"{field.place} must have the field 'instruction_set'; {AGAIN}")
    if version.value != VERSION:
        raise ConfigError(f"{version.place} must be {VERSION}, not {version.value!r}; {AGAIN}")


@dataclass(frozen=True)
class Tool:
    """The program that wrote the bundle."""

    name: str
    version: str


@dataclass(frozen=True)
class ModelEntry:
    """The model that was compiled: its file name and the SHA-256 of its bytes in hexadecimal."""

    name: str
    sha256: Sha256


@dataclass(frozen=True)
class InputEntry:
    """One input, by the name in the model; its shape is () for a scalar.

    Of an image, float32 (1, C, H, W): the input is (pixel / 255 - mean) / std per channel. ``mean`` and ``std`` are
    None where the model does not record them. ``resize_filter``: one of `vocabulary.RESIZE_FILTERS`, by which pictures
    become H x W. ``bounds``: of integers that look something up, the least and the largest that are there.
    """

    name: str
    shape: AnyShape
    mean: tuple[Number, ...] | None
    std: tuple[Number, ...] | None
    resize_filter: Annotated[str, one_of(*RESIZE_FILTERS)] = DEFAULT_FILTER
    dtype: Annotated[str, one_of(*INPUT_DTYPES.values())] = "float32"
    bounds: Annotated[tuple[int, int], BOUNDS] | None = None

    @property
    def is_image(self) -> bool:
        """Whether pictures can become this input by normalisation."""
        return self.dtype == "float32" and len(self.shape) == 4

    @property
    def is_camera(self) -> bool:
        """Whether it takes the bytes of pictures, uint8 (1, H, W, C), which the program normalises by mean and std."""
        return self.dtype == "uint8" and self.mean is not None


@dataclass(frozen=True)
class MoEEntry:
    """The experts that one task keeps in one mixture-of-experts layer.

    node: the MoE node's name. layer: its position among the task's MoE nodes. experts: ids, ascending, counted in the
    whole model's layer. total: experts of that layer. top_k: experts per token.
    """

    node: str
    layer: Index
    experts: tuple[Index, ...]
    total: Count
    top_k: Count


@dataclass(frozen=True)
class TaskEntry:
    """One task: what its output means, its channels, its pathway and the experts kept for it.

    inputs: names of those that it reads. classes: the name of each class, none where the model records none.
    """

    name: Name
    kind: Annotated[str, one_of(*KINDS)]
    channels: Count
    pathway: Annotated[str, one_of(*PATHWAYS)]
    inputs: tuple[str, ...]
    moe: tuple[MoEEntry, ...]
    notes: tuple[str, ...]
    classes: tuple[str, ...] = ()


@dataclass(frozen=True)
class GoldenInput:
    """What a golden pair stores of an input.

    ``shape``: of the stored part, which is repeated to fill the input, or is its first corner where ``fill`` is the
    value everywhere else.
    """

    name: str
    shape: AnyShape
    fill: Number | None


@dataclass(frozen=True)
class GoldenEntry:
    """One of a task's golden pairs.

    ``case``: one of `CASES`; the first is always there. ``inputs``: those that the task reads.
    ``output_stride``: every that many elements
    of the flat output are stored, ``output_elements`` of them. ``tolerance``: largest absolute difference
    that passes.
    """

    task: Name
    case: Annotated[str, one_of(*CASES)]
    inputs: tuple[GoldenInput, ...]
    output_stride: Count
    output_elements: Count
    tolerance: Annotated[float, number(0, MAX_FLOAT32)]


@dataclass(frozen=True)
class Section:
    """A member of the file other than the manifest: its size in bytes and its SHA-256 in hexadecimal."""

    name: str
    bytes: Bytes
    sha256: Sha256


@dataclass(frozen=True)
class Manifest:
    """Everything a bundle says about itself. ``sections`` is filled in by ``write_bundle``, in file order.

    weights: tensors of the section weights.bin of a CPU program; none where that holds the parameters of an FPGA.
    """

    schema_version: Annotated[int, integer(SCHEMA_VERSION, SCHEMA_VERSION)]
    tool: Tool
    model: ModelEntry
    inputs: tuple[InputEntry, ...]
    tasks: tuple[TaskEntry, ...]
    notes: tuple[str, ...]
    program: Annotated[Program | FpgaProgram, Rule("a program", _read_program)]
    weights: tuple[WeightEntry, ...]
    golden: tuple[GoldenEntry, ...]
    sections: tuple[Section, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """The manifest as JSON values; ``parse_manifest`` is the way back."""
        plain: dict[str, Any] = json.loads(json.dumps(asdict(self), allow_nan=False))
        return plain

    def to_bytes(self) -> bytes:
        """The manifest as it is written: UTF-8 JSON on one line, one spelling per manifest."""
        text = json.dumps(asdict(self), ensure_ascii=False, allow_nan=False, separators=(",", ":"))
        return text.encode() + b"\n"

    def with_sections(self, sections: tuple[Section, ...]) -> Manifest:
        """The same manifest with its list of sections."""
        return replace(self, sections=sections)

    def input(self, name: str) -> InputEntry:
        """The input called ``name``. Raises KeyError."""
        return {entry.name: entry for entry in self.inputs}[name]

    def task(self, name: str) -> TaskEntry:
        """The task called ``name``. Raises KeyError."""
        return {task.name: task for task in self.tasks}[name]


def golden_paths(task: str, case: str, inputs: int) -> tuple[str, ...]:
    """The member names of the ``inputs`` golden inputs of a pair, in order, and of the output."""
    prefix = f"golden/{task}/" if case == PLAIN else f"golden/{task}/{case}_"
    return (*(f"{prefix}input_{index}.npy" for index in range(inputs)), f"{prefix}output.npy")
