"""The rows of the comparison, and the same network in every form its peers run fastest."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import onnx

from benchmarks.environments import interpreter
from benchmarks.peer_files import executorch_file, mnn_file, ncnn_file
from benchmarks.peer_forms import for_mnn, for_ncnn
from benchmarks.torch_network import SEED, TASK
from edgemtl.driver import compile_model
from edgemtl.exporters.models import M3ViT, ModelConfig, preset
from edgemtl.exporters.to_onnx import export_onnx
from edgemtl.options import CompileOptions
from examples.foreign import as_dense, as_microsoft_moe, as_nonzero
from examples.random_models import build

Part = Literal["encoder", "head"]
F32_LIMIT = 1e-3
"""Above the tanh form of gelu in `com.microsoft.MoE` (6e-5), below a token that a router sends elsewhere."""
CANNOT: Mapping[str, str] = {
    "mnn com.microsoft.MoE": "MNN 3.6.1 does not convert it (These Op Not Support: ONNX::MoE)",
    "executorch nonzero": "lowering to XNNPACK had not ended after seven minutes (ExecuTorch 1.4.1)",
    "ncnn nonzero": "ncnn has no NonZero, and no layer whose output size depends on values",
}
"""Peers and forms that are no columns, and why."""


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
    """One backend with the file it runs; ``limit`` is the largest error, as a share of the largest output."""

    name: str
    backend: str
    model: Path
    limit: float | None = None

    @property
    def python(self) -> Path:
        """The interpreter that runs it."""
        return interpreter(self.backend)


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


def prepare(row: Row, work: Path, target: str = "cpu") -> tuple[Candidate, ...]:
    """Write the row's input and its network in every form, those that are not there yet; ours for ``target``."""
    folder = work / row.name
    folder.mkdir(parents=True, exist_ok=True)
    shape = (1, 3, *row.image)
    np.save(work / f"{row.name}_input.npy", np.random.default_rng(SEED).standard_normal(shape, np.float32))
    source = _once(folder / "model.onnx", lambda path: _export(row, path))
    options = CompileOptions(target=target, threads=row.threads)
    bundle = _once(folder / f"model_{target}_{row.threads}.edgemtl", lambda path: compile_model(source, options, path))
    described = folder / "torch.json"
    described.write_text(json.dumps({"preset": row.preset, "image": row.image, "part": row.part}))
    forms: dict[str, Callable[[Path, Path], Path]] = {
        "dense": as_dense,
        "nonzero": as_nonzero,
        "com.microsoft.MoE": as_microsoft_moe,
    }
    files = {form: _form(source, folder / form, write) for form, write in forms.items()}
    return (
        _f32("edgemtl", bundle),
        *(_f32("onnxruntime", file, form) for form, file in files.items()),
        *(_f32("openvino", files[form], form) for form in ("dense", "nonzero")),
        _f32("torch", described),
    )


def convert(row: Row, candidates: Sequence[Candidate], work: Path) -> Iterator[Candidate]:
    """The peers with file formats of their own, from what `prepare` wrote."""
    folder = work / row.name
    models = {candidate.name: candidate.model for candidate in candidates}
    for form in ("dense", "nonzero"):
        yield _f32("mnn", _mnn(folder, form, models[f"onnxruntime {form}"]), form)
    yield _f32("ncnn", ncnn_file(_once(folder / "ncnn_dense.onnx", partial(for_ncnn, folder / "model.onnx"))), "dense")
    yield _f32("executorch", executorch_file(models["torch"], folder / "dense.pte"), "dense")


def _f32(backend: str, model: Path, form: str = "") -> Candidate:
    return Candidate(f"{backend} {form}".strip(), backend, model, F32_LIMIT)


def _mnn(folder: Path, form: str, model: Path) -> Path:
    return mnn_file(_once(folder / f"mnn_{form}.onnx", partial(for_mnn, model)))


def _once(path: Path, write: Callable[[Path], Any]) -> Path:
    if not path.exists():
        write(path)
    return path


def _form(source: Path, folder: Path, write: Callable[[Path, Path], Path]) -> Path:
    folder.mkdir(exist_ok=True)
    return write(source, folder)


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
