"""A model at a glance: its tasks, its layers, and what each costs."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from edgemtl.bundle import MoEEntry
from edgemtl.frontend import InputSpec, MoELayer, MultiTaskModel, Task
from edgemtl.partition.cost import Cost, common_cost, cost_of
from edgemtl.partition.partition import partition


@dataclass(frozen=True)
class TaskInspection:
    """One task on the exact pathway: its cost, and the experts within its reach in each MoE layer."""

    task: Task
    cost: Cost
    moe: tuple[MoEEntry, ...]


@dataclass(frozen=True)
class Inspection:
    """What `inspect_model` found.

    full: all tasks together, with what they share counted once and every expert's weights.  common: what all
    tasks share.  layers: the model's MoE nodes.  notes: every default and assumption taken in reading it.
    """

    inputs: tuple[InputSpec, ...]
    tasks: tuple[TaskInspection, ...]
    layers: tuple[MoELayer, ...]
    full: Cost
    common: Cost
    notes: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """Everything found, as JSON can hold it."""
        tasks = [
            {**asdict(of.task), **of.cost.to_json(), "moe": [asdict(pathway) for pathway in of.moe]}
            for of in self.tasks
        ]
        return {
            "inputs": [asdict(spec) for spec in self.inputs],
            "tasks": tasks,
            "moe_layers": [asdict(layer) for layer in self.layers],
            "full": self.full.to_json(),
            "common": self.common.to_json(),
            "notes": list(self.notes),
        }


def inspect_model(model: MultiTaskModel) -> Inspection:
    """Count the whole model, each task alone, and what the tasks have in common."""
    models = partition(model, [task.name for task in model.tasks], "exact")
    tasks = tuple(TaskInspection(m.task, cost_of(m.ir), m.moe) for m in models)
    common = common_cost([m.ir for m in models])
    return Inspection(model.inputs, tasks, model.moe, cost_of(model.ir), common, model.notes)
