"""The model a user asks for: its description from a preset, a file or the checkpoint, its weights from a checkpoint
or drawn from a seed.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from edgemtl.errors import UsageError
from edgemtl.exporters.assumptions import assumptions
from edgemtl.exporters.checkpoint_files import read_metadata, read_tensors
from edgemtl.exporters.checkpoints import Loaded, load_state
from edgemtl.exporters.edge_moe import read_edge_moe
from edgemtl.exporters.models import M3ViT, ModelConfig, preset
from edgemtl.exporters.source import ModelSource, check_source, describe_source
from edgemtl.exporters.upstream_flags import Flags, apply_flags, parse_flags
from edgemtl.exporters.upstream_keys import shown_flags
from edgemtl.units import format_bytes

__all__ = ["ModelSource", "build_model"]

MOST_RANDOM_BYTES = 4 << 30
EDGE_MOE_PRESET = "m3vit_tiny_cityscapes"
"""The model whose weights Edge-MoE publishes."""


def build_model(source: ModelSource) -> Loaded:
    """A model in evaluation mode, with notes on what was done and assumed.

    Raises UsageError for a source that contradicts itself, lacks something or cannot be read; CheckpointError and
    ConfigError for what does not fit; UnsupportedError for upstream models that edgemtl does not have.
    """
    check_source(source)
    flags = parse_flags(source.upstream_flags or "")
    described = describe_source(source, flags.given)
    if source.seed is not None:
        return _random_model(described, source.seed, flags)
    assert source.checkpoint is not None
    if source.layout == "edge-moe":
        loaded = _read_edge_moe(source.checkpoint, described, flags.given)
    else:
        loaded = _read_upstream(source, described, flags.given)
    return Loaded(loaded.model, (*flags.notes, *loaded.notes))


def _read_upstream(source: ModelSource, described: ModelConfig | None, given: Mapping[str, Any]) -> Loaded:
    assert source.checkpoint is not None
    state = read_tensors(source.checkpoint)
    shown = shown_flags(state.values) if source.upstream_config else {}
    taken = {name: value for name, value in shown.items() if name not in given}
    config = described and apply_flags(described, {**taken, **given})
    loaded = load_state(source.checkpoint, state, config)
    if not source.checkpoint.is_dir() and read_metadata(source.checkpoint) is not None:
        return loaded  # a checkpoint of ours says all that its model is
    names = ", ".join(f"{name} {value}" for name, value in taken.items())
    notes = (f"shown by the parameters: {names}",) if names else ()
    return Loaded(loaded.model, (*loaded.notes, *notes, *assumptions(loaded.model.config, given)))


def _read_edge_moe(folder: Path, described: ModelConfig | None, given: Mapping[str, Any]) -> Loaded:
    config = apply_flags(described or preset(EDGE_MOE_PRESET), given)
    notes = () if described else (f"assumed preset {EDGE_MOE_PRESET}: no other model was given for --layout edge-moe",)
    loaded = read_edge_moe(folder, config)
    return Loaded(loaded.model, (*notes, *loaded.notes, *assumptions(config, given)))


def _random_model(described: ModelConfig | None, seed: int, flags: Flags) -> Loaded:
    assert described is not None
    config = apply_flags(described, flags.given)
    with torch.device("meta"):
        weight_bytes = sum(tensor.nbytes for tensor in M3ViT(config).state_dict().values())
    if weight_bytes > MOST_RANDOM_BYTES:
        rule = f"a model of random weights must have at most {format_bytes(MOST_RANDOM_BYTES)} of them"
        raise UsageError(f"{rule}, not {format_bytes(weight_bytes)}; describe a smaller one")
    torch.manual_seed(seed)
    return Loaded(M3ViT(config).eval(), flags.notes)
