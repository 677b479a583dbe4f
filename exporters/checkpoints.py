"""Checkpoints to models and back: the upstream layout, every parameter accounted for."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor

from edgemtl.errors import CheckpointError, ConfigError
from edgemtl.exporters.checkpoint_files import read_metadata, read_tensors, write_safetensors
from edgemtl.exporters.models.config import ModelConfig
from edgemtl.exporters.models.m3vit import M3ViT

SCHEMA_VERSION = 1


def load_checkpoint(path: str | Path, config: ModelConfig | None = None) -> M3ViT:
    """The model in a `.pth`, `.pt`, `.pth.tar` or `.safetensors` file, float32, in evaluation mode.

    config: needed where the file does not carry one, used in place of the file's otherwise.
    Raises `CheckpointError` for a file that cannot be read and, in one error that names them all, for
    parameters that are missing, unexpected, misshapen or not finite.
    """
    path = Path(path)
    state = read_tensors(path)
    stored = read_metadata(path)
    if stored is None and config is not None:
        _check_upstream_windows(path, config)
    config = config or _stored_config(path, stored)
    with torch.device("meta"):
        model = M3ViT(config)
    wanted = model.state_dict()
    _check_state(path, wanted, state)
    fitted = {name: _fit(state[name], tensor) for name, tensor in wanted.items()}
    model.load_state_dict(fitted, assign=True)
    return model.eval()


def save_checkpoint(model: M3ViT, path: str | Path, metadata: Mapping[str, object]) -> None:
    """Write the model, its config and some JSON metadata as one `.safetensors` file, whole or not at all.

    Raises `CheckpointError` for another extension, a place that cannot be written or metadata beyond JSON.
    """
    tensors = {name: t.detach().cpu().contiguous() for name, t in model.state_dict().items()}
    stored = {"schema_version": SCHEMA_VERSION, "model": model.config.to_json(), "metadata": dict(metadata)}
    write_safetensors(Path(path), tensors, stored)


def read_checkpoint_metadata(path: str | Path) -> dict[str, object]:
    """The metadata given to `save_checkpoint`; raises `CheckpointError` for a file it did not write."""
    return dict(_stored(Path(path), read_metadata(Path(path)))["metadata"])


def upstream_windows(config: ModelConfig) -> tuple[tuple[int, int], ...]:
    """First and past-the-last expert of each task, as upstream has it: start += int(i * (E - n) / (T - 1)).

    Source: M3ViT `models/gate_funs/noisy_gate_vmoe.py`, `start_experts_id`.
    """
    spare, last, start, windows = config.experts - config.experts_per_task, len(config.tasks) - 1, 0, []
    for i in range(len(config.tasks)):
        start += int(i * spare / last) if last else 0
        windows.append((start, start + config.experts_per_task))
    return tuple(windows)


def _check_upstream_windows(path: Path, config: ModelConfig) -> None:
    if not config.moe_blocks or config.routing != "window":
        return
    windows = upstream_windows(config)
    if windows[-1][1] > config.experts:
        ranges = ", ".join(f"{first}..{end - 1}" for first, end in windows)
        raise CheckpointError(
            f"{path} must keep its tasks' windows within experts 0..{config.experts - 1}, not {ranges}: "
            "upstream adds up the starts; train with evenly spaced windows"
        )


def _stored(path: Path, stored: dict[str, Any] | None) -> dict[str, Any]:
    if stored is None:
        raise CheckpointError(f"{path} must carry its model config, and it does not; give the config")
    version = stored.get("schema_version")
    if version != SCHEMA_VERSION:
        rule = f"{path} must have schema_version {SCHEMA_VERSION}, not {version!r}"
        raise CheckpointError(f"{rule}; save it again")
    absent = [key for key in ("model", "metadata") if not isinstance(stored.get(key), dict)]
    if absent:
        raise CheckpointError(f"{path} must carry an object {' and an object '.join(absent)}; save it again")
    return stored


def _stored_config(path: Path, stored: dict[str, Any] | None) -> ModelConfig:
    try:
        return ModelConfig.from_json(_stored(path, stored)["model"])
    except ConfigError as error:
        raise CheckpointError(f"{path} must carry a valid model config: {error}") from error


def _check_state(path: Path, wanted: Mapping[str, Tensor], state: Mapping[str, object]) -> None:
    """Raise one `CheckpointError` that names every parameter with something wrong."""
    common = [name for name in wanted if name in state]
    found = {
        "missing": [f"{name} {_shape(t)}" for name, t in wanted.items() if name not in state],
        "unexpected": [name for name in state if name not in wanted],
        "wrong": [f"{n} ({why})" for n in common if (why := _mismatch(wanted[n], state[n]))],
    }
    if any(found.values()):
        lines = [f"{kind} ({len(names)}): {', '.join(names)}" for kind, names in found.items() if names]
        raise CheckpointError(f"{path} must hold exactly the parameters of its model; " + "; ".join(lines))


def _mismatch(wanted: Tensor, value: object) -> str:
    """What is wrong with a value for a parameter; empty if nothing is."""
    if not isinstance(value, Tensor):
        return f"must be a tensor, not {type(value).__name__}"
    if value.layout != torch.strided:
        return f"must be dense, not {value.layout}"
    if value.shape != wanted.shape:
        return f"must be {_shape(wanted)}, not {_shape(value)}"
    if value.is_floating_point() != wanted.is_floating_point():
        return f"must be {wanted.dtype}, not {value.dtype}"
    return "" if bool(torch.isfinite(value).all()) else "must be finite, not NaN or infinite"


def _fit(value: object, wanted: Tensor) -> Tensor:
    return cast(Tensor, value).detach().to(wanted.dtype).contiguous()


def _shape(tensor: Tensor) -> str:
    return str(list(tensor.shape))
