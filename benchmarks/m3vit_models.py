"""M3ViT models as integer steps, for the accelerator: exported, quantised and routed once, then read again.

Weights are random from a seed, since no published checkpoint has heads: times do not depend on them but for the
routing, which is that of the model's own gates on smooth random pictures, or drawn from published counts. What was made
is kept in a folder: quantisation of a model at 512 x 512 takes minutes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx

from edgemtl import frontend, partition
from edgemtl import operators as ops
from edgemtl.frontend.camera import take_frames
from edgemtl.frontend.model import InputSpec
from edgemtl.hw.law_weights4 import CodedWeight, pack_codes, spread
from edgemtl.lowering.execute import Memory, run_step
from edgemtl.lowering.ir import INPUT, OUTPUT, CodedConstant, Step, dense
from edgemtl.options import QuantiseOptions
from edgemtl.processor import resolve
from edgemtl.quantize import write_parameters
from edgemtl.quantize.nearest_plane import choose_multipliers, nearest_codes
from edgemtl.quantize.quantised_model import float_steps, from_parameters, quantise
from examples.smooth_images import smooth_images

Choices = npt.NDArray[np.int32]
SEED = 1
CALIBRATION_IMAGES = 8
BLOCK_PRESET, BLOCK_TOKENS = "m3vit_tiny_cityscapes", 129
NAIVE = QuantiseOptions(least_sqnr_db=-100.0, quieten=False, correct=False)
"""Ranges and rounding alone: quicker, and accuracy of random weights means nothing."""
PUBLISHED_COUNTS = (0, 6, 0, 32, 0, 27, 15, 24, 22, 19, 0, 22, 11, 33, 32, 15)
"""Tokens of each expert on a published trained trunk: M3ViT-tiny of Edge-MoE, block 1, first task, one Cityscapes image
of 129 tokens, k = 2; experts 0, 2, 4 and 10 get none."""


@dataclass(frozen=True)
class Built:
    """One task's integer steps, and what its routers choose on one picture: [tokens, k] for each layer of experts."""

    name: str
    steps: tuple[Step, ...]
    routes: tuple[Choices, ...]


def build(preset: str, task: str, folder: Path, dense: bool = False) -> Built:
    """A preset's task, or that of the same model without experts."""
    name = f"{preset}{'_dense' if dense else ''}"
    path = folder / f"{name}_{task}.onnx"
    if not path.exists():
        _export(preset, task, path, **({"moe_blocks": ()} if dense else {}))
    steps = _integer_steps(path, task)
    return Built(name, steps, _routes(steps))


def build_classes(preset: str, task: str, folder: Path) -> tuple[Step, ...]:
    """A preset's task as steps from a camera's image, uint8 [1, H, W, 3], to the class of each pixel, uint8."""
    logits, path = folder / f"{preset}_{task}.onnx", folder / f"{preset}_{task}_classes.onnx"
    if not logits.exists():
        _export(preset, task, logits)
    if not path.exists():
        onnx.save(_with_classes(onnx.load(logits)), path)
    return _integer_steps(path, task, from_bytes=True)


def _with_classes(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model with an ArgMax over the channels of its output, as bytes, which keep the output's name."""
    (output,) = model.graph.output
    logits, shape = f"{output.name}.logits", [size.dim_value for size in output.type.tensor_type.shape.dim]
    for node in model.graph.node:
        node.output[:] = [logits if name == output.name else name for name in node.output]
    classes, dtype = f"{output.name}.classes", onnx.TensorProto.UINT8
    model.graph.node.append(onnx.helper.make_node("ArgMax", [logits], [classes], "classes", axis=1, keepdims=0))
    model.graph.node.append(onnx.helper.make_node("Cast", [classes], [output.name], "bytes", to=dtype))
    output.CopyFrom(onnx.helper.make_tensor_value_info(output.name, dtype, [shape[0], *shape[2:]]))
    return model


def build_block(experts: int, top_k: int, folder: Path) -> tuple[Step, ...]:
    """Two blocks of M3ViT-tiny, one with so many experts, without the head."""
    path = folder / f"block_{experts}_{top_k}.onnx"
    if not path.exists():
        _export(BLOCK_PRESET, "depth", path, depth=2, moe_blocks=(1,), experts=experts, top_k=top_k)
    return encoder_steps(_integer_steps(path, "depth"))


def _export(preset_name: str, task: str, path: Path, **changes: Any) -> None:
    import torch

    from edgemtl.exporters.models import M3ViT, preset
    from edgemtl.exporters.to_onnx import export_onnx

    path.parent.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(SEED)
    export_onnx(M3ViT(replace(preset(preset_name), **changes)).eval(), path, tasks=[task])


def _integer_steps(path: Path, task: str, from_bytes: bool = False) -> tuple[Step, ...]:
    model, target = frontend.read_model(path), resolve("cpu")
    (spec,) = model.inputs
    images = smooth_images(spec.shape, CALIBRATION_IMAGES)
    parameters = path.with_suffix(".json")
    if from_bytes:
        model, parameters = take_frames(model, [spec.name]), path.with_suffix(".bytes.json")
        images = [_as_bytes(image, spec) for image in images]
    tasks = partition.partition(model, [task], "exact")
    if parameters.exists():
        return tuple(from_parameters(model, tasks, target, parameters).integers[task].steps)
    calibration = {str(i): {spec.name: image} for i, image in enumerate(images)}
    quantised = quantise(model, tasks, target, calibration, NAIVE)
    write_parameters(parameters, quantised.parameters, float_steps(tasks, target))
    return tuple(quantised.integers[task].steps)


def _as_bytes(image: npt.NDArray[np.float32], spec: InputSpec) -> npt.NDArray[np.uint8]:
    """The picture of a normalised image."""
    assert spec.mean is not None
    assert spec.std is not None
    mean, std = (np.array(channels, np.float32) for channels in (spec.mean, spec.std))
    pixels = 255 * (image.transpose(0, 2, 3, 1) * std + mean)
    return pixels.round().clip(0, 255).astype(np.uint8)


def _routes(steps: Sequence[Step]) -> tuple[Choices, ...]:
    """What the gates choose on one picture the model was not calibrated on, by the law."""
    routes: list[Choices] = []
    view = steps[0].main_input
    image = smooth_images(view.shape, CALIBRATION_IMAGES + 1)[-1]
    memory = Memory(steps, {view.buffer.removeprefix(INPUT): image})
    routers = [index for index, step in enumerate(steps) if isinstance(step.operator, ops.QRouter)]
    for index in range(max(routers, default=-1) + 1):
        run_step(index, steps[index], memory)
        if index in routers:
            offsets, slots = (memory.read(steps[index][name]) for name in ("offsets", "slots"))
            routes.append((np.searchsorted(offsets, slots, side="right") - 1).astype(np.int32))
    return tuple(routes)


def encoder_steps(steps: Sequence[Step]) -> tuple[Step, ...]:
    """The steps up to the end of the last block, whose tokens go to the CPU: what the papers' latencies cover."""
    end = max(index for index, step in enumerate(steps) if _adds_residual(step))
    output = steps[end].result
    read = dense(output.buffer, (output.size,), output.dtype)
    floats = dense(OUTPUT, (output.size,), "float32")
    reader = Step(ops.Dequantise(output.size, output.dtype, 1.0, 0), (read,), (floats,))
    return (*steps[: end + 1], reader)


def with_coded_experts(steps: Sequence[Step]) -> tuple[Step, ...]:
    """The steps with the weights of all experts in 4 bits, each rounded to the nearest code: times depend on none."""
    return tuple(_coded(step) if isinstance(step.operator, ops.QExperts) else step for step in steps)


def _coded(step: Step) -> Step:
    assert isinstance(step.operator, ops.QExperts)
    for expert in range(step.operator.slots):
        weight = step.constant("weight", expert)
        multipliers = choose_multipliers(weight.array)
        codes = pack_codes(nearest_codes(weight.array, spread(multipliers, len(weight.array))))
        coded = CodedWeight(len(weight.array), codes, multipliers)
        step = step.with_constant("weight", CodedConstant(weight.name, coded.expand(), coded), expert)
    return step


def _adds_residual(step: Step) -> bool:
    return isinstance(step.operator, ops.QCombine | ops.QLinear) and step.operator.residual


def draw_routes(counts: Sequence[int], tokens: int, top_k: int) -> Choices:
    """Choices [tokens, k] of which each expert gets its count: a token takes the k with most tokens still to come."""
    left = np.array(counts)
    choices = np.empty((tokens, top_k), np.int32)
    for token in range(tokens):
        choices[token] = np.argsort(-left, kind="stable")[:top_k]
        left[choices[token]] -= 1
    assert not left.any(), "counts must sum to tokens * k, none above the tokens"
    return choices


def published_counts(layer: int, tokens: int, top_k: int) -> list[int]:
    """The published counts in an order of the layer's own, scaled to ``tokens`` * ``top_k``.

    Experts without tokens keep none.
    """
    counts = np.random.default_rng(layer).permutation(PUBLISHED_COUNTS)
    scaled = counts * tokens * top_k // counts.sum()
    for index in np.argsort(-counts, kind="stable")[: tokens * top_k - scaled.sum()]:
        scaled[index] += 1
    return [int(count) for count in scaled]


def even_counts(experts: int, tokens: int, top_k: int) -> list[int]:
    """Every expert the same, or one more."""
    share, more = divmod(tokens * top_k, experts)
    return [share + (index < more) for index in range(experts)]


def busiest(counts: Sequence[int], most: int) -> tuple[int, ...]:
    """The experts with most tokens: the list that popularity on calibration images gives where it is right."""
    order = sorted(range(len(counts)), key=lambda index: (-counts[index], index))
    return tuple(index for index in order[:most] if counts[index])
