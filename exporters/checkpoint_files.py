"""Tensors in and out of files: PyTorch pickles, folders of them, and safetensors with metadata."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from edgemtl.errors import CheckpointError, OutputError
from edgemtl.exporters.pickles import read_pickle
from edgemtl.exporters.rank_files import read_rank_files
from edgemtl.exporters.state_dicts import State, find_state
from edgemtl.paths import write_aside

METADATA_KEY = "edgemtl"
PICKLES = (".pth", ".pt", ".pth.tar")


def read_tensors(path: Path) -> State:
    """The state dict in a file or a folder of rank files, by upstream name; `CheckpointError` where there is none."""
    if path.is_dir():
        return read_rank_files(path)
    if not path.is_file():
        raise CheckpointError(f"checkpoint must be a file or a folder of rank files, and {path} is neither")
    if path.name.endswith(PICKLES):
        return find_state(path, read_pickle(path))
    if path.suffix == ".safetensors":
        return find_state(path, _read_safetensors(path))
    kinds = ", ".join((*PICKLES, ".safetensors"))
    raise CheckpointError(f"checkpoint must end in one of {kinds}, not {path.name!r}")


def read_metadata(path: Path) -> dict[str, Any] | None:
    """What `write_safetensors` stored beside the tensors; None for a file of another kind or origin."""
    if path.suffix != ".safetensors":
        return None
    try:
        with safe_open(path, framework="pt") as file:
            text = (file.metadata() or {}).get(METADATA_KEY)
        return None if text is None else dict(json.loads(text))
    except (OSError, SafetensorError, ValueError, TypeError, RecursionError) as error:
        raise CheckpointError(f"{path} must be a whole safetensors file: {error}") from error


def write_safetensors(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, object]) -> None:
    """Write a file that is either whole or not there; equal contents give equal bytes.

    All metadata is one JSON entry: the format's own entries have no fixed order.
    """
    if path.suffix != ".safetensors":
        raise CheckpointError(f"checkpoint must be saved as .safetensors, not {path.name!r}")
    try:
        text = json.dumps(metadata, sort_keys=True, allow_nan=False)
        with write_aside(path) as aside:
            save_file(dict(tensors), aside, metadata={METADATA_KEY: text})
    except OutputError as error:
        raise CheckpointError(f"{path} cannot be written: {error.__cause__}") from error
    except (SafetensorError, TypeError, ValueError, RuntimeError) as error:
        raise CheckpointError(f"{path} cannot be written: {error}") from error


def _read_safetensors(path: Path) -> dict[str, object]:
    try:
        with safe_open(path, framework="pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"{path} must be a whole safetensors file: {error}") from error
