"""Running bundles: `Session.open(path)` checks a bundle, loads its program and runs its tasks.

numpy and tvm_ffi only; neither torch nor TVM's compiler is imported.
"""

from edgemtl.runtime.records import Memory, SegmentRun, SelftestResult, StepTime, TaskInfo
from edgemtl.runtime.session import Session

__all__ = ["Memory", "SegmentRun", "SelftestResult", "Session", "StepTime", "TaskInfo"]
