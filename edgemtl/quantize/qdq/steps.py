"""Every kind of step as ONNX operators: integer ones with the law's scales, those kept in float as they are."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from onnx import TensorProto

from edgemtl import operators as ops
from edgemtl.operators import Array
from edgemtl.quantize.qdq import elementwise
from edgemtl.quantize.qdq.graph import Attributes, Value, planes, rows_of
from edgemtl.quantize.qdq.mixture import combine, experts, route
from edgemtl.quantize.qdq.task import TaskWriter
from edgemtl.quantize.tensors import Tensor
from edgemtl.tvm_bridge.generic import Generic


def _linear(task: TaskWriter) -> None:
    x, layer = task.input(), task.layer()
    rows, width = x.shape[0], layer.weight.shape[1]
    product = task.graph.op("MatMul", (x, task.weight(layer, 1)), (rows, width))
    y = task.activated(task.graph.add(product, task.bias(layer.bias)))
    task.write(task.graph.add(y, task.input("residual")) if task.step.reads("residual") else y)


def _cut_patches(task: TaskWriter) -> None:
    task.place(_patches(task, task.rounded(task.input()), task.source.patch))


def _cut_pixels(task: TaskWriter) -> None:
    """The patches of a camera's frame."""
    spec = task.operator
    rows = task.graph.reshape(elementwise.pixel_values(task), (1, spec.height, spec.width, spec.channels))
    task.place(_patches(task, task.rounded(task.graph.transpose(rows, (0, 3, 1, 2))), spec.patch))


def _patches(task: TaskWriter, image: Value, patch: int) -> Value:
    """Patches [P, C * patch * patch] of an image [1, C, H, W]."""
    _, channels, height, width = image.shape
    grid = task.graph.reshape(image, (channels, height // patch, patch, width // patch, patch))
    turned = task.graph.transpose(grid, (1, 3, 0, 2, 4))
    return task.graph.reshape(turned, (height * width // patch**2, channels * patch**2))


def _embed(task: TaskWriter) -> None:
    layer = task.layer()
    table = task.step.constant("table")
    scale = task.tensor(task.step["y"].buffer).scale
    added = task.dequantised(table.name, table.array, np.array(scale), 0)
    operands = task.input(), task.weight(layer, 1)
    y = task.graph.op("MatMul", operands, (task.operator.patches, layer.weight.shape[1]))
    _embedded(task, task.graph.add(y, task.bias(layer.bias)), added)


def _embed_float(task: TaskWriter) -> None:
    kernel, table = task.step.constant("weight"), task.step.constant("table")
    x = _patches(task, task.input("image"), task.source.patch)
    weight = task.graph.constant(kernel.name, kernel.array.reshape(task.source.dim, -1).T)
    y = task.graph.op("MatMul", (x, weight), (x.shape[0], task.source.dim))
    _embedded(task, y, task.graph.constant(table.name, table.array))


def _embedded(task: TaskWriter, tokens: Value, table: Value) -> None:
    if leading := task.source.leading:
        nothing = task.graph.constant("leading", np.zeros((leading, task.source.dim), np.float32))
        tokens = task.graph.op("Concat", (nothing, tokens), table.shape, {"axis": 0})
    task.write(task.graph.add(tokens, table))


def _layer_norm(task: TaskWriter) -> None:
    """gamma are the halvings, beta is the offset: the rest lies in the readers' weights."""
    halvings, offset = (task.step.constant(name).array.astype(np.float64) for name in ("halvings", "offset"))
    stream = task.tensor(task.step["x"].buffer).scale
    epsilon = task.operator.epsilon * stream**2 / task.source.dim**2
    scale = task.tensor(task.step["y"].buffer).scale
    _normalised(task, "halvings", (2.0**-halvings, offset * scale), epsilon)


def _layer_norm_float(task: TaskWriter) -> None:
    gamma, beta = (task.step.constant(name).array for name in ("scale", "shift"))
    _normalised(task, "scale", (gamma, beta), task.source.epsilon)


def _normalised(task: TaskWriter, named: str, gamma_and_beta: tuple[Array, Array], epsilon: float) -> None:
    name, x = task.step.constant(named).name, task.input()
    constants = (task.graph.constant(name, array.astype(np.float32)) for array in gamma_and_beta)
    task.write(task.graph.op("LayerNormalization", (x, *constants), x.shape, {"axis": -1, "epsilon": epsilon}))


def _attention(task: TaskWriter) -> None:
    spec, graph = task.source, task.graph
    axes = (1, 0, 2), (1, 2, 0), (1, 0, 2)
    query, key, value = (_heads(task, part, perm) for part, perm in zip(_split(task), axes, strict=True))
    shape = (spec.heads, spec.tokens, spec.tokens)
    scores = graph.op("MatMul", (query, key), shape)
    scaled = graph.op("Mul", (scores, graph.constant("score_scale", np.array(spec.scale, np.float32))), shape)
    weights = graph.op("Softmax", (scaled,), shape, {"axis": -1})
    y = task.rounded(graph.op("MatMul", (weights, value), (spec.heads, spec.tokens, spec.head_dim)))
    task.place(graph.reshape(graph.transpose(y, (1, 0, 2)), (spec.tokens, spec.heads * spec.head_dim)))


def _split(task: TaskWriter) -> list[Value]:
    """q, k and v, each rounded to its own steps."""
    tokens, width = task.source.tokens, task.source.heads * task.source.head_dim
    packed = task.graph.reshape(task.input("qkv"), (tokens, 3 * width))
    names = task.graph.node("Split", [packed.name, task.graph.ints([width] * 3).name], {"axis": 1}, 3)
    values, scales = [Value(name, (tokens, width)) for name in names], task.tensor(task.step["qkv"].buffer).parts
    if scales is None:
        return values
    return [task.graph.quantise(v, Tensor("int8", scale)) for v, scale in zip(values, scales, strict=True)]


def _heads(task: TaskWriter, part: Value, perm: tuple[int, ...]) -> Value:
    """Rows [T, heads d] as real numbers [T, heads, d], the axes in another order."""
    split = task.graph.reshape(part, (task.source.tokens, task.source.heads, task.source.head_dim))
    return task.graph.real(task.graph.transpose(split, perm))


def _conv(task: TaskWriter) -> None:
    spec, layer = task.operator, task.layer()
    image = task.graph.real(planes(task.graph, task.integers(), spec.height, spec.width))
    geometry: Attributes = {"strides": spec.stride, "pads": spec.pad, "dilations": spec.dilation, "group": spec.groups}
    operands = (image, task.weight(layer, 0), task.bias(layer.bias))
    y = task.graph.op("Conv", operands, (1, spec.cout, spec.out_height, spec.out_width), geometry)
    task.place(rows_of(task.graph, task.rounded(task.activated(y))))


def _resize(task: TaskWriter) -> None:
    spec, graph, sizes = task.source, task.graph, task.operator
    image = graph.real(planes(graph, task.integers(), sizes.height, sizes.width))
    shape = (1, spec.channels, spec.out_height, spec.out_width)
    if shape != image.shape:
        nothing, whole = Value("", ()), graph.ints(shape)
        image = graph.op("Resize", (image, nothing, nothing, whole), shape, {"mode": "linear"})
    image = task.rounded(image)
    task.place(image if spec.planar else rows_of(graph, image))


def _classes(task: TaskWriter) -> None:
    """ArgMax over the channels of an image, upsampled by 2 where the step says so."""
    sizes, graph = task.operator, task.graph
    image = graph.real(planes(graph, task.integers(), sizes.height, sizes.width))
    shape = (sizes.out_height, sizes.out_width)
    if sizes.enlarge:
        whole, nothing = (1, sizes.channels, *shape), Value("", ())
        image = graph.op("Resize", (image, nothing, nothing, graph.ints(whole)), whole, {"mode": "linear"})
    classes = graph.op("ArgMax", (image,), (1, *shape), {"axis": 1, "keepdims": 0})
    task.place(graph.reshape(graph.op("Cast", (classes,), classes.shape, {"to": TensorProto.UINT8}), shape))


def _converted(task: TaskWriter) -> None:
    """The same values as other integers; a scalar factor is one where the step gives the result of its node."""
    if _is_part(task):
        return
    source = task.floats[task.task.sources[task.index]]
    if isinstance(source.operator, Generic) and task.step.result.buffer.split(".")[0] == source.result.buffer:
        return elementwise.between(task)
    task.write(task.input())


def _copied(task: TaskWriter) -> None:
    """The same values in another place, or as real numbers, which readers make of them anyway."""
    if not _is_part(task):
        task.place(task.integers())


def _is_part(task: TaskWriter) -> bool:
    """Whether the step changes the type of a value inside a mixture, which its last step writes as a whole."""
    part = task.parts.get(task.step["x"].buffer)
    if part is not None:
        task.parts[task.step["y"].buffer] = part
    return part is not None


def _widened(task: TaskWriter) -> None:
    """The same numbers as int64."""
    x = task.integers()
    task.place(task.graph.op("Cast", (x,), x.shape, {"to": TensorProto.INT64}))


WRITERS: Mapping[type, Callable[[TaskWriter], None]] = {
    **elementwise.WRITERS,
    ops.QPixelPatches: _cut_pixels,
    ops.QuantiseImage: _cut_patches,
    ops.QPatchEmbed: _embed,
    ops.PatchEmbed: _embed_float,
    ops.QLinear: _linear,
    ops.Linear: _linear,
    ops.QLayerNorm: _layer_norm,
    ops.LayerNorm: _layer_norm_float,
    ops.QAttention: _attention,
    ops.Attention: _attention,
    ops.QConv2d: _conv,
    ops.Conv2d: _conv,
    ops.QBilinear: _resize,
    ops.DequantiseImage: _resize,
    ops.QClasses: _classes,
    ops.Resize: _resize,
    ops.QRouter: route,
    ops.Router: route,
    ops.Dispatch: route,
    ops.QExperts: experts,
    ops.Experts: experts,
    ops.QCombine: combine,
    ops.Combine: combine,
    ops.Quantise: _converted,
    ops.Dequantise: _copied,
    ops.Convert: _converted,
    ops.Widen: _widened,
    ops.QCopy: _copied,
    ops.Copy: _copied,
}


def write_task(task: TaskWriter) -> None:
    """Write every step of a task."""
    for index, step in enumerate(task.task.steps):
        task.index = index
        task.graph.origin = step.origin[0]
        WRITERS[type(step.operator)](task)
