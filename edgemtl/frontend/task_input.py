"""A model that is told its task by an input becomes one that answers all tasks."""

from __future__ import annotations

import onnx_ir as ir

from edgemtl.frontend.metadata import Metadata


def specialise_tasks(model: ir.Model, metadata: Metadata | None, notes: list[str]) -> None:
    """Nothing yet."""
