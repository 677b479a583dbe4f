"""Layers with weights in integers: patch embedding, linear layers, experts, convolutions."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from edgemtl import operators as ops
from edgemtl.errors import UnsupportedError
from edgemtl.hw.arith import INT8, INT16
from edgemtl.hw.law import Finish
from edgemtl.lowering.ir import INPUTS, Constant, Step, View, dense, space_of
from edgemtl.operators import Array
from edgemtl.operators.activations import SATURATING, activate
from edgemtl.quantize.limits import ATTENTION_SCALE, CONV_GROUPS, ONE_BYTE, SIDE_BY_SIDE, WEIGHT_FORM, WEIGHT_RANGE
from edgemtl.quantize.observe import Range
from edgemtl.quantize.tensors import Tensor, affine
from edgemtl.quantize.weights import PROBED, IntegerLayer, find_levels, quantise_layer
from edgemtl.quantize.writer import Writer

FLAT: Mapping[str, tuple[float, float]] = {
    "gelu": (-4.5, math.inf),
    "gelu_tanh": (-4.5, math.inf),
    "silu": (-12.0, math.inf),
    "mish": (-12.0, math.inf),
    "sigmoid": (-7.0, 7.0),
    "tanh": (-3.5, 3.5),
    "hard_sigmoid": (-3.0, 3.0),
    "hard_swish": (-3.0, math.inf),
}
"""Inputs where a curve has reached its limits: sums that saturate there lose less than half an LSB of the result."""


@dataclass(frozen=True)
class Ending:
    """How a layer ends: its result, the tensor its sums are requantised to, and the table between the two."""

    result: Tensor
    sums: Tensor
    table: Mapping[str, Constant] = field(default_factory=dict)
    low: int = INT8[0]

    @property
    def how(self) -> Finish:
        """The same as a `Finish` of the integer law."""
        assert self.sums.dtype != "float32"
        return Finish(self.sums.dtype, self.sums.zero, self.low)


def plan_ending(writer: Writer, activation: str, reach: float | None = None) -> Ending:
    """How the layer ends. Raises UnsupportedError for an activation with a 16-bit result: tables have 8 bits.

    ``reach``: the largest magnitude that the layer's sums can have; of use where nothing says more about its result.
    """
    if reach and not activation and writer.is_unknown:
        result = Tensor("int16", reach / INT16[1])
        return Ending(result, result)
    result = writer.output_tensor(activation)
    if result.dtype == "int16":
        if activation:
            reason = f"{activation} {ONE_BYTE}, and a reader wants 16"
            raise UnsupportedError(writer.name, reason, "keep it in float (--keep-float)")
        return Ending(result, result)
    if activation in SATURATING:
        return _saturated(writer, activation, result)
    before, (low, high) = writer.range("pre"), FLAT[activation]
    sums = affine(Range(max(before.low, low), min(before.high, high)), writer.name)
    table = curve_table(activation, sums, result)
    return Ending(result, sums, {"table": Constant(f"{writer.name}.table", table)})


def _saturated(writer: Writer, activation: str, result: Tensor) -> Ending:
    """An activation that saturation computes: that of the type, a larger least byte, or a table of the same bytes."""
    if not activation or is_within(result, activation):
        return Ending(result, result)
    if activation == "relu":
        return Ending(result, result, low=result.zero)
    return Ending(result, result, {"table": Constant(f"{writer.name}.table", curve_table(activation, result, result))})


def is_within(result: Tensor, activation: str) -> bool:
    """Whether a tensor reaches no further than what a saturating activation gives, but for rounding."""
    low, high = activate(np.array([-np.inf, np.inf]), activation)
    return bool(result.ends[0] >= low and result.ends[1] <= high + result.scale / 256)


def curve_table(activation: str, sums: Tensor, result: Tensor) -> Array:
    """int8 [256]: the activation of every byte, by byte + 128, rounded to the nearest step of the result."""
    x = (np.arange(-128, 128) - sums.zero) * sums.scale
    steps = np.floor(activate(x, activation) / result.scale + 0.5) + result.zero
    return np.asarray(np.clip(steps, *INT8), np.int8)


def unfolded(weight: Array, bias: Array, x: Tensor) -> tuple[Array, Array]:
    """Weight [k, n] and bias [n] in float64, with the fold and shift of the tensor x applied."""
    wide = weight.astype(np.float64)
    total = bias.astype(np.float64)
    if x.shift is not None:
        total = total + (x.shift[:, None] * wide).sum(0)
    return (wide if x.fold is None else x.fold[:, None] * wide), total


def reach_of(weight: Array, bias: Array, x: Tensor) -> float:
    """The largest magnitude of x weight + bias for any x of its tensor; weight [k, n], bias [n]."""
    ends = [np.maximum(weight * end, weight * other).sum(0) for end, other in (x.ends, (-x.ends[0], -x.ends[1]))]
    return float(max(np.abs(ends[0] + bias).max(), np.abs(ends[1] - bias).max()))


def _integers(writer: Writer, weight: Array, bias: Array, x: Tensor, y_scale: Array) -> IntegerLayer:
    """The layer's integers: its own where its weights were quantised before, else new ones.

    In a model that has scales of its own, new ones are noted. Raises UnsupportedError there where there are no images
    to ask for new ones, and where the model's are integers that the law has no place for.
    """
    # Few weights of a float model may look like integers.
    levels = find_levels(weight) if writer.own or len(weight) >= PROBED else None
    if not writer.own:
        levels = None if levels is None or levels.max() > 127 else levels
        return quantise_layer(writer.name, weight, bias, x.scale, x.zero, y_scale, levels)
    if levels is not None and levels.max() > 127:
        raise UnsupportedError(writer.name, WEIGHT_RANGE, "quantise the model with symmetric weights")
    if levels is None and not writer.seen.ranges:
        raise UnsupportedError(writer.name, WEIGHT_FORM, "add --calibration FOLDER to quantise it")
    if levels is None:
        writer.coarsened.append(writer.name)
    return quantise_layer(writer.name, weight, bias, x.scale, x.zero, y_scale, levels)


def constants_of(name: str, layer: IntegerLayer) -> dict[str, Constant]:
    """The three constants of a layer."""
    return {
        "weight": Constant(f"{name}.int8", layer.weight),
        "bias": Constant(f"{name}.bias", layer.bias),
        "scale": Constant(f"{name}.scale", layer.scale),
    }


def write_linear(writer: Writer, spec: ops.Linear) -> None:
    """A linear layer; the one that makes q, k and v has a scale for each."""
    source = writer.source
    view, x = writer.byte_view(source["x"])
    weight, bias = unfolded(source.constant("weight").array, source.constant("bias").array, x)
    needs = writer.needs[source["y"].buffer]
    if "qkv" in needs and len(needs) > 1 and writer.own_result is None:
        # Their three scales are known to attention alone.
        raise UnsupportedError(writer.name, SIDE_BY_SIDE, "keep the layer and the attention in float (--keep-float)")
    if "qkv" in needs and writer.own_result is None:
        ending = plan_qkv(writer)
        assert ending.result.parts is not None
        scales = np.repeat(ending.result.parts, spec.n // 3)
    else:
        ending = plan_ending(writer, spec.activation, None if spec.residual else reach_of(weight, bias, x))
        scales = np.array([ending.sums.scale])
    layer = _integers(writer, weight, bias, x, scales)
    residual = {"residual": writer.stream_view(source["residual"])} if spec.residual else {}
    linear = ops.QLinear(spec.rows, spec.k, spec.n, ending.how, bool(ending.table), spec.residual)
    with writer.output(ending.result) as out:
        constants = constants_of(source.constant("weight").name, layer)
        writer.step(linear, {"x": view, **residual, "y": out}, {**constants, **ending.table})
        writer.summed(ending.sums)
        if not ending.table:
            writer.correct(layer.unit)


def plan_qkv(writer: Writer) -> Ending:
    """q, k and v side by side: see `attention_scales`. K and V are used as weights, so all values stay above -128."""
    reading = (i for i, s in enumerate(writer.float_steps) if writer.source.result.buffer in _reads(s))
    index = next(reading, None)
    if index is None:
        raise UnsupportedError(writer.name, SIDE_BY_SIDE, "keep the layer and the attention in float (--keep-float)")
    spec = writer.float_steps[index].operator
    assert isinstance(spec, ops.Attention)
    reaches = tuple(writer.observed(f"{index}.{part}").reach for part in "qkv")
    scales = attention_scales(writer.name, reaches[0], reaches[1], reaches[2], spec.scale)
    result = Tensor("int8", parts=scales)
    return Ending(result, result, low=-127)


def _reads(step: Step) -> set[str]:
    """The buffers an attention step reads; none of another step."""
    return {v.buffer for v in step.inputs} if isinstance(step.operator, ops.Attention) else set()


def attention_scales(
    what: str, q_reach: float, k_reach: float, v_reach: float, scale: float
) -> tuple[float, float, float]:
    """Scales of q, k and v such that scores are a power of two times 1/64 of an octave.

    q's and k's scales grow alike, by at most the root of two, until their product times scale log2(e) is 2^-(n + 6)
    with a whole n >= 1. Raises UnsupportedError where the scores are too large for that, or the scale is negative.
    """
    if scale <= 0 or not min(q_reach, k_reach, v_reach) > 0:
        raise UnsupportedError(what, ATTENTION_SCALE, "keep it in float (--keep-float)")
    product = (q_reach / 127) * (k_reach / 127) * scale * np.log2(np.e)
    octaves = int(np.floor(-np.log2(product)))
    if octaves < 7:
        raise UnsupportedError(what, "attention scores are too large for 16 bits", "keep it in float (--keep-float)")
    grow = float(np.sqrt(2.0**-octaves / product))
    return q_reach / 127 * grow, k_reach / 127 * grow, v_reach / 127


def score_shift(parts: tuple[float, float, float], scale: float) -> int:
    """The n of `attention_scales`."""
    return round(-float(np.log2(parts[0] * parts[1] * scale * np.log2(np.e)))) - 6


def write_experts(writer: Writer, spec: ops.Experts) -> None:
    """One linear layer of every expert: one scale of inputs, one of outputs, so that one table serves all."""
    source = writer.source
    view, x = writer.byte_view(source["x"])
    ending = plan_ending(writer, spec.activation)
    y_scale = np.array([ending.sums.scale])
    experts = []
    for expert in range(spec.slots):
        weight, bias = source.constant("weight", expert), source.constant("bias", expert)
        layer = _integers(writer, *unfolded(weight.array, bias.array, x), x, y_scale)
        experts.append(constants_of(weight.name, layer))
    repeated = {name: [constants[name] for constants in experts] for name in ("weight", "bias", "scale")}
    queues = {"tokens": source["tokens"], "offsets": source["offsets"]}
    sizes = spec.tokens, spec.top_k, spec.slots, spec.k, spec.n, spec.gather
    with writer.output(ending.result) as out:
        operator = ops.QExperts(*sizes, ending.how, bool(ending.table))
        writer.step(operator, {"x": view, **queues, "y": out}, {**repeated, **ending.table})
        writer.summed(ending.sums)


def write_conv(writer: Writer, spec: ops.Conv2d) -> None:
    """A convolution that pads with the zero point, in one group or depthwise. Raises UnsupportedError for others."""
    source = writer.source
    view, x = writer.byte_view(source["x"])
    is_depthwise = spec.groups == spec.cin == spec.cout
    if spec.groups != 1 and not is_depthwise:
        reason = f"{CONV_GROUPS}, not {spec.groups} of {spec.cin}"
        raise UnsupportedError(writer.name, reason, "keep it in float (--keep-float)")
    kernel = source.constant("weight").array
    flat = kernel.transpose(1, 2, 3, 0).reshape(-1, spec.cout)
    taps = spec.kernel[0] * spec.kernel[1]
    spread = Tensor(x.dtype, x.scale, x.zero, _repeated(x.fold, taps), _repeated(x.shift, taps))
    weight, bias = unfolded(flat, source.constant("bias").array, spread)
    ending = plan_ending(writer, spec.activation, reach_of(weight, bias, x))
    layer = _integers(writer, weight, bias, x, np.array([ending.sums.scale]))
    integers = layer.weight.reshape(spec.cin // spec.groups, *spec.kernel, spec.cout).transpose(3, 0, 1, 2)
    name = source.constant("weight").name
    constants = constants_of(name, layer) | {"weight": Constant(f"{name}.int8", np.ascontiguousarray(integers))}
    geometry = spec.kernel, spec.stride, spec.pad, spec.dilation
    sizes = spec.height, spec.width, spec.cin, spec.cout, spec.out_height, spec.out_width
    with writer.output(ending.result) as out:
        conv = ops.QConv2d(*sizes, *geometry, x.zero, ending.how, bool(ending.table), spec.groups)
        writer.step(conv, {"x": view, "y": out}, {**constants, **ending.table})
        writer.summed(ending.sums)
        if not ending.table:
            writer.correct(layer.unit)


def _repeated(values: Array | None, taps: int) -> Array | None:
    return None if values is None else np.repeat(values, taps)


def _cut_patches(writer: Writer, spec: ops.PatchEmbed, cut: View) -> Tensor:
    """Write the patches of an image, as bytes of the tensor that is returned: quantised where it is an input, else
    moved.
    """
    image, patch = writer.source["image"], spec.patch
    if space_of(image.buffer) == INPUTS:
        x = affine(writer.observed(image.buffer), writer.name)
        writer.define(cut.buffer, x, cut.size)
        size = spec.channels, spec.height, spec.width, patch
        writer.step(ops.QuantiseImage(*size, 1 / x.scale, x.zero), {"x": image, "y": cut})
        return x
    view, x = writer.plain_view(image)
    writer.define(cut.buffer, x, cut.size)
    rows, columns = spec.height // patch, spec.width // patch

    def grid(a: Array) -> Array:
        whole = a[0, :, : rows * patch, : columns * patch]
        return whole.reshape(spec.channels, rows, patch, columns, patch).transpose(1, 3, 0, 2, 4)

    goal = cut.reshape((rows, columns, spec.channels, patch, patch))
    assert goal is not None, "patches are dense"
    writer.copy(view.apply(grid), goal)
    return x


def write_patch_embed(writer: Writer, spec: ops.PatchEmbed) -> None:
    """Quantise the image and cut it into patches, then embed these into the residual stream."""
    source = writer.source
    patches, depth = (spec.height // spec.patch) * (spec.width // spec.patch), spec.channels * spec.patch**2
    cut = dense(f"{source.result.buffer}.patches", (patches, depth), "int8")
    x = _cut_patches(writer, spec, cut)
    kernel, table = source.constant("weight"), source.constant("table")
    weight = kernel.array.reshape(spec.dim, -1).T.astype(np.float64)
    stream = writer.stream_tensor
    layer = _integers(writer, weight, np.zeros(spec.dim), x, np.array([stream.scale]))
    added = np.clip(np.rint(table.array.astype(np.float64) / stream.scale), *INT16).astype(np.int16)
    embed = ops.QPatchEmbed(patches, depth, spec.dim, spec.leading)
    with writer.output(stream) as out:
        constants = constants_of(kernel.name, layer) | {"table": Constant(f"{table.name}.int16", added)}
        writer.step(embed, {"x": cut, "y": out}, constants)
        writer.summed(stream)
        writer.correct(layer.unit)
