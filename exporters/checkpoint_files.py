"""Tensors in and out of files: PyTorch pickles, read without running code, and safetensors with metadata."""

import json
import os
import pickle
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from edgemtl.errors import CheckpointError

METADATA_KEY = "edgemtl"
PICKLES = (".pth", ".pt", ".pth.tar")
_SCALAR = cast(Callable[..., Any], np.float64(0).__reduce__()[0])
# Training loops leave numpy numbers (a best score, say) beside the weights; making one runs no code.
_NUMPY: list[Callable[..., Any] | tuple[Callable[..., Any], str]] = [
    (_SCALAR, "numpy.core.multiarray.scalar"),
    (_SCALAR, "numpy._core.multiarray.scalar"),
    np.dtype,
    *(type(np.dtype(name)) for name in ("float64", "float32", "int64", "int32", "bool")),
]


def read_tensors(path: Path) -> dict[str, object]:
    """The state dict in a file, by upstream name; raises `CheckpointError` for a file that cannot be read."""
    if not path.is_file():
        raise CheckpointError(f"checkpoint must be a file, and {path} is not; check the path")
    if path.name.endswith(PICKLES):
        return _strip_module(path, _unwrap(path, _read_pickle(path)))
    if path.suffix == ".safetensors":
        return _read_safetensors(path)
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
    except (OSError, SafetensorError, ValueError, TypeError) as error:
        raise CheckpointError(f"{path} must be a whole safetensors file: {error}") from error


def write_safetensors(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, object]) -> None:
    """Write a file that is either whole or not there; equal contents give equal bytes.

    All metadata is one JSON entry: the format's own entries have no fixed order.
    """
    if path.suffix != ".safetensors":
        raise CheckpointError(f"checkpoint must be saved as .safetensors, not {path.name!r}")
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        text = json.dumps(metadata, sort_keys=True, allow_nan=False)
        save_file(dict(tensors), temporary, metadata={METADATA_KEY: text})
        os.replace(temporary, path)
    except (OSError, SafetensorError, TypeError, ValueError) as error:
        raise CheckpointError(f"{path} cannot be written: {error}") from error
    finally:
        temporary.unlink(missing_ok=True)


def _read_safetensors(path: Path) -> dict[str, object]:
    try:
        with safe_open(path, framework="pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"{path} must be a whole safetensors file: {error}") from error


def _read_pickle(path: Path) -> object:
    try:
        with torch.serialization.safe_globals(_NUMPY):
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        refused = re.search(r"GLOBAL (\S+)", str(error))
        if refused is None:
            raise CheckpointError(f"{path} must be a PyTorch checkpoint; it is damaged or something else") from error
        rule = f"{path} must hold tensors and plain values only, not {refused[1]}"
        raise CheckpointError(f"{rule}; save it again from model.state_dict()") from error
    except Exception as error:  # a damaged file can raise nearly anything from torch's reader
        raise CheckpointError(f"{path} must be a PyTorch checkpoint; it is damaged or something else") from error


def _unwrap(path: Path, found: object) -> dict[str, object]:
    """The state dict inside a training checkpoint: under `model` or `state_dict`, or the whole file."""
    while isinstance(found, dict):
        nested = [found[key] for key in ("model", "state_dict") if isinstance(found.get(key), dict)]
        if not nested:
            return {str(name): value for name, value in found.items()}
        found = nested[0]
    raise CheckpointError(f"{path} must hold a dict of tensors, not {type(found).__name__}")


def _strip_module(path: Path, state: dict[str, object]) -> dict[str, object]:
    """Names without the `module.` that torch's data-parallel wrappers put before them."""
    plain = {name.removeprefix("module."): value for name, value in state.items()}
    if len(plain) < len(state):
        twice = sorted(name for name in plain if name in state and f"module.{name}" in state)
        raise CheckpointError(f"{path} must hold each tensor once, not with and without module.: {', '.join(twice)}")
    return plain
