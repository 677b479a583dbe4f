"""The tasks of M3ViT's data sets, numbered as its trainer numbers them (`utils/config.py`, `parse_task_dictionary`)."""

from collections.abc import Iterable

from edgemtl.exporters.models.config import TaskSpec
from edgemtl.vocabulary import Kind

CHANNELS: dict[str, tuple[Kind, dict[str, int]]] = {
    "semseg": ("segmentation", {"PASCALContext": 21, "NYUD": 40, "CityScapes": 7}),
    "human_parts": ("segmentation", {"PASCALContext": 7}),
    "sal": ("saliency", {"PASCALContext": 1}),
    "normals": ("normals", {"PASCALContext": 3, "NYUD": 3}),
    "edge": ("edges", {"PASCALContext": 1, "NYUD": 1}),
    "depth": ("depth", {"NYUD": 1, "CityScapes": 1}),
}
"""Kind and channels by data set of every task, in the order of their gates whatever a yaml file says."""


def data_sets(task: str) -> tuple[str, ...]:
    """The data sets that have a task."""
    return tuple(CHANNELS[task][1])


def tasks_of(data_set: str, names: Iterable[str]) -> tuple[TaskSpec, ...]:
    """The tasks of these names in a data set that has them, in upstream's order."""
    asked = set(names)
    return tuple(TaskSpec(name, sizes[data_set], kind) for name, (kind, sizes) in CHANNELS.items() if name in asked)


def upstream_order(names: Iterable[str]) -> tuple[str, ...]:
    """The names in the order upstream gives them; those it does not know are left out."""
    asked = set(names)
    return tuple(name for name in CHANNELS if name in asked)
