"""The model a user asks for: its description from a preset, a file or the checkpoint, its weights from a checkpoint
or drawn from a seed.
"""

from __future__ import annotations

import json
from pathlib import Path

import torch

from edgemtl.errors import UsageError
from edgemtl.exporters.checkpoints import load_checkpoint
from edgemtl.exporters.models import M3ViT, ModelConfig, preset


def build_model(checkpoint: Path | None, preset_name: str | None, config_file: Path | None, seed: int | None) -> M3ViT:
    """A model in evaluation mode.

    Raises UsageError unless exactly one of ``checkpoint`` and ``seed`` is given, and for a description that is
    missing, given twice or unreadable; CheckpointError and ConfigError for what does not fit.
    """
    if (checkpoint is None) == (seed is None):
        raise UsageError("export must be given exactly one of --checkpoint FILE and --seed N (random weights)")
    config = _describe(preset_name, config_file)
    if checkpoint is not None:
        return load_checkpoint(checkpoint, config)
    if config is None:
        raise UsageError("--seed must come with --preset NAME or --config FILE: random weights need a model")
    torch.manual_seed(seed or 0)
    return M3ViT(config).eval()


def _describe(preset_name: str | None, config_file: Path | None) -> ModelConfig | None:
    if preset_name is not None and config_file is not None:
        raise UsageError("export must be given --preset or --config, not both")
    if config_file is None:
        return preset(preset_name) if preset_name else None
    try:
        return ModelConfig.from_json(json.loads(config_file.read_text()))
    except (OSError, ValueError) as error:
        raise UsageError(f"--config must be a readable JSON file, and {config_file} is not: {error}") from None
