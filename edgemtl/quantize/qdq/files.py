"""The two files of a quantised model: the QDQ ONNX and, beside it, the integer parameters; both or neither."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import onnx

from edgemtl.errors import EdgemtlError, UsageError
from edgemtl.lowering.ir import Step
from edgemtl.quantize.parameters import Parameters, write_parameters


@dataclass(frozen=True)
class Files:
    """Where the QDQ model and the parameters go."""

    model: Path
    parameters: Path


def plan_files(source: Path, output: Path) -> Files:
    """``output`` and the .json beside it. Raises UsageError where either cannot be written, or is ``source``."""
    if output.suffix != ".onnx":
        raise UsageError(f"-o must end in .onnx, since the parameters go to .json beside it, not {output}")
    if not output.parent.is_dir():
        raise UsageError(f"-o must lie in a folder that is there, not in {output.parent}; make it first")
    if output.exists() and output.samefile(source):
        raise UsageError(f"-o must be another file than the float model {source}, which stays needed to compile")
    return Files(output, output.with_suffix(".json"))


def write_both(
    files: Files, model: onnx.ModelProto, parameters: Parameters, steps: Mapping[str, Sequence[Step]]
) -> None:
    """Write both aside, then put them in place: a failure leaves what was there. Raises EdgemtlError."""
    try:
        with tempfile.TemporaryDirectory(prefix=f".{files.model.name}.", dir=files.model.parent) as folder:
            made = Files(Path(folder, files.model.name), Path(folder, files.parameters.name))
            made.model.write_bytes(model.SerializeToString())
            write_parameters(made.parameters, parameters, steps)
            _put_in_place(made, files, Path(folder, "kept"))
    except OSError as error:
        raise EdgemtlError(
            f"{files.model} and {files.parameters} must be files that can be written, both were left alone; {error}"
        ) from None


def _put_in_place(made: Files, files: Files, kept: Path) -> None:
    if files.model.exists():
        shutil.copyfile(files.model, kept)
    os.replace(made.model, files.model)
    try:
        os.replace(made.parameters, files.parameters)
    except OSError:
        if kept.exists():
            os.replace(kept, files.model)
        else:
            files.model.unlink()
        raise
