"""Checkpoints to models and back: the upstream layout, every parameter accounted for."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from edgemtl.errors import CheckpointError, ConfigError
from edgemtl.exporters.checkpoint_files import read_metadata, read_tensors, write_safetensors
from edgemtl.exporters.models.config import ModelConfig
from edgemtl.exporters.models.m3vit import M3ViT
from edgemtl.exporters.rank_files import rank_count
from edgemtl.exporters.state_dicts import State, drop_training_only, fit_state

SCHEMA_VERSION = 1


@dataclass(frozen=True)
class Loaded:
    """A model, float32 and in evaluation mode, and what was done or assumed to read it, a line each."""

    model: M3ViT
    notes: tuple[str, ...]


def load_checkpoint(path: str | Path, config: ModelConfig | None = None) -> M3ViT:
    """The model of `read_checkpoint`."""
    return read_checkpoint(path, config).model


def read_checkpoint(path: str | Path, config: ModelConfig | None = None) -> Loaded:
    """The model in a `.pth`, `.pt`, `.pth.tar` or `.safetensors` file, or in a folder with a `.pth` for each rank.

    config: needed where the file does not carry one, used in place of the file's otherwise.
    Raises `CheckpointError` for a file that cannot be read and, in one error that names them all, for
    parameters that are missing, unexpected, misshapen or not finite.
    """
    path = Path(path)
    return load_state(path, read_tensors(path), config)


def load_state(path: Path, state: State, config: ModelConfig | None) -> Loaded:
    """What `read_checkpoint` makes of the tensors it has read."""
    stored = None if path.is_dir() else read_metadata(path)
    if stored is None and config is not None:
        _check_upstream_windows(path, config)
    return fill_model(path, config or _stored_config(path, stored), state)


def fill_model(path: Path, config: ModelConfig, state: State) -> Loaded:
    """The model of a config with the parameters of a state dict; `path` is for the errors of `read_checkpoint`."""
    with torch.device("meta"):
        model = M3ViT(config)
    expected = model.state_dict()
    parameters, notes = fit_state(path, expected, drop_training_only(state, expected))
    model.load_state_dict(parameters, assign=True)
    return Loaded(model.eval(), notes)


def save_checkpoint(model: M3ViT, path: str | Path, metadata: Mapping[str, object]) -> None:
    """Write the model, its config and some JSON metadata as one `.safetensors` file, whole or not at all.

    Raises `CheckpointError` for another extension, a place that cannot be written or metadata beyond JSON.
    """
    tensors = {name: t.detach().cpu().contiguous() for name, t in model.state_dict().items()}
    stored = {"schema_version": SCHEMA_VERSION, "model": model.config.to_json(), "metadata": dict(metadata)}
    write_safetensors(Path(path), tensors, stored)


def upstream_windows(config: ModelConfig, experts: int | None = None) -> tuple[tuple[int, int], ...]:
    """First and past-the-last expert of each task, as upstream has it: start += int(i * (E - n) / (T - 1)).

    experts: E, all of the model's by default.
    Source: M3ViT `models/gate_funs/noisy_gate_vmoe.py`, `start_experts_id`.
    """
    spare, last = (experts or config.experts) - config.experts_per_task, len(config.tasks) - 1
    start, windows = 0, []
    for i in range(len(config.tasks)):
        start += int(i * spare / last) if last else 0
        windows.append((start, start + config.experts_per_task))
    return tuple(windows)


def _check_upstream_windows(path: Path, config: ModelConfig) -> None:
    if not config.moe_blocks or config.routing != "window":
        return
    windows, ranks = upstream_windows(config), rank_count(path)
    if windows[-1][1] > config.experts:
        ranges = ", ".join(f"{first}..{end - 1}" for first, end in windows)
        raise CheckpointError(
            f"{path} must keep its tasks' windows within experts 0..{config.experts - 1}, not {ranges}: "
            "upstream adds up the starts; train with evenly spaced windows"
        )
    # Its gate counts the experts of all ranks and its experts those of one (`custom_moe_layer.py`, the same sum).
    if ranks > 1 and upstream_windows(config, config.experts // ranks) != windows:
        raise CheckpointError(
            f"{path} must hold experts of one rank where tasks have windows, not of {ranks}: upstream's gates and "
            "experts then disagree about where a window starts; train with --moe_data_distributed"
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
