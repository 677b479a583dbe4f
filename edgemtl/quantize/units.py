"""Steps without weights in integers: LayerNorm, attention, routing, resizing, copies."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from edgemtl.errors import UnsupportedError
from edgemtl.hw.arith import encode_scale
from edgemtl.hw.law import GATE_BITS, MOST_TOKENS, MOST_WIDTH
from edgemtl.lowering.ir import OUTPUT, Constant
from edgemtl.quantize.layers import score_shift
from edgemtl.quantize.norms import Norm
from edgemtl.quantize.tensors import Tensor, symmetric
from edgemtl.quantize.writer import Writer
from edgemtl.tvm_bridge import specs, specs_conv
from edgemtl.tvm_bridge import specs_int8 as q


def write_layer_norm(writer: Writer, spec: specs.LayerNormSpec, norm: Norm) -> None:
    """A LayerNorm whose gamma and beta lie in its readers."""
    if spec.dim > MOST_WIDTH:
        reason = f"a LayerNorm has an integer form up to a width of {MOST_WIDTH}, not {spec.dim}"
        raise UnsupportedError(writer.name, reason, "keep it in float (--keep-float)")
    base = symmetric(norm.reach, writer.name)
    tensor = Tensor("int8", base.scale, 0, norm.fold, norm.shift)
    inputs = (writer.stream_view(writer.source.inputs[0]),)
    epsilon = max(1, round(spec.epsilon * spec.dim**2 / writer.stream**2))
    # The scale is one over a step, which may be larger than 2: its octaves lie in the law's shift.
    mul, shift = encode_scale(1 / base.scale / 2**OCTAVES, writer.name)
    offset = np.clip(np.rint(norm.offset / base.scale), -128, 127).astype(np.int8)
    constants = (
        Constant(f"{writer.name}.halvings", norm.halvings),
        Constant(f"{writer.name}.offset", offset),
    )
    made = q.QLayerNormSpec(spec.rows, spec.dim, epsilon, mul, shift - OCTAVES)
    with writer.output(tensor) as out:
        writer.step(made, inputs, (out,), constants)


OCTAVES = 8
"""A step of a normalised row is coarser than 2^-8."""


def write_attention(writer: Writer, spec: specs.AttentionSpec) -> None:
    """Attention over q, k and v with the scales their layer gave them."""
    view, tensor = writer.byte_view(writer.source.inputs[0])
    if tensor.parts is None or spec.tokens > MOST_TOKENS:
        reason = f"attention has an integer form behind one layer that makes q, k and v, up to {MOST_TOKENS} tokens"
        raise UnsupportedError(writer.name, reason, "keep it in float (--keep-float)")
    result = symmetric(writer.range().reach, writer.name)
    ratio = encode_scale(tensor.parts[2] / result.scale / 2**OCTAVES, writer.name)
    shift = score_shift(tensor.parts, spec.scale)
    made = q.QAttentionSpec(spec.tokens, spec.heads, spec.head_dim, shift, ratio[0], ratio[1] - OCTAVES)
    with writer.output(result) as out:
        writer.step(made, (view,), (out,))


def write_router(writer: Writer, spec: specs.RouterSpec) -> None:
    """Routes from 16-bit logits; weights are integers too, slots and tokens what they were."""
    threshold = math.ceil(spec.threshold * 2**GATE_BITS)
    sizes = spec.tokens, spec.experts, spec.top_k, spec.candidates
    made = q.QRouterSpec(*sizes, spec.normalize, threshold)
    weight, *places = writer.source.outputs
    writer.define(weight.buffer, Tensor("int16", 2.0**-GATE_BITS))
    logits = writer.logit_view(writer.source.inputs[0])
    writer.step(made, (logits,), (replace(weight, dtype="int32"), *places))


def write_combine(writer: Writer, spec: specs.CombineSpec) -> None:
    """The experts' results on the residual stream."""
    results, weight, slot, *residual = writer.source.inputs
    inputs = (writer.stream_view(results), replace(weight, dtype="int32"), slot, *map(writer.stream_view, residual))
    made = q.QCombineSpec(spec.tokens, spec.top_k, spec.dim, spec.residual)
    with writer.output(Tensor("int16", writer.stream)) as out:
        writer.step(made, inputs, (out,))


def write_resize(writer: Writer, spec: specs_conv.ResizeSpec) -> None:
    """Enlargement by 2; the last one goes to float32 planes and rounds nothing, and one of float32 stays what it is.

    Raises UnsupportedError for others.
    """
    ratio = spec.out_height / spec.height, spec.out_width / spec.width
    if ratio not in ((1, 1), (2, 2)) or (ratio == (1, 1) and not spec.planar):
        reason = f"a resize has an integer form for a factor of 2, not {ratio[0]:g} x {ratio[1]:g}"
        raise UnsupportedError(writer.name, reason, "keep it in float (--keep-float)")
    source = writer.source.inputs[0]
    if writer.tensors[source.buffer].dtype == "float32":
        writer.keep(writer.source)
        return
    if not spec.planar:
        view, tensor = writer.byte_view(source)
        with writer.output(tensor) as out:
            writer.step(q.QBilinearSpec(spec.height, spec.width, spec.channels), (view,), (out,))
        return
    view, tensor = writer.integer_view(source), writer.tensors[source.buffer]
    enlarge = ratio == (2, 2)
    steps = 16 if enlarge else 1
    sizes = spec.height, spec.width, spec.channels
    made = q.DequantiseImageSpec(*sizes, enlarge, view.dtype, tensor.scale / steps, tensor.zero * steps)
    assert writer.source.outputs[0].buffer == OUTPUT
    writer.step(made, (view,), writer.source.outputs)


def write_copy(writer: Writer, spec: specs.CopySpec) -> None:
    """A copy of whatever the source holds; to the graph's output, and of the image, it is one of float32."""
    source, target = writer.source.inputs[0], writer.source.outputs[0]
    tensor = writer.tensors[source.buffer]
    if target.buffer == OUTPUT or tensor.dtype == "float32" or source.dtype != "float32":
        writer.step(spec, (writer.float_view(source),), (target,))
        if target.buffer != OUTPUT:
            writer.define(target.buffer, tensor)
        return
    writer.define(target.buffer, tensor)
    writer.copy(writer.integer_view(source), replace(target, dtype=tensor.dtype))
