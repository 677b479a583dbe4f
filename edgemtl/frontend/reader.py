"""The frontend's table of contents: one call per stage, from the bytes of a file to a `MultiTaskModel`."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from edgemtl.errors import EdgemtlError, ModelError
from edgemtl.frontend.consistency import check_consistency
from edgemtl.frontend.files import LoadedFile, load
from edgemtl.frontend.fuse import fuse
from edgemtl.frontend.inputs import check_inputs, describe_input, fix_batch
from edgemtl.frontend.layers import describe_layers
from edgemtl.frontend.metadata import read_metadata
from edgemtl.frontend.model import MultiTaskModel
from edgemtl.frontend.moe_node import attach_functions
from edgemtl.frontend.operators import check_operators
from edgemtl.frontend.prepare import prepare
from edgemtl.frontend.recognise import recognise
from edgemtl.frontend.simplify import finish, simplify
from edgemtl.frontend.static import check_static
from edgemtl.frontend.tasks import describe_tasks, keep_tasks, name_outputs


def read_model(path: str | Path, *, tasks: tuple[str, ...] | None = None) -> MultiTaskModel:
    """Read the ONNX file at `path`; `tasks` names the ones to keep, all by default.

    Raises `ModelError` for a file that is damaged, unsafe or not a model, `UnsupportedError` for a node the
    compiler cannot handle and `UsageError` for tasks the model does not have.
    """
    path = Path(path)
    loaded = load(path)
    try:
        with _quiet():
            return _read(loaded, tasks)
    except EdgemtlError:
        raise
    # The libraries raise whatever their C++ or Python stumbles over in a malformed graph.
    except Exception as error:
        what = f"{type(error).__name__}: {error}".splitlines()[0][:300]
        raise ModelError(
            f"{path} must be a valid ONNX model; reading it failed with {what}; export it again"
        ) from error


def _read(loaded: LoadedFile, tasks: tuple[str, ...] | None) -> MultiTaskModel:
    notes: list[str] = []
    model = prepare(loaded.proto, notes)
    metadata = read_metadata(model)
    fix_batch(model.graph, notes)
    names = keep_tasks(model.graph, name_outputs(model.graph, metadata, notes), tasks)
    check_inputs(model.graph)
    outputs = [str(value.name) for value in model.graph.outputs]
    simplify(model)
    recognise(model, notes)
    fuse(model)
    finish(model, outputs)
    check_operators(model, notes)
    layers = describe_layers(model)
    check_static(model)
    check_consistency(model)
    attach_functions(model)
    image = describe_input(model.graph, metadata, notes)
    answers = describe_tasks(model.graph, names, metadata, notes)
    return MultiTaskModel(model, image, answers, layers, tuple(notes), loaded.sha256, loaded.weight_files)


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep what the libraries log about odd graphs to ourselves: what matters is raised or noted."""
    loggers = [logging.getLogger(name) for name in ("onnx_ir", "onnxscript")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
