"""Integer steps by the law, operator by operator."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

import edgemtl.tvm_bridge.specs_int8 as q
from edgemtl.hw import law
from edgemtl.hw.arith import unpack_scale

Array = npt.NDArray[Any]
Function = Callable[[Any, Sequence[Array], Sequence[Array]], tuple[Array, ...]]
"""(spec, inputs, constants) to the outputs of a step, in the order of its views."""


def _linear(spec: q.QLinearSpec, inputs: Sequence[Array], constants: Sequence[Array]) -> tuple[Array]:
    weight, bias, scale, *table = constants
    residual = inputs[1] if spec.residual else None
    return (law.linear(inputs[0], weight, bias, *unpack_scale(scale), spec.how, _table(table), residual),)


def _table(rest: Sequence[Array]) -> Array | None:
    return rest[0] if rest else None


def _patch_embed(spec: q.QPatchEmbedSpec, inputs: Sequence[Array], constants: Sequence[Array]) -> tuple[Array]:
    weight, bias, scale, table = constants
    return (law.patch_embed(inputs[0], weight, bias, *unpack_scale(scale), table, spec.leading),)


def _layer_norm(spec: q.QLayerNormSpec, inputs: Sequence[Array], constants: Sequence[Array]) -> tuple[Array]:
    return (law.layer_norm(inputs[0], spec.epsilon, spec.mul, spec.shift, *constants),)


def _attention(spec: q.QAttentionSpec, inputs: Sequence[Array], constants: Sequence[Array]) -> tuple[Array]:
    return (law.attention(inputs[0], spec.heads, spec.score_shift, spec.mul, spec.shift),)


def _router(spec: q.QRouterSpec, inputs: Sequence[Array], constants: Sequence[Array]) -> tuple[Array, ...]:
    routes = law.route(inputs[0], spec.top_k, spec.candidates, spec.normalize, spec.threshold)
    return routes.weight, routes.slot, routes.token, routes.first


def _experts(spec: q.QExpertSpec, inputs: Sequence[Array], constants: Sequence[Array]) -> tuple[Array]:
    x, token, first = inputs
    rows, table = x[token] if spec.gather else x, _table(constants[3 * spec.slots :])
    y = np.empty((len(rows), spec.n), spec.how.dtype)
    for expert in range(spec.slots):
        weight, bias, scale = constants[3 * expert : 3 * expert + 3]
        part = slice(first[expert], first[expert + 1])
        y[part] = law.linear(rows[part], weight, bias, *unpack_scale(scale), spec.how, table)
    return (y,)


def _combine(spec: q.QCombineSpec, inputs: Sequence[Array], constants: Sequence[Array]) -> tuple[Array]:
    return (law.combine(inputs[0], inputs[1], inputs[2], inputs[3] if spec.residual else None),)


def _conv(spec: q.QConv2dSpec, inputs: Sequence[Array], constants: Sequence[Array]) -> tuple[Array]:
    weight, bias, scale, *table = constants
    image = inputs[0].reshape(spec.height, spec.width, spec.cin)
    mul, shift = unpack_scale(scale)
    y = law.conv2d(
        image, weight, bias, mul, shift, spec.how, spec.zero, spec.stride, spec.pad, spec.dilation, _table(table)
    )
    return (y,)


def _bilinear(spec: q.QBilinearSpec, inputs: Sequence[Array], constants: Sequence[Array]) -> tuple[Array]:
    return (law.bilinear(inputs[0].reshape(spec.height, spec.width, spec.channels)),)


def _quantise_image(spec: q.QuantiseImageSpec, inputs: Sequence[Array], constants: Sequence[Array]) -> tuple[Array]:
    image = law.quantise_image(inputs[0][0], spec.inverse_scale, spec.zero)
    return (law.cut_patches(image, spec.patch),)


def _dequantise_image(spec: q.DequantiseImageSpec, inputs: Sequence[Array], constants: Sequence[Array]) -> tuple[Array]:
    image = inputs[0].reshape(spec.height, spec.width, spec.channels)
    wide = law.enlarge(image) if spec.enlarge else image
    return (law.dequantise(wide, spec.scale, spec.zero).transpose(2, 0, 1)[None],)


def _quantise(spec: q.QuantiseSpec, inputs: Sequence[Array], constants: Sequence[Array]) -> tuple[Array]:
    return (law.quantise(inputs[0], spec.inverse_scale, spec.zero, spec.dtype),)


def _dequantise(spec: q.DequantiseSpec, inputs: Sequence[Array], constants: Sequence[Array]) -> tuple[Array]:
    return (law.dequantise(inputs[0], spec.scale, spec.zero),)


def _convert(spec: q.ConvertSpec, inputs: Sequence[Array], constants: Sequence[Array]) -> tuple[Array]:
    return (law.convert(inputs[0], spec.mul, spec.shift, spec.zero),)


def copied(spec: Any, inputs: Sequence[Array], constants: Sequence[Array]) -> tuple[Array]:
    """A copy: the views say from where to where."""
    return (inputs[0],)


INTEGER: Mapping[type, Function] = {
    q.QLinearSpec: _linear,
    q.QPatchEmbedSpec: _patch_embed,
    q.QLayerNormSpec: _layer_norm,
    q.QAttentionSpec: _attention,
    q.QRouterSpec: _router,
    q.QExpertSpec: _experts,
    q.QCombineSpec: _combine,
    q.QConv2dSpec: _conv,
    q.QBilinearSpec: _bilinear,
    q.QuantiseImageSpec: _quantise_image,
    q.DequantiseImageSpec: _dequantise_image,
    q.QuantiseSpec: _quantise,
    q.DequantiseSpec: _dequantise,
    q.ConvertSpec: _convert,
    q.QCopySpec: copied,
}
"""What each integer step computes."""
