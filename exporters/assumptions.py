"""What a checkpoint leaves open, and what was taken for it: said, so that a user can contradict."""

from collections.abc import Mapping
from typing import Any

from edgemtl.exporters.models.config import ModelConfig
from edgemtl.exporters.models.data_sets import upstream_order


def assumptions(config: ModelConfig, given: Mapping[str, Any]) -> tuple[str, ...]:
    """Notes on what no parameter of a mixture shows and no flag of the trainer said; `given` are its flags by name.

    Flags of the same keys and shapes with another meaning are the danger: a gate that reads another tensor, scores that
    are cut off, other numbers of experts, and which gate is whose.
    """
    if not config.moe_blocks:
        return ()
    values: dict[str, object] = {"gate_input_ahead": config.gate_input_ahead, "moe_top_k": config.top_k}
    values["expert_prune"] = f"below {config.expert_prune:g}" if config.expert_prune else False
    if config.routing != "multi_gate":
        values["regu_experts_fromtask"] = config.routing == "window"
    open_ = [f"{name} {value}" for name, value in values.items() if name not in given]
    order = _gate_order(config)
    if not open_ and not order:
        return ()
    said = "; ".join([*([", ".join(open_)] if open_ else []), *order])
    return (f"assumed, since the checkpoint does not say: {said} (--upstream-flags say otherwise)",)


def _gate_order(config: ModelConfig) -> list[str]:
    """Whose the gates are; tasks are numbered in all routings but that of one gate that does not know them."""
    names = config.task_names
    if len(names) < 2 or config.routing == "single_gate":
        return []
    text = f"tasks numbered {', '.join(names)}"
    upstream = upstream_order(names)
    if len(upstream) == len(names) and upstream != names:
        text += f", and not {', '.join(upstream)} as M3ViT's trainer numbers them"
    return [text]
