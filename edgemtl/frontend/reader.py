"""The frontend's table of contents: one call per stage, from the bytes of a file to a `MultiTaskModel`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import onnx_ir as ir

from edgemtl.errors import EdgemtlError, ModelError
from edgemtl.frontend.files import load
from edgemtl.frontend.fuse import fuse
from edgemtl.frontend.inputs import check_inputs, describe_input, fix_batch
from edgemtl.frontend.metadata import read_metadata
from edgemtl.frontend.model import MoELayer, MultiTaskModel
from edgemtl.frontend.moe_node import MoEAttributes, attach_functions, moe_nodes
from edgemtl.frontend.operators import check_operators
from edgemtl.frontend.prepare import prepare
from edgemtl.frontend.recognise import recognise
from edgemtl.frontend.simplify import finish, simplify
from edgemtl.frontend.static import check_static
from edgemtl.frontend.tasks import describe_tasks, keep_tasks

Result = TypeVar("Result")


def read_model(path: str | Path, *, tasks: tuple[str, ...] | None = None) -> MultiTaskModel:
    """Read the ONNX file at `path`; `tasks` names the ones to keep, all by default.

    Raises `ModelError` for a file that is damaged, unsafe or not a model, `UnsupportedError` for a node the
    compiler cannot handle and `UsageError` for tasks the model does not have.
    """
    path = Path(path)
    loaded = load(path)
    notes: list[str] = []

    def stage(work: Callable[[], Result], doing: str) -> Result:
        try:
            return work()
        except EdgemtlError:
            raise
        # The libraries raise whatever their C++ or Python stumbles over in a malformed graph.
        except Exception as error:
            raise ModelError(
                f"{path} must be a valid ONNX model; {doing} failed: {_first_line(error)}"
            ) from error

    model = stage(lambda: prepare(loaded.proto, notes), "reading its graph")
    metadata = read_metadata(model)
    stage(lambda: fix_batch(model.graph, notes), "fixing its batch size")
    stage(lambda: keep_tasks(model.graph, metadata, tasks), "finding its tasks")
    check_inputs(model.graph)
    stage(lambda: simplify(model), "simplifying it")
    stage(lambda: recognise(model, notes), "looking for mixtures of experts")
    stage(lambda: fuse(model), "fusing operators")
    stage(lambda: finish(model), "finishing it")
    stage(lambda: check_operators(model, notes), "checking its operators")
    stage(lambda: check_static(model), "checking its shapes")
    stage(lambda: attach_functions(model), "attaching the bodies of its MoE nodes")
    image = describe_input(model.graph, metadata, notes)
    answers = describe_tasks(model.graph, metadata, notes)
    layers = tuple(_layer(node) for node in moe_nodes(model))
    return MultiTaskModel(model, image, answers, layers, tuple(notes), loaded.sha256)


def _first_line(error: Exception) -> str:
    text = f"{type(error).__name__}: {error}".strip()
    return text.splitlines()[0][:300]


def _layer(node: ir.Node) -> MoELayer:
    weights = node.inputs[2]
    assert weights is not None and weights.shape is not None and node.name is not None
    experts, dim, hidden = weights.shape.numpy()
    return MoELayer(node.name, experts, MoEAttributes.from_node(node).k, dim, hidden)
