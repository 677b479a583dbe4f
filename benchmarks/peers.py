"""The rows of the comparison, and the same network in every form its peers run fastest."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import onnx

from edgemtl.driver import compile_model
from edgemtl.exporters.models import M3ViT, ModelConfig, preset
from edgemtl.exporters.to_onnx import export_onnx
from edgemtl.options import CompileOptions
from examples.foreign import as_dense, as_microsoft_moe, as_nonzero
from examples.random_models import build

TASK = "semseg"
SEED = 0
Part = Literal["encoder", "head"]


@dataclass(frozen=True)
class Row:
    """One line of the table: a model, the part of it that runs, the threads, and the ratio to reach."""

    name: str
    preset: str
    image: tuple[int, int]
    part: Part
    threads: int
    bar: float | None

    @property
    def config(self) -> ModelConfig:
        """The model's configuration at this row's image size."""
        return preset(self.preset, image=self.image)


@dataclass(frozen=True)
class Candidate:
    """One backend with the file it runs."""

    name: str
    backend: str
    model: Path


# Bars are for the strongest f32 peer of a row; the rows without one are for the record.
BARS: dict[tuple[str, Part, int], float] = {
    ("tiny_k2", "encoder", 1): 1.2,
    ("tiny_k2", "encoder", 2): 1.4,
    ("tiny_k4", "encoder", 1): 1.2,
    ("tiny_k4", "encoder", 2): 1.4,
    ("small", "encoder", 1): 1.05,
    ("small", "encoder", 2): 1.05,
    ("tiny_k2", "head", 1): 2.0,
    ("tiny_k2", "head", 2): 2.0,
    ("tiny_k4", "head", 1): 2.0,
    ("tiny_k4", "head", 2): 2.0,
}
MODELS = (
    ("tiny_k2", "m3vit_tiny_cityscapes", (128, 256)),
    ("tiny_k4", "m3vit_tiny_cityscapes_paper", (128, 256)),
    ("small", "m3vit_small_pascal_paper", (128, 256)),
    ("small_512", "m3vit_small_pascal_paper", (512, 512)),
)
PARTS: tuple[Part, ...] = ("encoder", "head")


def rows(threads: Sequence[int]) -> Iterator[Row]:
    """Every model, with and without its head, at every thread count."""
    for name, model, image in MODELS:
        for part in PARTS:
            for count in threads:
                yield Row(f"{name}_{part}", model, image, part, count, BARS.get((name, part, count)))


def prepare(row: Row, work: Path) -> tuple[Candidate, ...]:
    """Write the row's input and its network in every form, those that are not there yet."""
    folder = work / row.name
    folder.mkdir(parents=True, exist_ok=True)
    shape = (1, 3, *row.image)
    np.save(work / f"{row.name}_input.npy", np.random.default_rng(SEED).standard_normal(shape, np.float32))
    source = _once(folder / "model.onnx", lambda path: _export(row, path))
    bundle = _once(folder / f"model_{row.threads}.edgemtl", lambda path: _compile(source, row.threads, path))
    described = folder / "torch.json"
    described.write_text(json.dumps({"preset": row.preset, "image": row.image, "part": row.part}))
    forms: dict[str, Callable[[Path, Path], Path]] = {
        "dense": as_dense,
        "nonzero": as_nonzero,
        "com.microsoft.MoE": as_microsoft_moe,
    }
    files = {form: _form(source, folder / form, write) for form, write in forms.items()}
    return (
        Candidate("edgemtl", "edgemtl", bundle),
        *(Candidate(f"onnxruntime {form}", "onnxruntime", file) for form, file in files.items()),
        *(Candidate(f"openvino {form}", "openvino", files[form]) for form in ("dense", "nonzero")),
        Candidate("torch", "torch", described),
    )


def torch_model(description: Path) -> Callable[[Any], Any]:
    """The network of a row in torch: one task's map, or its encoder's tokens."""
    row = json.loads(description.read_text())
    model = build(preset(row["preset"], image=tuple(row["image"])), SEED)
    if row["part"] == "head":
        return lambda image: model(image, TASK)
    task = model.config.task_index(TASK)
    return lambda image: model.backbone(image, (task,))[0]


def _once(path: Path, write: Callable[[Path], Any]) -> Path:
    if not path.exists():
        write(path)
    return path


def _form(source: Path, folder: Path, write: Callable[[Path, Path], Path]) -> Path:
    folder.mkdir(exist_ok=True)
    return write(source, folder)


def _compile(source: Path, threads: int, path: Path) -> None:
    compile_model(source, CompileOptions(threads=threads), path)


def _export(row: Row, path: Path) -> None:
    model: M3ViT = build(row.config, SEED)
    export_onnx(model, path, tasks=[TASK])
    if row.part == "encoder":
        onnx.save(_without_head(onnx.load(path), row.config), path)


def _without_head(model: onnx.ModelProto, config: ModelConfig) -> onnx.ModelProto:
    """The same graph cut where the head's first normalisation reads the tokens [1, tokens, dim]."""
    tokens = _head_input(model)
    nodes, needed = [], {tokens}
    for node in reversed(model.graph.node):
        if needed.intersection(node.output):
            nodes.append(node)
            needed.update(node.input)
    del model.graph.node[:], model.graph.output[:]
    model.graph.node.extend(reversed(nodes))
    initializers = [weight for weight in model.graph.initializer if weight.name in needed]
    del model.graph.initializer[:]
    model.graph.initializer.extend(initializers)
    shape = [1, config.tokens, config.dim]
    model.graph.output.append(onnx.helper.make_tensor_value_info(tokens, onnx.TensorProto.FLOAT, shape))
    del model.metadata_props[:]
    return model


def _head_input(model: onnx.ModelProto) -> str:
    """The value the first node of the decoder reads from the backbone."""
    inside = {output: _is_head(node) for node in model.graph.node for output in node.output}
    for node in model.graph.node:
        for name in node.input:
            if _is_head(node) and inside.get(name) is False:
                return str(name)
    raise ValueError("the graph must have nodes of a decoder; it has none")


def _is_head(node: onnx.NodeProto) -> bool:
    return "decoders." in node.name
