"""Does onnxruntime compute from the file what torch computes from the model?

A router is not continuous: where two experts tie, a rounding error decides, and both answers are right. A token
whose margin is below `TIE_MARGIN` in some MoE layer is therefore not compared in that layer: torch takes over
onnxruntime's output for it, and every other token and everything downstream must still agree.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import NamedTemporaryFile

import numpy as np
import onnx
import torch
from torch import Tensor

from edgemtl.errors import CheckpointError, ModelError
from edgemtl.exporters.models import M3ViT
from edgemtl.exporters.models.routing import columns
from edgemtl.frontend.moe_node import DOMAIN, OP_TYPE
from edgemtl.onnx_runtime import open_session

TIE_MARGIN = 1e-5
MAX_ERROR = 1e-4


@dataclass(frozen=True)
class Parity:
    """Agreement of one task: largest difference, largest value torch gave, router decisions not compared."""

    task: str
    max_abs_error: float
    max_abs_value: float
    ties: int


def check_parity(model: M3ViT, path: Path, tasks: Sequence[str], seed: int = 0) -> tuple[Parity, ...]:
    """Compare both on one random image; `ModelError` names the first task that differs by more than 1e-4."""
    draw = torch.Generator().manual_seed(seed)
    image = torch.randn(1, 3, *model.config.image, generator=draw)
    outputs, mixed = _run_onnx(path, image.numpy(), len(tasks))
    parities = []
    for task, output, layers in zip(tasks, outputs, mixed, strict=True):
        reference, ties = _run_torch(model, image, task, layers)
        if not np.isfinite(reference).all():
            rule = f"task {task} must give finite values in torch, and gives NaN or infinite ones for a random image"
            raise CheckpointError(f"{rule}; look for weights that are far too large")
        error = float(np.abs(output - reference).max())
        if not error <= MAX_ERROR:
            raise ModelError(
                f"task {task} in onnxruntime must be within {MAX_ERROR} of torch, not {error:.3g} away; "
                "report this model: its export is wrong"
            )
        parities.append(Parity(task, error, float(np.abs(reference).max()), ties))
    return tuple(parities)


def _run_onnx(path: Path, image: np.ndarray, tasks: int) -> tuple[list[np.ndarray], list[list[np.ndarray]]]:
    """The outputs of the file as it is, and what its MoE nodes gave, by task in order of depth."""
    outputs = open_session(path, optimise=True).run(None, {"image": image})
    proto = onnx.load(str(path), load_external_data=False)
    values = [node.output[0] for node in proto.graph.node if (node.domain, node.op_type) == (DOMAIN, OP_TYPE)]
    if not values:
        return outputs, [[] for _ in range(tasks)]
    proto.graph.output.extend(onnx.ValueInfoProto(name=name) for name in values)
    with NamedTemporaryFile(dir=path.parent, suffix=".onnx") as file:
        file.write(proto.SerializeToString())
        file.flush()
        mixed = open_session(Path(file.name), optimise=True).run(values, {"image": image})
    return outputs, _by_task(proto, dict(zip(values, mixed, strict=True)), tasks)


def _by_task(proto: onnx.ModelProto, mixed: dict[str, np.ndarray], tasks: int) -> list[list[np.ndarray]]:
    producers = {name: node for node in proto.graph.node for name in node.output}
    mixed_by_task = []
    for output in list(proto.graph.output)[:tasks]:
        todo, seen = [output.name], set[str]()
        while todo:
            name = todo.pop()
            if name not in seen and name in producers:
                seen.add(name)
                todo += producers[name].input
        mixed_by_task.append([array for name, array in mixed.items() if name in seen])
    return mixed_by_task


def _run_torch(model: M3ViT, image: Tensor, task: str, mixed: list[np.ndarray]) -> tuple[np.ndarray, int]:
    ties: list[int] = []
    with torch.no_grad(), _settling_ties(model, mixed, ties):
        reference: np.ndarray = model(image, task).numpy()
    return reference, sum(ties)


@contextmanager
def _settling_ties(model: M3ViT, mixed: list[np.ndarray], ties: list[int]) -> Iterator[None]:
    """While open, the layers take over `mixed` for the tokens they may route either way; `ties` counts those."""
    layers = model.moe_layers()
    computes = [layer.compute for layer in layers]
    for layer, compute, theirs in zip(layers, computes, mixed, strict=True):
        layer.compute = _settle(compute, torch.from_numpy(theirs), ties)
    try:
        yield
    finally:
        for layer, compute in zip(layers, computes, strict=True):
            layer.compute = compute


def _settle(compute: Callable[..., Tensor], theirs: Tensor, ties: list[int]) -> Callable[..., Tensor]:
    def mix(x: Tensor, logits: Tensor, *weights_and_rules: object) -> Tensor:
        k, threshold, window, *rest = weights_and_rules[4:]
        tied = margin(logits, k, threshold, window, *rest[:1]) < TIE_MARGIN  # type: ignore[arg-type]
        ties.append(int(tied.sum()))
        return torch.where(tied[:, None], theirs, compute(x, logits, *weights_and_rules))

    return mix


def margin(logits: Tensor, k: int, threshold: float, window: tuple[int, int] | None, normalize: bool = False) -> Tensor:
    """How far each token [T] is from being routed differently: the least change of a score that would do it."""
    ranked = logits[:, columns(window)].float().softmax(-1).sort(dim=-1, descending=True).values
    scores = ranked[:, :k]
    distance = torch.full(scores.shape[:1], torch.inf)
    if k < ranked.shape[1]:
        distance = ranked[:, k - 1] - ranked[:, k]
    if threshold > 0:
        scores = scores / scores.sum(-1, keepdim=True) if normalize else scores
        distance = torch.minimum(distance, (scores - threshold).abs().amin(-1))
    return distance
