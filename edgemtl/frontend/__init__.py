"""ONNX in, a `MultiTaskModel` out: the file read safely, tasks and mixture-of-experts layers found."""

from edgemtl.frontend.model import InputSpec, MoELayer, MultiTaskModel, Task
from edgemtl.frontend.names import change_kinds, rename_tasks
from edgemtl.frontend.reader import read_model

__all__ = ["InputSpec", "MoELayer", "MultiTaskModel", "Task", "change_kinds", "read_model", "rename_tasks"]
