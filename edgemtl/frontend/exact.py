"""A file as a graph that still gives the file's own bits: for who joins graphs, not for the compiler."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType

import onnx
import onnx_ir as ir

from edgemtl.errors import ModelError
from edgemtl.frontend.convert import convert
from edgemtl.frontend.draft import Draft
from edgemtl.frontend.files import load
from edgemtl.frontend.input_shapes import Shapes
from edgemtl.frontend.metadata import Metadata
from edgemtl.frontend.moe_node import OPSET
from edgemtl.frontend.passes import Pass, run_passes
from edgemtl.frontend.pipeline import PASSES
from edgemtl.frontend.prepare import import_graph
from edgemtl.frontend.reader import quiet
from edgemtl.frontend.simplify import simplify

BEFORE_IMPORT = (
    "normalise the spelling",
    "read the opset",
    "check the order of nodes",
    "check that operators are known",
    "check by ONNX's rules of form",
    "set the shapes of inputs",
    "inline functions",
)
AFTER_IMPORT = ("attach bodies for inference", "read the metadata", "fix the batch", "check the inputs")
"""The passes of `PASSES` that change no bit of an output."""


@dataclass(frozen=True)
class ExactGraph:
    """A graph with constants as initializers, fixed sizes and no dead code, whose outputs have the bits of its file's.

    outputs: the names of the graph's outputs in the file, in order.  metadata: what our exporter recorded, if it did.
    """

    ir: ir.Model
    outputs: tuple[str, ...]
    metadata: Metadata | None


@dataclass(frozen=True)
class Outline:
    """What a file says without being read in full: the version of its standard operators, and names of inputs."""

    opset: int
    inputs: tuple[str, ...]


def outline(path: Path) -> Outline:
    """Of the file at ``path``. Raises ModelError for one that is damaged."""
    proto = load(path).proto
    opset = next((entry.version for entry in proto.opset_import if entry.domain in ("", "ai.onnx")), 0)
    constants = {tensor.name for tensor in proto.graph.initializer}
    return Outline(opset, tuple(value.name for value in proto.graph.input if value.name not in constants))


def read_exactly(path: Path, opset: int, shapes: Shapes = MappingProxyType({})) -> ExactGraph:
    """The graph of a file that `read_model` takes, in ``opset``, which must be the file's or newer.

    shapes: sizes for the open axes of inputs, by name.

    From another opset it is converted, which may change bits: whoever asks for it compares. Raises what `read_model`
    raises.
    """
    with quiet():
        draft, _ = run_passes(_passes(BEFORE_IMPORT), Draft(load(path).proto, shapes=shapes))
        outputs = tuple(value.name for value in draft.proto.graph.output)
        proto = _convert(draft.proto, draft.opset, opset)
        draft, _ = run_passes(_passes(AFTER_IMPORT), replace(draft, model=import_graph(proto)))
        simplify(draft.ir, exactly=True)
    return ExactGraph(draft.ir, outputs, draft.metadata)


def _passes(names: tuple[str, ...]) -> tuple[Pass[Draft], ...]:
    by_name = {step.name: step for step in PASSES}
    return tuple(replace(by_name[name], requires=()) for name in names)


def _convert(proto: onnx.ModelProto, version: int, opset: int) -> onnx.ModelProto:
    if version == opset:
        return proto
    # Up to ours by the frontend's conversion, which is checked and repaired; beyond it by ONNX's alone.
    proto, _ = convert(proto, version)
    if max(version, OPSET) >= opset:
        return proto
    try:
        return onnx.version_converter.convert_version(proto, opset)
    except Exception as error:
        reason = str(error).splitlines()[0][:200]
        raise ModelError(f"opset {version} cannot be converted to {opset} ({reason}); export with one opset") from error
