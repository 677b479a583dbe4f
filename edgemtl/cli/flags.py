"""The options several verbs share, spelled once."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from edgemtl.errors import UsageError

ModelFile = Annotated[Path, typer.Argument(help="ONNX model.", metavar="MODEL.onnx")]
BundleFile = Annotated[Path, typer.Argument(help="Compiled bundle.", metavar="APP.edgemtl")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document with schema_version.")]
TaskList = Annotated[list[str] | None, typer.Option("--task", help="Task name; repeatable; default: every task.")]
Threads = Annotated[int, typer.Option("--threads", min=1, max=64, help="Threads to run with.")]
Target = Annotated[str, typer.Option("--target", help="What to compile for; see `edgemtl targets list`.")]


def chosen_tasks(asked: Sequence[str] | None, known: Sequence[str]) -> tuple[str, ...]:
    """``asked`` in its order, or every known task. Raises UsageError for a name the model does not have."""
    for name in asked or ():
        if name not in known:
            raise UsageError(f"--task must be one of {', '.join(known)}, not {name!r}")
    return tuple(dict.fromkeys(asked)) if asked else tuple(known)
