"""Multi-task mixture-of-experts vision transformers in PyTorch."""

from typing import TYPE_CHECKING, Any

from edgemtl.exporters.models.config import ModelConfig, TaskSpec
from edgemtl.exporters.models.presets import preset

if TYPE_CHECKING:
    from edgemtl.exporters.models.m3vit import M3ViT

__all__ = ["M3ViT", "ModelConfig", "TaskSpec", "preset"]


def __getattr__(name: str) -> Any:
    """`M3ViT`, imported when it is asked for: a description alone needs no torch."""
    if name != "M3ViT":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from edgemtl.exporters.models.m3vit import M3ViT

    return M3ViT
