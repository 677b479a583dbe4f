"""Float steps as their specs say, for layers that stay in float32 on the CPU beside an accelerator.

Sums run in float64, so that the number of numpy's threads shows in no more than the last bit of a float32.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise

import numpy as np
import numpy.typing as npt

import edgemtl.tvm_bridge.specs as s
import edgemtl.tvm_bridge.specs_conv as c
from edgemtl.host.integers import Array, Function, copied

Wide = npt.NDArray[np.float64]
_erf = np.vectorize(math.erf, otypes=[np.float64])


def _narrow(y: Wide) -> npt.NDArray[np.float32]:
    return y.astype(np.float32)


def _activate(x: Wide, activation: str) -> Wide:
    match activation:
        case "relu":
            return np.maximum(x, 0)
        case "gelu":
            return np.asarray(0.5 * x * (1 + _erf(x / math.sqrt(2))))
        case "gelu_tanh":
            return np.asarray(0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))))
        case "silu":
            return np.asarray(x / (1 + np.exp(-np.clip(x, -700, None))))
        case _:
            return x


def _matmul(x: Array, w: Array) -> Wide:
    return np.asarray(x.astype(np.float64) @ w.astype(np.float64))


def _linear(spec: s.LinearSpec, inputs: Sequence[Array], constants: Sequence[Array]) -> tuple[Array]:
    y = _activate(_matmul(inputs[0], constants[0]) + constants[1], spec.activation)
    return (_narrow(y + inputs[1] if spec.residual else y),)


def _layer_norm(spec: s.LayerNormSpec, inputs: Sequence[Array], constants: Sequence[Array]) -> tuple[Array]:
    x = inputs[0].astype(np.float64)
    variance = x.var(-1, keepdims=True)
    return (_narrow((x - x.mean(-1, keepdims=True)) / np.sqrt(variance + spec.epsilon) * constants[0] + constants[1]),)


def _softmax(x: Wide) -> Wide:
    powers = np.exp(x - x.max(-1, keepdims=True))
    return np.asarray(powers / powers.sum(-1, keepdims=True))


def _attention(spec: s.AttentionSpec, inputs: Sequence[Array], constants: Sequence[Array]) -> tuple[Array]:
    q, k, v = inputs[0].reshape(spec.tokens, 3, spec.heads, spec.head_dim).transpose(1, 2, 0, 3)
    weights = _softmax(_matmul(q, k.transpose(0, 2, 1)) * spec.scale)
    return (_narrow(_matmul(weights, v)).transpose(1, 0, 2).reshape(spec.tokens, -1),)


def _patch_embed(spec: s.PatchEmbedSpec, inputs: Sequence[Array], constants: Sequence[Array]) -> tuple[Array]:
    weight, table = constants
    rows, columns = spec.height // spec.patch, spec.width // spec.patch
    image = inputs[0].reshape(spec.channels, spec.height, spec.width)[:, : rows * spec.patch, : columns * spec.patch]
    cut = image.reshape(spec.channels, rows, spec.patch, columns, spec.patch).transpose(1, 3, 0, 2, 4)
    tokens = table.astype(np.float64)
    tokens[spec.leading :] += _matmul(cut.reshape(rows * columns, -1), weight.reshape(spec.dim, -1).T)
    return (_narrow(tokens),)


def _router(spec: s.RouterSpec, inputs: Sequence[Array], constants: Sequence[Array]) -> tuple[Array, ...]:
    logits, columns = inputs[0], np.array(spec.candidates)
    order = np.argsort(-logits[:, columns], -1, kind="stable")[:, : spec.top_k]
    weight = np.take_along_axis(_softmax(logits.astype(np.float64))[:, columns], order, -1)
    if spec.normalize:
        weight = weight / weight.sum(-1, keepdims=True)
    by_expert = np.argsort(order, None, kind="stable")
    slot = np.empty(order.size, np.int32)
    slot[by_expert] = np.arange(order.size)
    first = np.cumsum([0, *np.bincount(order.reshape(-1), minlength=len(columns))])
    places = slot.reshape(order.shape), by_expert // spec.top_k, first
    return (_narrow(np.where(weight < spec.threshold, 0, weight)), *(place.astype(np.int32) for place in places))


def _experts(spec: s.ExpertSpec, inputs: Sequence[Array], constants: Sequence[Array]) -> tuple[Array]:
    x, token, first = inputs
    rows, y = x[token] if spec.gather else x, np.empty((len(token), spec.n), np.float32)
    for expert, (begin, end) in enumerate(pairwise(first)):
        sums = _matmul(rows[begin:end], constants[2 * expert]) + constants[2 * expert + 1]
        y[begin:end] = _activate(sums, spec.activation)
    return (y,)


def _combine(spec: s.CombineSpec, inputs: Sequence[Array], constants: Sequence[Array]) -> tuple[Array]:
    x, weights, slots, *residual = inputs
    y = (x.astype(np.float64)[slots] * weights[:, :, None]).sum(1)
    return (_narrow(y + residual[0] if spec.residual else y),)


def _conv(spec: c.Conv2dSpec, inputs: Sequence[Array], constants: Sequence[Array]) -> tuple[Array]:
    weight, bias = constants
    top, left, bottom, right = spec.pad
    image = np.pad(inputs[0].reshape(spec.height, spec.width, spec.cin), ((top, bottom), (left, right), (0, 0)))
    wide = image.astype(np.float64).reshape(*image.shape[:2], spec.groups, -1)
    kernels = weight.astype(np.float64).reshape(spec.groups, -1, *weight.shape[1:])
    sums = np.zeros((spec.out_height, spec.out_width, spec.groups, kernels.shape[1]))
    for row, column in np.ndindex(*spec.kernel):
        seen = wide[row * spec.dilation[0] :: spec.stride[0], column * spec.dilation[1] :: spec.stride[1]]
        seen = seen[: spec.out_height, : spec.out_width]
        sums += np.einsum("hwgc,gnc->hwgn", seen, kernels[:, :, :, row, column], optimize=True)
    y = sums.reshape(spec.out_height * spec.out_width, -1) + bias
    return (_narrow(_activate(y, spec.activation)),)


def _axis(size: int, out: int) -> Wide:
    """Bilinear weights [out, size] of one axis: half-pixel centres, edges clamped."""
    centre = np.clip((np.arange(out) + 0.5) * size / out - 0.5, 0, size - 1)
    return np.asarray(np.maximum(0, 1 - np.abs(centre[:, None] - np.arange(size))))


def _resize(spec: c.ResizeSpec, inputs: Sequence[Array], constants: Sequence[Array]) -> tuple[Array]:
    image = inputs[0].astype(np.float64).reshape(spec.height, spec.width, spec.channels)
    lines = np.tensordot(_axis(spec.height, spec.out_height), image, 1)
    y = _narrow(np.einsum("ow,hwc->hoc", _axis(spec.width, spec.out_width), lines, optimize=True))
    return (y.transpose(2, 0, 1)[None] if spec.planar else y.reshape(-1, spec.channels),)


FLOAT: Mapping[type, Function] = {
    s.PatchEmbedSpec: _patch_embed,
    s.LayerNormSpec: _layer_norm,
    s.LinearSpec: _linear,
    s.AttentionSpec: _attention,
    s.RouterSpec: _router,
    s.ExpertSpec: _experts,
    s.CombineSpec: _combine,
    s.CopySpec: copied,
    c.Conv2dSpec: _conv,
    c.ResizeSpec: _resize,
}
"""What each float step computes."""
