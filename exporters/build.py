"""The model a user asks for: its description from a preset, a file or the checkpoint, its weights from a checkpoint
or drawn from a seed.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from edgemtl.errors import UsageError
from edgemtl.exporters.assumptions import assumptions
from edgemtl.exporters.checkpoint_files import read_metadata, read_tensors
from edgemtl.exporters.checkpoints import Loaded, load_state
from edgemtl.exporters.edge_moe import read_edge_moe
from edgemtl.exporters.models import M3ViT, ModelConfig, preset
from edgemtl.exporters.upstream_flags import Flags, apply_flags, parse_flags
from edgemtl.exporters.upstream_keys import shown_flags
from edgemtl.units import format_bytes

LAYOUTS = ("upstream", "edge-moe")
MOST_RANDOM_BYTES = 4 << 30
EDGE_MOE_PRESET = "m3vit_tiny_cityscapes"
"""The model whose weights Edge-MoE publishes."""


@dataclass(frozen=True)
class ModelSource:
    """Where a model comes from, as given on the command line.

    checkpoint: weights; or seed: of random ones.  layout: how the checkpoint names its tensors.
    preset, config, upstream_config: the model by name, as a JSON file, as M3ViT's yaml file.
    upstream_flags: flags of M3ViT's trainer, which change what those say.
    """

    checkpoint: Path | None = None
    seed: int | None = None
    preset: str | None = None
    config: Path | None = None
    upstream_config: Path | None = None
    upstream_flags: str | None = None
    layout: str = "upstream"


def build_model(source: ModelSource) -> Loaded:
    """A model in evaluation mode, with notes on what was done and assumed.

    Raises UsageError for a source that contradicts itself, lacks something or cannot be read; CheckpointError and
    ConfigError for what does not fit; UnsupportedError for upstream models that edgemtl does not have.
    """
    _check_source(source)
    flags = parse_flags(source.upstream_flags or "")
    described = _describe(source, flags.given)
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


def _check_source(source: ModelSource) -> None:
    if (source.checkpoint is None) == (source.seed is None):
        raise UsageError("export must be given exactly one of --checkpoint FILE and --seed N (random weights)")
    if source.layout not in LAYOUTS:
        raise UsageError(f"--layout must be one of {', '.join(LAYOUTS)}, not {source.layout!r}")
    given = [
        flag
        for flag, value in (
            ("--preset", source.preset),
            ("--config", source.config),
            ("--upstream-config", source.upstream_config),
        )
        if value is not None
    ]
    if len(given) > 1:
        raise UsageError(f"export must be given one description of the model, not {' and '.join(given)}")
    if source.upstream_flags is not None and not given:
        raise UsageError(
            "--upstream-flags must come with --upstream-config, --preset or --config: flags change a model"
        )
    if source.seed is not None and not 0 <= source.seed < 1 << 63:
        raise UsageError(f"--seed must be an integer from 0 to {(1 << 63) - 1}, not {source.seed}")
    if source.seed is not None and not given:
        raise UsageError("--seed must come with --preset NAME or --config FILE: random weights need a model")
    if source.seed is not None and source.layout != LAYOUTS[0]:
        raise UsageError(f"--layout {source.layout} must come with --checkpoint: random weights have no layout")


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


def _describe(source: ModelSource, given: Mapping[str, Any]) -> ModelConfig | None:
    """The model of the source before its flags; None where the checkpoint has to say it."""
    if source.upstream_config is not None:
        from edgemtl.exporters.upstream_yaml import read_yaml

        return read_yaml(source.upstream_config, given)
    if source.preset is not None:
        return preset(source.preset)
    return None if source.config is None else ModelConfig.from_json(_read_json(source.config))


def _read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError, RecursionError) as error:
        raise UsageError(f"--config must be a readable JSON file, and {path} is not: {error}") from None
