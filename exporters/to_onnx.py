"""A torch model as one ONNX file: every task an output, every mixture of experts one node."""

from __future__ import annotations

import hashlib
import json
import logging
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnx
import onnx_ir as ir
import torch
from torch import Tensor, nn

import edgemtl
from edgemtl.errors import CheckpointError, UsageError
from edgemtl.exporters.models import M3ViT
from edgemtl.exporters.onnx_cleanup import clean
from edgemtl.exporters.parity import Parity, check_parity
from edgemtl.frontend.model import METADATA
from edgemtl.frontend.moe_node import (
    DOMAIN,
    OP_TYPE,
    OPSET,
    VERSION,
    MoEAttributes,
    attach_functions,
    moe_nodes,
)
from edgemtl.paths import folder_aside, put_in_place
from edgemtl.suggest import one_of
from edgemtl.vocabulary import DEFAULT_FILTER, RESIZE_FILTERS

INPUT = "image"
EXTERNAL_DATA_BYTES = 1_500_000_000
"""A protobuf cannot pass 2 GiB; weights beyond this go to a second file."""


@dataclass(frozen=True)
class ExportReport:
    """What an export wrote.

    path, external: the ONNX file and the file beside it that holds its weights, None where the first holds all.
    parity: agreement of onnxruntime with torch, per task.  moe_layers: MoE nodes, all tasks together.
    bytes: of both files.  sha256: of the ONNX file.
    """

    path: Path
    external: Path | None
    parity: tuple[Parity, ...]
    moe_layers: int
    bytes: int
    sha256: str

    @property
    def max_abs_error(self) -> dict[str, float]:
        """Largest difference between onnxruntime and torch, per task."""
        return {p.task: p.max_abs_error for p in self.parity}


def export_onnx(
    model: M3ViT, path: str | Path, *, tasks: Sequence[str] | None = None, resize_filter: str = DEFAULT_FILTER
) -> ExportReport:
    """Write `model` to `path` and compare it with torch in onnxruntime; nothing is left at `path` if that fails.

    tasks: names of the outputs, all of the model's by default. The graph takes the normalised image
    [1, 3, H, W]; what tasks have in common is there once; the metadata says how the input is normalised
    and by which filter (one of `vocabulary.RESIZE_FILTERS`) pictures are resized to it.
    Raises `UsageError` for tasks the model does not have and for an unknown filter, `CheckpointError` for
    weights that are not finite float32 and `ModelError` if onnxruntime and torch disagree.
    """
    names, path = _task_names(model, tasks), Path(path)
    if resize_filter not in RESIZE_FILTERS:
        raise UsageError(one_of("--resize-filter", RESIZE_FILTERS, resize_filter))
    if not path.parent.is_dir():
        raise UsageError(f"the folder of {path} must exist; create it first")
    _check_weights(model)
    with _evaluating(model):
        graph = _trace(model, names)
        clean(graph)
        _describe(graph, model, names, resize_filter)
        with folder_aside(path.parent, path) as folder:
            written = _write(graph, folder / path.name)
            parity = check_parity(model, written[0], names)
            return _publish(written, path, parity, len(list(moe_nodes(graph))))


def _task_names(model: M3ViT, tasks: Sequence[str] | None) -> tuple[str, ...]:
    known = model.config.task_names
    names = known if tasks is None else tuple(tasks)
    if not names or len(set(names)) != len(names) or not set(names) <= set(known):
        raise UsageError(f"tasks must be different ones of {', '.join(known)}, not {', '.join(names) or 'none'}")
    if INPUT in names:
        raise UsageError(
            f"a task must not be called {INPUT}, as the input is; give it another name in the model's config"
        )
    return names


def _check_weights(model: M3ViT) -> None:
    for name, tensor in model.state_dict().items():
        if not tensor.is_floating_point():
            continue
        if tensor.dtype != torch.float32:
            raise CheckpointError(f"{name} must be float32, not {tensor.dtype}; convert the model with .float()")
        if not bool(torch.isfinite(tensor).all()):
            raise CheckpointError(f"{name} must be finite; some of its values are infinite or not a number")


@contextmanager
def _evaluating(model: M3ViT) -> Iterator[None]:
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training


class _PerTask(nn.Module):
    """All tasks' maps of one image, each task's tokens on their own."""

    def __init__(self, model: M3ViT, tasks: Sequence[str]) -> None:
        super().__init__()
        self.model, self.tasks = model, tuple(tasks)

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        backbone, config = self.model.backbone, self.model.config
        common = backbone.common(image)
        ends = [backbone.finish(common, (config.task_index(task),))[0] for task in self.tasks]
        return tuple(self.model.decoders[t](x) for t, x in zip(self.tasks, ends, strict=True))


def _moe_symbol(
    x: Tensor,
    logits: Tensor,
    w1: Tensor,
    b1: Tensor,
    w2: Tensor,
    b2: Tensor,
    k: int,
    threshold: float,
    window: tuple[int, int] | None,
    normalize: bool = False,
    activation: str = "gelu",
) -> Tensor:
    attributes = MoEAttributes(k, activation, normalize, threshold, window).to_dict()
    name, inputs = f"{DOMAIN}::{OP_TYPE}", (x, logits, w1, b1, w2, b2)
    return torch.onnx.ops.symbolic(name, inputs, attributes, dtype=x.dtype, shape=x.shape, version=VERSION)


@contextmanager
def _symbolic_experts(model: M3ViT) -> Iterator[None]:
    layers = model.moe_layers()
    computes = [layer.compute for layer in layers]
    for layer in layers:
        layer.compute = _moe_symbol
    try:
        yield
    finally:
        for layer, compute in zip(layers, computes, strict=True):
            layer.compute = compute


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep the exporter's remarks about its own deprecations and missing extras to itself."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


def _trace(model: M3ViT, tasks: Sequence[str]) -> ir.Model:
    image = torch.zeros(1, 3, *model.config.image)
    with _symbolic_experts(model), torch.no_grad(), _quiet():
        program = torch.onnx.export(
            _PerTask(model, tasks).eval(),
            (image,),
            dynamo=True,
            opset_version=OPSET,
            input_names=[INPUT],
            output_names=list(tasks),
            verbose=False,
        )
    if program is None:
        raise RuntimeError("torch.onnx.export returned no program")
    return program.model


def _describe(graph: ir.Model, model: M3ViT, tasks: Sequence[str], resize_filter: str) -> None:
    """Attach the MoE bodies and write who made the file and what is in it."""
    config = model.config
    attach_functions(graph)
    graph.producer_name, graph.producer_version = "edgemtl", edgemtl.__version__
    graph.ir_version = 10
    specs = {task.name: task for task in config.tasks}
    outputs = [{"name": t, "output": t, "kind": specs[t].kind, "channels": specs[t].channels} for t in tasks]
    document: dict[str, Any] = {
        "schema_version": 1,
        "model": config.to_json(),
        "tasks": outputs,
        "input": {
            "name": INPUT,
            "mean": list(config.mean),
            "std": list(config.std),
            "resize_filter": resize_filter,
        },
        "routing": config.routing if config.moe_blocks else None,
    }
    graph.metadata_props[METADATA] = json.dumps(document, sort_keys=True, separators=(",", ":"))


def _write(graph: ir.Model, path: Path) -> tuple[Path, ...]:
    """Write the graph, its weights beside it where they are too many, and check what was written."""
    size = sum(value.const_value.nbytes for value in graph.graph.initializers.values() if value.const_value)
    external = path.with_name(path.name + ".data") if size > EXTERNAL_DATA_BYTES else None
    if external is None:
        proto = ir.to_proto(graph)
        path.write_bytes(proto.SerializeToString(deterministic=True))
    else:
        ir.save(graph, path, external_data=external.name)
    onnx.checker.check_model(str(path), full_check=True)
    return (path,) if external is None else (path, external)


def _publish(written: tuple[Path, ...], path: Path, parity: tuple[Parity, ...], moe_layers: int) -> ExportReport:
    digest = hashlib.sha256(written[0].read_bytes()).hexdigest()
    size = sum(file.stat().st_size for file in written)
    names = [file.name for file in written]
    put_in_place(written[0].parent, path.parent, names[::-1])
    return ExportReport(path, path.parent / names[1] if len(names) > 1 else None, parity, moe_layers, size, digest)
