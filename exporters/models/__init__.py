"""Multi-task mixture-of-experts vision transformers in PyTorch."""

from edgemtl.exporters.models.config import ModelConfig, TaskSpec
from edgemtl.exporters.models.m3vit import M3ViT
from edgemtl.exporters.models.presets import preset

__all__ = ["M3ViT", "ModelConfig", "TaskSpec", "preset"]
