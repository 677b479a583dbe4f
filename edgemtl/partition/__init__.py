"""From one multi-task graph to one graph per task, with what each task costs."""

from edgemtl.partition.model import PATHWAYS, Calibration, MoEPathway, Pathway, TaskModel
from edgemtl.partition.partition import partition

__all__ = ["PATHWAYS", "Calibration", "MoEPathway", "Pathway", "TaskModel", "partition"]
