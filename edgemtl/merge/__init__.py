"""Models of one task each become one multi-task model, whose common part is stored and run once."""

from edgemtl.merge.merge import merge_models
from edgemtl.merge.result import MergedTask, MergeResult

__all__ = ["MergeResult", "MergedTask", "merge_models"]
