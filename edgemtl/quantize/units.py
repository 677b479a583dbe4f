"""Steps without weights in integers: LayerNorm, attention, routing, resizing, copies."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from edgemtl import operators as ops
from edgemtl.errors import InternalError, UnsupportedError
from edgemtl.hw import law
from edgemtl.hw.arith import encode_scale
from edgemtl.hw.law import GATE_BITS, MOST_TOKENS
from edgemtl.hw.law_weightless import Rescale
from edgemtl.lowering.ir import OUTPUT, Constant, dense
from edgemtl.operators import Array
from edgemtl.operators.resize import linear_taps
from edgemtl.quantize.elementwise import look_up, resample, resample_to
from edgemtl.quantize.layers import score_shift
from edgemtl.quantize.limits import ATTENTION, ATTENTION_RANGE, GIVEN_WEIGHTS
from edgemtl.quantize.norms import NormPlan
from edgemtl.quantize.tensors import Tensor, router_fraction_bits, symmetric
from edgemtl.quantize.writer import Writer


def write_layer_norm(writer: Writer, spec: ops.LayerNorm, norm: NormPlan) -> None:
    """A LayerNorm whose gamma and beta are folded into its readers."""
    base = symmetric(norm.reach, writer.name, norm.wide)
    tensor = replace(base, fold=norm.fold, shift=norm.shift)
    rows = writer.stream_view(writer.source["x"])
    epsilon = max(1, round(spec.epsilon * spec.dim**2 / writer.stream_tensor.scale**2))
    # The scale is the reciprocal of an LSB, which may exceed 2: its octaves go into the law's shift.
    mul, shift = encode_scale(1 / base.scale / 2**OCTAVES, writer.name)
    offset = np.clip(np.rint(norm.offset / base.scale), -128, 127).astype(np.int8)
    constants = {
        "halvings": Constant(f"{writer.name}.halvings", norm.halvings),
        "offset": Constant(f"{writer.name}.offset", offset),
    }
    operator = ops.QLayerNorm(spec.rows, spec.dim, epsilon, mul, shift - OCTAVES, norm.wide)
    if not operator.leaves_shift:
        reason = f"its scale leaves no shift to rows of {spec.dim} values that hardly vary"
        raise UnsupportedError(writer.name, reason, "keep it in float (--keep-float)")
    with writer.output(tensor) as out:
        writer.step(operator, {"x": rows, "y": out}, constants)


OCTAVES = 12
"""The LSB of a normalised row is larger than 2^-12."""


def write_attention(writer: Writer, spec: ops.Attention) -> None:
    """Attention over q, k and v with the scales their layer gave them."""
    view, tensor = writer.byte_view(writer.source["qkv"])
    if tensor.parts is None or spec.tokens > MOST_TOKENS:
        raise UnsupportedError(writer.name, ATTENTION, "keep it in float (--keep-float)")
    result = symmetric(writer.range().reach, writer.name, writer.is_wide)
    ratio = encode_scale(tensor.parts[2] / result.scale / 2**OCTAVES, writer.name)
    shift = score_shift(tensor.parts, spec.scale) - writer.is_wide  # scores of one more fraction bit
    if shift < 1:
        reason = f"{ATTENTION_RANGE} with 12-bit activations"
        raise UnsupportedError(writer.name, reason, "keep it in float (--keep-float)")
    operator = ops.QAttention(
        spec.tokens, spec.heads, spec.head_dim, shift, ratio[0], ratio[1] - OCTAVES, writer.is_wide
    )
    with writer.output(result) as out:
        writer.step(operator, {"qkv": view, "y": out})


def write_router(writer: Writer, spec: ops.Router) -> None:
    """Routes from 16-bit logits; weights become integers, slots and tokens stay as they are."""
    threshold = math.ceil(spec.threshold * 2**GATE_BITS)
    sizes = spec.tokens, spec.experts, spec.top_k, spec.candidates
    source = writer.source
    view, tensor = writer.logit_view(source["logits"])
    router = ops.QRouter(*sizes, spec.normalize, threshold, router_fraction_bits(tensor))
    weights = Tensor("int16", 2.0**-GATE_BITS)
    writer.check_scale(weights)
    writer.define(source["weights"].buffer, weights)
    views = {name: source[name] for name in ("slots", "tokens", "offsets")}
    writer.step(router, {"logits": view, "weights": replace(source["weights"], dtype="int32"), **views})


def write_combine(writer: Writer, spec: ops.Combine) -> None:
    """The weighted sum of the experts' results, added to the residual stream.

    Raises UnsupportedError for weights that the model computed or rounds: they may have any sign and size.
    """
    source = writer.source
    weights = source["weights"].buffer
    if writer.tensors[weights].dtype == "float32" or weights in writer.own:
        raise UnsupportedError(writer.name, GIVEN_WEIGHTS, f"keep it in float (--keep-float '{writer.name}')")
    views = {
        "x": writer.stream_view(source["x"]),
        "weights": replace(source["weights"], dtype="int32"),
        "slots": source["slots"],
    }
    if spec.residual:
        views["residual"] = writer.stream_view(source["residual"])
    combine = ops.QCombine(spec.tokens, spec.top_k, spec.dim, spec.residual)
    with writer.output(writer.stream_tensor) as out:
        writer.step(combine, {**views, "y": out})


def write_resize(writer: Writer, spec: ops.Resize) -> None:
    """Bilinear resizing. The final one writes float32 planes, by 2 without rounding. What reads float32 stays so."""
    ratio = spec.out_height / spec.height, spec.out_width / spec.width
    source = writer.source["x"]
    if writer.tensors[source.buffer].dtype == "float32":
        writer.keep(writer.source)
        return
    sizes = spec.height, spec.width, spec.channels
    view, tensor = writer.integer_view(source), writer.tensors[source.buffer]
    by_taps = ops.Resample(*sizes, spec.out_height, spec.out_width, 2, 2)
    if not spec.planar and (ratio != (2, 2) or tensor.dtype == "int16"):
        resample(writer, by_taps, _taps(spec))
        return
    if not spec.planar:
        view, tensor = writer.plain_view(source)
        with writer.output(tensor) as out:
            writer.step(ops.QBilinear(spec.height, spec.width, spec.channels), {"x": view, "y": out})
        return
    upsample = ratio == (2, 2)
    if ratio not in ((1, 1), (2, 2)):
        out = writer.temporary("resized", (spec.out_height * spec.out_width, spec.channels), tensor)
        resample_to(writer, by_taps, _taps(spec), view, out)
        view, sizes = out, (spec.out_height, spec.out_width, spec.channels)
    steps = 16 if upsample else 1
    planes = ops.DequantiseImage(*sizes, upsample, view.dtype, tensor.scale / steps, tensor.zero * steps)
    assert writer.source["y"].buffer == OUTPUT
    writer.check_scale(Tensor("float32"))
    writer.step(planes, {"x": view, "y": writer.source["y"]})


def _taps(spec: ops.Resize) -> dict[str, Array]:
    """Index and weight of both axes by name."""
    taps = {"row": linear_taps(spec.height, spec.out_height), "column": linear_taps(spec.width, spec.out_width)}
    return {f"{axis}_{what}": part for axis, both in taps.items() for what, part in both.items()}


def write_copy(writer: Writer, spec: ops.Copy) -> None:
    """A copy in the type of the source; a copy to the graph's output, or of the image, is one of float32."""
    source, target = writer.source["x"], writer.source["y"]
    tensor = writer.tensors[source.buffer]
    writer.check_scale(tensor)
    if target.buffer == OUTPUT or tensor.dtype == "float32" or source.dtype != "float32":
        writer.step(spec, {"x": writer.float_view(source), "y": target})
        if target.buffer != OUTPUT:
            writer.define(target.buffer, tensor)
        return
    known = writer.tensors.get(target.buffer, tensor)
    if (known.dtype, known.scale, known.zero) != (tensor.dtype, tensor.scale, tensor.zero):
        raise InternalError(f"{writer.name} must copy values of one scale to one place")
    writer.define(target.buffer, tensor)
    writer.copy(writer.integer_view(source), replace(target, dtype=tensor.dtype))


def write_rounding(writer: Writer, spec: ops.Quantise, in_float: bool) -> None:
    """A rounding of the model's own that no step took along: of float32, of the image, or to another scale.

    ``in_float``: read float32 whatever there is.
    """
    view, own = writer.source["x"], writer.own_result
    assert own is not None
    x = writer.tensors[view.buffer]
    if in_float or x.dtype == "float32" or x.parts is not None or x.fold is not None:
        writer.round(writer.float_view(view), own)
        return
    assert own.dtype != "float32"
    if writer.is_literal and (x.dtype, own.dtype) == ("int8", "int8"):
        real = law.dequantise(np.arange(-128, 128, dtype=np.int8), x.scale, x.zero)
        look_up(writer, writer.integer_view(view), law.quantise(real, 1 / own.scale, own.zero, "int8")[None], own)
        return
    how = Rescale(x.zero, *writer.encode(x.scale / own.scale), own.zero)
    with writer.output(own) as out:
        convert = ops.Convert(spec.size, x.dtype, own.dtype, how)
        writer.step(convert, {"x": writer.integer_view(view), "y": dense(out.buffer, (spec.size,), own.dtype)})
