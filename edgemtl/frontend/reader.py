"""From the bytes of a file to a `MultiTaskModel`; `pipeline` lists the passes in between."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType

from edgemtl.errors import EdgemtlError, InternalError, ModelError
from edgemtl.frontend.draft import Draft
from edgemtl.frontend.files import LoadedFile, load
from edgemtl.frontend.input_shapes import Shapes
from edgemtl.frontend.model import MultiTaskModel
from edgemtl.frontend.passes import run_passes
from edgemtl.frontend.pipeline import PASSES


def read_model(
    path: str | Path, *, tasks: tuple[str, ...] | None = None, shapes: Shapes = MappingProxyType({})
) -> MultiTaskModel:
    """Read the ONNX file at `path`; `tasks` names the ones to keep, all by default.

    shapes: sizes for the open axes of inputs, by name.

    Raises `ModelError` for a file that is damaged, unsafe or not a model, `UnsupportedError` for a node the
    compiler cannot handle and `UsageError` for tasks the model does not have and for shapes it cannot have.
    """
    path = Path(path)
    loaded = load(path)
    try:
        with quiet():
            return _read(loaded, tasks, shapes)
    except (EdgemtlError, InternalError):
        raise
    # The libraries raise whatever their C++ or Python stumbles over in a malformed graph.
    except Exception as error:
        what = f"{type(error).__name__}: {error}".splitlines()[0][:300]
        raise ModelError(
            f"{path} must be a valid ONNX model; reading it failed with {what}; export it again"
        ) from error


def _read(loaded: LoadedFile, tasks: tuple[str, ...] | None, shapes: Shapes) -> MultiTaskModel:
    draft, notes = run_passes(PASSES, Draft(loaded.proto, tasks, shapes))
    return MultiTaskModel(draft.ir, draft.inputs, draft.tasks, draft.layers, notes, loaded.sha256, loaded.weight_files)


@contextmanager
def quiet() -> Iterator[None]:
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
