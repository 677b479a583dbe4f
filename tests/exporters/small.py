"""Small models with weights of ordinary size, so that errors show."""

import torch

from edgemtl.exporters.models import M3ViT, ModelConfig, TaskSpec

TASKS = (
    TaskSpec("semseg", 4, "segmentation"),
    TaskSpec("depth", 1, "depth"),
    TaskSpec("normals", 3, "normals"),
)


def small_config(**overrides):
    values = dict(
        image=(16, 24),
        patch=8,
        dim=12,
        depth=3,
        heads=2,
        mlp_hidden=20,
        tasks=TASKS,
        moe_blocks=(1, 2),
        experts=5,
        top_k=2,
        expert_hidden=9,
        head_channels=(7, 6),
    )
    return ModelConfig(**{**values, **overrides})


ROUTINGS = {
    "dense": dict(moe_blocks=()),
    "multi_gate": dict(),
    "task_conditioned": dict(routing="task_conditioned", task_embedding=6),
    "window": dict(routing="window", experts_per_task=3),
    "window_of_a_known_task": dict(routing="window", experts_per_task=3, task_embedding=6),
    "single_gate": dict(routing="single_gate"),
    "gate_input_ahead": dict(gate_input_ahead=True),
    "gate_input_ahead_of_a_known_task": dict(
        gate_input_ahead=True, routing="task_conditioned", task_embedding=6, moe_blocks=(0, 2)
    ),
    "no_class_token": dict(class_token=False),
    "pruned": dict(expert_prune=0.3),
    "top_1_of_1": dict(experts=1, top_k=1),
    "one_task_window": dict(routing="window", experts_per_task=2, tasks=TASKS[:1]),
    "moe_first": dict(moe_blocks=(0,), experts=4, top_k=4),
}


def small_model(seed=0, **overrides):
    """A model in evaluation mode whose every parameter and statistic is random."""
    torch.manual_seed(seed)
    model = M3ViT(small_config(**overrides)).eval()
    with torch.no_grad():
        for name, tensor in model.state_dict().items():
            if name.endswith("running_var"):
                tensor.uniform_(0.5, 2)
            elif "norm" in name or "syncbn" in name:
                tensor.copy_(torch.randn(tensor.shape) * 0.3 + name.endswith("weight"))
            elif tensor.is_floating_point():
                fan_in = tensor.shape[0] if name.endswith("w_gate") else tensor[0].numel() or 1
                tensor.normal_(std=1.5 * fan_in**-0.5 if tensor.ndim > 1 else 0.3)
    return model


def images(config, count=1, seed=1):
    return torch.randn(count, 3, *config.image, generator=torch.Generator().manual_seed(seed))
