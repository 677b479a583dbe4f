"""What can be refused before any work is spent and before the compiler is imported."""

from __future__ import annotations

from pathlib import Path

from edgemtl.errors import ConfigError
from edgemtl.hw.spec import is_board, read_spec
from edgemtl.images import list_images
from edgemtl.paths import check_model_file
from edgemtl.tvm_bridge.target import resolve


def check_request(
    model: Path, target: str = "cpu", calibration: Path | None = None, parameters: Path | None = None
) -> None:
    """Raise the typed error of the first thing named that is not there."""
    check_model_file(model)
    if is_board(target):
        read_spec(target)
    else:
        resolve(target)
    if calibration is not None:
        list_images(calibration)
    if parameters is not None and not parameters.is_file():
        raise ConfigError(f"{parameters}: must be a file of integer parameters; make it with `edgemtl quantize`")
