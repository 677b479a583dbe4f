"""A torch model run with an eye on its modules: what each delivers, and what each mixture of experts chooses."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from edgemtl.errors import UsageError
from edgemtl.exporters.checkpoints import load_checkpoint
from edgemtl.exporters.models import M3ViT
from edgemtl.exporters.models.moe import MoE
from edgemtl.exporters.models.routing import route

Array = npt.NDArray[Any]
Watched = tuple[dict[str, Array], dict[str, tuple[Array, Array]]]
"""Outputs of modules, and experts and weights [T, k] of mixtures, by module path."""


def watch_checkpoint(path: Path, task: str) -> Callable[[Array], Watched]:
    """What runs one task of the model in a checkpoint.

    Raises CheckpointError for the file, UsageError for a task the model does not have.
    """
    model = load_checkpoint(path)
    if task not in model.config.task_names:
        raise UsageError(f"--task must be one of {', '.join(model.config.task_names)} in {path}, not {task!r}")
    return lambda image: watch_modules(model, task, image)


def watch_modules(model: M3ViT, task: str, image: Array) -> Watched:
    """Run one task on an image [1, 3, H, W] and keep every tensor a module returns.

    Experts are counted from the first of the task's window where the model routes within windows, as in the graph.
    """
    outputs: dict[str, Array] = {}
    chosen: dict[str, tuple[Array, Array]] = {}
    with torch.no_grad(), _hooked(model, outputs), _recorded(model, chosen):
        model(torch.from_numpy(np.ascontiguousarray(image)), task)
    return outputs, chosen


@contextmanager
def _hooked(model: nn.Module, outputs: dict[str, Array]) -> Iterator[None]:
    def keep(path: str) -> Callable[[nn.Module, object, object], None]:
        def hook(module: nn.Module, inputs: object, output: object) -> None:
            if isinstance(output, Tensor):
                outputs[path] = output.numpy().copy()

        return hook

    handles = [module.register_forward_hook(keep(path)) for path, module in model.named_modules() if path]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


@contextmanager
def _recorded(model: M3ViT, chosen: dict[str, tuple[Array, Array]]) -> Iterator[None]:
    layers = {path: module for path, module in model.named_modules() if isinstance(module, MoE)}
    computes: Mapping[str, Callable[..., Tensor]] = {path: layer.compute for path, layer in layers.items()}
    for path, layer in layers.items():
        layer.compute = _record(path, layer.compute, chosen)
    try:
        yield
    finally:
        for path, layer in layers.items():
            layer.compute = computes[path]


def _record(path: str, compute: Callable[..., Tensor], chosen: dict[str, tuple[Array, Array]]) -> Callable[..., Tensor]:
    def mix(x: Tensor, logits: Tensor, *weights_and_rules: Any) -> Tensor:
        k, threshold, window, *rest = weights_and_rules[4:]
        scores, experts = route(logits, k, threshold, window, *rest[:1])
        chosen[path] = (experts - (window[0] if window else 0)).numpy(), scores.numpy()
        return compute(x, logits, *weights_and_rules)

    return mix
