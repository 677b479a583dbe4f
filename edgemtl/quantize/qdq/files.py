"""The two files of a quantised model: the QDQ ONNX and, beside it, the integer parameters; both or neither."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import onnx

from edgemtl.lowering.ir import Step
from edgemtl.paths import check_output_pair, folder_aside, put_in_place
from edgemtl.quantize.parameters import Parameters, write_parameters


@dataclass(frozen=True)
class Files:
    """Where the QDQ model and the parameters go."""

    model: Path
    parameters: Path


def plan_files(output: Path, inputs: Sequence[Path]) -> Files:
    """``output`` and the .json beside it. Raises UsageError where either cannot be written, or is one of ``inputs``."""
    return Files(*check_output_pair(output, inputs))


def write_both(
    files: Files, model: onnx.ModelProto, parameters: Parameters, steps: Mapping[str, Sequence[Step]]
) -> None:
    """Write both aside, then put them in place: a failure leaves what was there. Raises OutputError."""
    with folder_aside(files.model.parent, files.model) as folder:
        (folder / files.model.name).write_bytes(model.SerializeToString())
        write_parameters(folder / files.parameters.name, parameters, steps)
        put_in_place(folder, files.model.parent, (files.model.name, files.parameters.name))
