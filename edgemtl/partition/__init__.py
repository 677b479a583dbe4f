"""From one multi-task graph to one graph per task, with what each task costs."""

from edgemtl.partition.cost import Cost, common_cost, cost_of
from edgemtl.partition.inspection import Inspection, TaskInspection, inspect_model
from edgemtl.partition.model import Calibration, TaskModel
from edgemtl.partition.partition import partition

__all__ = [
    "Calibration",
    "Cost",
    "Inspection",
    "TaskInspection",
    "TaskModel",
    "common_cost",
    "cost_of",
    "inspect_model",
    "partition",
]
