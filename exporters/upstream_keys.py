"""What the parameters of an M3ViT checkpoint show of the flags it was trained with."""

import re
from collections.abc import Mapping
from typing import Any

from torch import Tensor

GATE = re.compile(r"backbone\.blocks\.\d+\.mlp\.gate\.(\d+\.)?w_gate")
EXPERTS = re.compile(r"backbone\.blocks\.\d+\.mlp\.experts\.htoh4\.weight")
EMBEDDING = "backbone.gate_task_represent.fc2.weight"


def shown_flags(values: Mapping[str, object]) -> dict[str, Any]:
    """Flags by name: gates for each task or one, experts and their width, the task embedding."""
    flags: dict[str, Any] = {}
    gates = [match for name in values if (match := GATE.fullmatch(name))]
    if gates:
        flags["multi_gate"] = gates[0][1] is not None
    if (shape := _shape(values.get(EMBEDDING), 2)) is not None:
        flags["gate_task_specific_dim"] = shape[0]
    experts = next((value for name, value in values.items() if EXPERTS.fullmatch(name)), None)
    if (shape := _shape(experts, 3)) is not None:
        flags["moe_experts"], hidden, dim = shape
        if dim and hidden % dim == 0:
            flags["moe_mlp_ratio"] = hidden // dim
    return flags


def _shape(value: object, rank: int) -> tuple[int, ...] | None:
    return tuple(value.shape) if isinstance(value, Tensor) and value.ndim == rank else None
