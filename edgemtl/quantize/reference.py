"""Float steps as their specs say: what calibration and comparisons take for the truth.

In numpy, but for products of matrices: the same bits whatever the number of threads.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import cache
from itertools import pairwise
from typing import Any

import numpy as np

from edgemtl.host.integers import copied
from edgemtl.lowering.ir import Array
from edgemtl.onnx_runtime import multiply
from edgemtl.quantize.execute import Function
from edgemtl.tvm_bridge import specs, specs_conv

_GRID = 65_537
_REACH = 10.0


def gelu(x: Array) -> Array:
    """GELU by the error function, in float64."""
    return np.asarray(0.5 * x * (1 + np.vectorize(math.erf, otypes=[np.float64])(x / math.sqrt(2.0))))


def gelu_tanh(x: Array) -> Array:
    """GELU by its tanh approximation."""
    return np.asarray(0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))))


def silu(x: Array) -> Array:
    """x times its logistic."""
    return np.asarray(x / (1 + np.exp(-x)))


CURVES = {"gelu": gelu, "gelu_tanh": gelu_tanh, "silu": silu}


@cache
def _sampled(name: str) -> tuple[Array, Array]:
    grid = np.linspace(-_REACH, _REACH, _GRID)
    return grid, CURVES[name](grid)


def activate(x: Array, activation: str) -> Array:
    """An activation of float32 values; curves are interpolated on a grid so fine that float32 does not show it."""
    if activation == "":
        return x
    if activation == "relu":
        return np.maximum(x, 0)
    inside = np.interp(x, *_sampled(activation))
    if activation == "silu":
        return np.where(np.abs(x) < _REACH, inside, silu(np.clip(x, -700, None))).astype(np.float32)
    return np.where(x < _REACH, inside, x).astype(np.float32)


def linear_sums(spec: Any, inputs: Sequence[Array], constants: Sequence[Array]) -> Array:
    """The sums of a linear layer in front of its activation."""
    return np.asarray(multiply(inputs[0], constants[0]) + constants[1])


def _linear(spec: specs.LinearSpec, inputs: Sequence[Array], constants: Sequence[Array]) -> tuple[Array]:
    y = activate(linear_sums(spec, inputs, constants), spec.activation)
    return (y + inputs[1] if spec.residual else y,)


def normalised(x: Array, epsilon: float) -> Array:
    """Rows without their mean and deviation, in float32."""
    wide = x.astype(np.float64)
    centred = wide - wide.mean(-1, keepdims=True)
    deviation = np.sqrt((centred * centred).mean(-1, keepdims=True) + epsilon)
    return np.asarray((centred / deviation).astype(np.float32))


def _layer_norm(spec: specs.LayerNormSpec, inputs: Sequence[Array], constants: Sequence[Array]) -> tuple[Array]:
    return (normalised(inputs[0], spec.epsilon) * constants[0] + constants[1],)


def _attention(spec: specs.AttentionSpec, inputs: Sequence[Array], constants: Sequence[Array]) -> tuple[Array]:
    parts = inputs[0].reshape(spec.tokens, 3, spec.heads, spec.head_dim)
    q, k, v = (parts[:, i].transpose(1, 0, 2) for i in range(3))
    scores = multiply(q, k.transpose(0, 2, 1)) * np.float32(spec.scale)
    weights = np.exp(scores - scores.max(-1, keepdims=True))
    y = multiply(weights, v) / weights.sum(-1, keepdims=True)
    return (np.ascontiguousarray(y.transpose(1, 0, 2)).reshape(spec.tokens, -1),)


def _patch_embed(spec: specs.PatchEmbedSpec, inputs: Sequence[Array], constants: Sequence[Array]) -> tuple[Array]:
    weight, table = constants
    p, rows, columns = spec.patch, spec.height // spec.patch, spec.width // spec.patch
    cut = inputs[0].reshape(spec.channels, rows, p, columns, p).transpose(1, 3, 0, 2, 4)
    y = multiply(cut.reshape(rows * columns, -1), weight.reshape(spec.dim, -1).T)
    return (np.concatenate([np.zeros((spec.leading, spec.dim), np.float32), y]) + table,)


def _router(spec: specs.RouterSpec, inputs: Sequence[Array], constants: Sequence[Array]) -> tuple[Array, ...]:
    logits, columns = inputs[0], np.array(spec.candidates)
    powers = np.exp(logits - logits.max(-1, keepdims=True))
    probability = powers / powers.sum(-1, keepdims=True)
    order = np.argsort(-logits[:, columns], axis=-1, kind="stable")[:, : spec.top_k]
    weight = np.take_along_axis(probability[:, columns], order, -1)
    if spec.normalize:
        weight = weight / weight.sum(-1, keepdims=True)
    weight = np.where(weight < spec.threshold, 0, weight).astype(np.float32)
    flat = order.reshape(-1)
    by_expert = np.argsort(flat, kind="stable")
    slot = np.empty_like(by_expert)
    slot[by_expert] = np.arange(len(flat))
    first = np.concatenate([[0], np.cumsum(np.bincount(flat, minlength=len(columns)))])
    places = (slot.reshape(order.shape), by_expert // spec.top_k, first)
    return (weight, *(a.astype(np.int32) for a in places))


def expert_sums(spec: specs.ExpertSpec, inputs: Sequence[Array], constants: Sequence[Array]) -> Array:
    """The sums of every expert over its own slots in front of the activation, [tokens top_k, n]."""
    x, token, first = inputs
    rows = x[token] if spec.gather else x
    y = np.empty((len(rows), spec.n), np.float32)
    for expert, (begin, end) in enumerate(pairwise(first)):
        y[begin:end] = multiply(rows[begin:end], constants[2 * expert]) + constants[2 * expert + 1]
    return y


def _experts(spec: specs.ExpertSpec, inputs: Sequence[Array], constants: Sequence[Array]) -> tuple[Array]:
    return (activate(expert_sums(spec, inputs, constants), spec.activation),)


def _combine(spec: specs.CombineSpec, inputs: Sequence[Array], constants: Sequence[Array]) -> tuple[Array]:
    y = (inputs[0][inputs[2]] * inputs[1][:, :, None]).sum(1)
    return (y + inputs[3] if spec.residual else y,)


def conv_sums(spec: specs_conv.Conv2dSpec, inputs: Sequence[Array], constants: Sequence[Array]) -> Array:
    """The sums of a convolution [out_height * out_width, cout] in front of its activation."""
    weight, bias = constants
    top, left, bottom, right = spec.pad
    padded = np.pad(inputs[0].reshape(spec.height, spec.width, spec.cin), ((top, bottom), (left, right), (0, 0)))
    width, sums = spec.out_width, []
    for group in range(spec.groups):
        size, made = spec.cin // spec.groups, spec.cout // spec.groups
        kernel = weight[group * made : (group + 1) * made]
        total = np.zeros((spec.out_height * width, made), np.float32)
        for row in range(spec.kernel[0]):
            for column in range(spec.kernel[1]):
                y, x = row * spec.dilation[0], column * spec.dilation[1]
                seen = padded[y:, x:][:: spec.stride[0], :: spec.stride[1]][: spec.out_height, :width]
                part = seen[:, :, group * size : (group + 1) * size].reshape(-1, size)
                total += multiply(part, kernel[:, :, row, column].T)
        sums.append(total)
    return np.concatenate(sums, -1) + bias


def _conv(spec: specs_conv.Conv2dSpec, inputs: Sequence[Array], constants: Sequence[Array]) -> tuple[Array]:
    return (activate(conv_sums(spec, inputs, constants), spec.activation),)


@cache
def _weights(size: int, out: int) -> Array:
    """Bilinear weights [out, size] of one axis: half-pixel centres, edges clamped."""
    centre = np.clip((np.arange(out) + 0.5) * size / out - 0.5, 0, size - 1)
    near = np.abs(centre[:, None] - np.arange(size)[None])
    return np.asarray(np.maximum(0, 1 - near), np.float32)


def _resize(spec: specs_conv.ResizeSpec, inputs: Sequence[Array], constants: Sequence[Array]) -> tuple[Array]:
    image = inputs[0].reshape(spec.height, spec.width, spec.channels)
    lines = multiply(_weights(spec.height, spec.out_height), image.reshape(spec.height, -1))
    y = multiply(_weights(spec.width, spec.out_width), lines.reshape(-1, spec.width, spec.channels))
    return (np.ascontiguousarray(y.transpose(2, 0, 1))[None] if spec.planar else y.reshape(-1, spec.channels),)


FLOAT: Mapping[type, Function] = {
    specs.PatchEmbedSpec: _patch_embed,
    specs.LayerNormSpec: _layer_norm,
    specs.LinearSpec: _linear,
    specs.AttentionSpec: _attention,
    specs.RouterSpec: _router,
    specs.ExpertSpec: _experts,
    specs.CombineSpec: _combine,
    specs.CopySpec: copied,
    specs_conv.Conv2dSpec: _conv,
    specs_conv.ResizeSpec: _resize,
}
"""What each float step computes; Winograd's form of a convolution is not used where steps are quantised."""
