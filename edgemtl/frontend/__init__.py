"""ONNX in, a `MultiTaskModel` out: the file read safely, tasks and mixture-of-experts layers found."""

from typing import TYPE_CHECKING, Any

from edgemtl.frontend.model import InputSpec, MoELayer, MultiTaskModel, Task
from edgemtl.frontend.names import rename_tasks

if TYPE_CHECKING:
    from edgemtl.frontend.reader import read_model

__all__ = ["InputSpec", "MoELayer", "MultiTaskModel", "Task", "read_model", "rename_tasks"]


def __getattr__(name: str) -> Any:
    """`read_model`, imported when it is asked for: its libraries take half a second, and a misspelt task needs none."""
    if name != "read_model":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from edgemtl.frontend.reader import read_model

    return read_model
