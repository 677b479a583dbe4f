"""Where the model comes from that a user asks for, checked and described before torch is imported."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgemtl.errors import ConfigError, UsageError
from edgemtl.exporters.models.config import ModelConfig
from edgemtl.exporters.models.presets import PRESETS, preset
from edgemtl.exporters.upstream_flags import parse_flags
from edgemtl.records import parse_json
from edgemtl.suggest import one_of

LAYOUTS = ("upstream", "edge-moe")


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


def check_source(source: ModelSource) -> None:
    """Raise UsageError for a source that contradicts itself or lacks something."""
    if (source.checkpoint is None) == (source.seed is None):
        raise UsageError("export must be given exactly one of --checkpoint FILE and --seed N (random weights)")
    if source.layout not in LAYOUTS:
        raise UsageError(one_of("--layout", LAYOUTS, source.layout))
    if source.preset is not None and source.preset not in PRESETS:
        raise UsageError(one_of("--preset", PRESETS, source.preset))
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


def known_tasks(source: ModelSource) -> tuple[str, ...]:
    """The tasks of the model, where the source says them without its checkpoint; else none.

    Raises what `check_source`, `describe_source` and `upstream_flags.parse_flags` raise.
    """
    check_source(source)
    described = describe_source(source, parse_flags(source.upstream_flags or "").given)
    return () if described is None or source.upstream_config is not None else described.task_names


def describe_source(source: ModelSource, given: Mapping[str, Any]) -> ModelConfig | None:
    """The model of the source before its flags; None where the checkpoint has to say it.

    Raises UsageError for a file that cannot be read, ConfigError for a description that makes no sense.
    """
    if source.upstream_config is not None:
        from edgemtl.exporters.upstream_yaml import read_yaml

        return read_yaml(source.upstream_config, given)
    if source.preset is not None:
        return preset(source.preset)
    return None if source.config is None else _read_config(source.config)


def _read_config(path: Path) -> ModelConfig:
    document = _read_json(path)
    try:
        return ModelConfig.from_json(document)
    except ConfigError as error:
        raise ConfigError(f"--config {path}: {error}") from None


def _read_json(path: Path) -> Any:
    try:
        return parse_json(path.read_text())
    except (OSError, ValueError, RecursionError) as error:
        raise UsageError(f"--config must be a readable JSON file, and {path} is not: {error}") from None
