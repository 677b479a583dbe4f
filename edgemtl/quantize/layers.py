"""Layers with weights in integers: patch embedding, linear layers, experts, convolutions."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from operator import itemgetter

import numpy as np

from edgemtl import operators as ops
from edgemtl.errors import UnsupportedError
from edgemtl.hw.arith import INT8, INT16, encode_ratios
from edgemtl.hw.law import WIDE, Finish
from edgemtl.hw.law_weightless import CURVE_KNOTS, RATIO_BITS, Rescale
from edgemtl.lowering.ir import INPUTS, Constant, Step, View, dense, space_of
from edgemtl.operators import Array
from edgemtl.operators.activations import SATURATING, activate
from edgemtl.quantize.limits import ATTENTION_RANGE, ATTENTION_SCALE, SIDE_BY_SIDE
from edgemtl.quantize.observe import Range
from edgemtl.quantize.tensors import Tensor, affine, wide
from edgemtl.quantize.weights import IntegerLayer, quantise_layer
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

LEVEL: Mapping[str, float] = {"sigmoid": 12.0, "tanh": 7.0, "hard_sigmoid": 3.0}
"""Magnitudes from which on a curve is level in 16 bits."""


@dataclass(frozen=True)
class Ending:
    """How a layer ends: its result, the tensor its sums are requantised to, and the table between the two.

    curve: the function of a step behind the layer, where the result has 16 bits.
    """

    result: Tensor
    sums: Tensor
    table: Mapping[str, Constant] = field(default_factory=dict)
    low: int = INT8[0]
    curve: Callable[[Array], Array] | None = None

    @property
    def how(self) -> Finish:
        """The same as a `Finish` of the integer law."""
        assert self.sums.dtype != "float32"
        return Finish(self.sums.dtype, self.sums.zero, self.low, self.sums.wide)


def rectified(writer: Writer) -> Tensor:
    """The tensor of a result behind a Relu: 16 bits where it is the graph's output, 8 where others read it."""
    return writer.output_tensor() if "final" in writer.result_needs else writer.byte_tensor()


def plan_ending(writer: Writer, activation: str) -> Ending:
    """How the layer ends; behind an activation in 8 bits, unless it gives the graph's output."""
    if not activation:
        result = writer.output_tensor()
        return Ending(result, result)
    if activation == "relu":
        result = rectified(writer)
        return Ending(result, result, low=0 if result.dtype == "int16" else INT8[0])
    if activation in SATURATING:
        result = writer.byte_tensor()
        return Ending(result, result)
    if "final" in writer.result_needs:
        sums = wide(min(writer.range("pre").reach, LEVEL.get(activation, math.inf)), writer.name)
        return Ending(writer.output_tensor(), sums, curve=partial(activate, activation=activation))
    return _curved(writer, activation, writer.byte_tensor())


@contextmanager
def ended(writer: Writer, ending: Ending, shape: tuple[int, ...]) -> Iterator[View]:
    """Where a layer's step writes; a curve of 16 bits is a step behind it."""
    if ending.curve is None:
        with writer.output(ending.result) as out:
            yield out
        return
    y = writer.temporary("sums", shape, ending.sums)
    yield y
    write_curve(writer, y, ending.curve, ending.result)


def write_curve(writer: Writer, x: View, function: Callable[[Array], Array], result: Tensor) -> None:
    """A function of int16 ``x``, by its knots."""
    knots = function((np.arange(CURVE_KNOTS) * 256.0 - 2**15) * writer.tensors[x.buffer].scale)
    entries = np.clip(np.rint(knots / result.scale), *INT16).astype(np.int16)
    with writer.output(result) as out:
        source, target = (view.reshape((view.size,)) for view in (x, out))
        assert source is not None
        assert target is not None
        table = {"table": Constant(f"{writer.name}.table", entries)}
        writer.step(ops.QCurve(x.size), {"x": source, "y": target}, table)


def plan_sum(writer: Writer, activation: str) -> Ending:
    """How a layer ends whose result is added to the residual stream: in bytes behind a curve or an upper bound."""
    if activation in ("", "relu"):
        stream = Tensor("int16", writer.stream)
        return Ending(stream, stream, low=0 if activation else INT8[0])
    if activation in SATURATING:
        bytes_ = affine(Range(0.0, float(activate(np.array(np.inf), activation))), writer.name)
        return Ending(bytes_, bytes_)
    before = writer.range("pre")
    curve = activate(np.linspace(before.low, before.high, 1024), activation)
    result = affine(Range(min(float(curve.min()), 0.0), max(float(curve.max()), 0.0)), writer.name)
    return _curved(writer, activation, result)


def add_residual(writer: Writer, y: View, bytes_: Tensor) -> None:
    """The step's result, 16 bits of the residual stream: bytes and the residual."""
    residual, stream = writer.stream_view(writer.source["residual"]), Tensor("int16", writer.stream)
    (mul, one), shift = encode_ratios((bytes_.scale / stream.scale, 1.0), RATIO_BITS, writer.name)
    offset = -bytes_.zero * mul
    with writer.output(stream) as out:
        operator = ops.QAdd(y.shape, residual.shape, "int8", "int16", (mul, one), offset, shift, Finish("int16"))
        writer.step(operator, {"a": y, "b": residual, "y": out})


def _curved(writer: Writer, activation: str, result: Tensor) -> Ending:
    """An activation by a table of the bytes that the sums become."""
    before, (low, high) = writer.range("pre"), FLAT[activation]
    sums = affine(Range(max(before.low, low), min(before.high, high)), writer.name, result.wide)
    table = curve_table(activation, sums, result)
    return Ending(result, sums, {"table": Constant(f"{writer.name}.table", table)})


def curve_table(activation: str, sums: Tensor, result: Tensor) -> Array:
    """int8 [256]: the activation of every byte, by byte + 128, rounded to the nearest step of the result.

    Of wide sums int16 [4096], by value + 2048.
    """
    low, high = WIDE if sums.wide else INT8
    x = (np.arange(low, high + 1) - sums.zero) * sums.scale
    steps = np.floor(activate(x, activation) / result.scale + 0.5) + result.zero
    return np.asarray(np.clip(steps, low, high), result.dtype)


def unfolded(weight: Array, bias: Array, x: Tensor) -> tuple[Array, Array]:
    """Weight [k, n] and bias [n] in float64, with the fold and shift of the tensor x applied."""
    wide = weight.astype(np.float64)
    total = bias.astype(np.float64)
    if x.shift is not None:
        total = total + (x.shift[:, None] * wide).sum(0)
    return (wide if x.fold is None else x.fold[:, None] * wide), total


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
    view, x = writer.activation_view(source["x"])
    weight, bias = unfolded(source.constant("weight").array, source.constant("bias").array, x)
    needs = writer.needs[source["y"].buffer]
    if "qkv" in needs and len(needs) > 1:
        # Their three scales are known to attention alone.
        raise UnsupportedError(writer.name, SIDE_BY_SIDE, "keep the layer and the attention in float (--keep-float)")
    if "qkv" in needs:
        ending = plan_qkv(writer)
        assert ending.result.parts is not None
        scales = np.repeat(ending.result.parts, spec.n // 3)
    else:
        ending = plan_sum(writer, spec.activation) if spec.residual else plan_ending(writer, spec.activation)
        scales = np.array([ending.sums.scale])
    layer = quantise_layer(writer.name, weight, bias, x, scales)
    constants = {**constants_of(source.constant("weight").name, layer), **ending.table}
    is_added_behind = spec.residual and ending.result.dtype == "int8"
    joined = spec.residual and not is_added_behind
    residual = {"residual": writer.stream_view(source["residual"])} if joined else {}
    linear = ops.QLinear(spec.rows, spec.k, spec.n, ending.how, bool(ending.table), joined, x.wide)
    if is_added_behind:
        y = writer.temporary("activated", (spec.rows, spec.n), ending.result)
        writer.step(linear, {"x": view, "y": y}, constants)
        writer.summed(ending.sums)
        add_residual(writer, y, ending.result)
        return
    with ended(writer, ending, (spec.rows, spec.n)) as out:
        writer.step(linear, {"x": view, **residual, "y": out}, constants)
        writer.summed(ending.sums)
        if not ending.table and ending.curve is None:
            writer.correct(layer.unit)


def plan_qkv(writer: Writer) -> Ending:
    """q, k and v side by side: see `attention_scales`. K and V are used as weights, so all values stay above -128."""
    reading = (i for i, s in enumerate(writer.float_steps) if writer.source.result.buffer in _reads(s))
    index = next(reading, None)
    if index is None:
        raise UnsupportedError(writer.name, SIDE_BY_SIDE, "keep the layer and the attention in float (--keep-float)")
    spec = writer.float_steps[index].operator
    assert isinstance(spec, ops.Attention)
    reaches = tuple(writer.seen.ranges[f"{index}.{part}"].reach for part in "qkv")
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
        raise UnsupportedError(what, ATTENTION_RANGE, "keep it in float (--keep-float)")
    grow = float(np.sqrt(2.0**-octaves / product))
    return q_reach / 127 * grow, k_reach / 127 * grow, v_reach / 127


def score_shift(parts: tuple[float, float, float], scale: float) -> int:
    """The n of `attention_scales`."""
    return round(-float(np.log2(parts[0] * parts[1] * scale * np.log2(np.e)))) - 6


def write_experts(writer: Writer, spec: ops.Experts) -> None:
    """One linear layer of every expert: one scale of inputs, one of outputs, so that one table serves all."""
    source = writer.source
    view, x = writer.activation_view(source["x"])
    ending = plan_ending(writer, spec.activation)
    y_scale = np.array([ending.sums.scale])
    experts = []
    for expert in range(spec.slots):
        weight, bias = source.constant("weight", expert), source.constant("bias", expert)
        layer = quantise_layer(writer.name, *unfolded(weight.array, bias.array, x), x, y_scale)
        experts.append(constants_of(weight.name, layer))
    repeated = {name: [constants[name] for constants in experts] for name in ("weight", "bias", "scale")}
    queues = {"tokens": source["tokens"], "offsets": source["offsets"]}
    sizes = spec.tokens, spec.top_k, spec.slots, spec.k, spec.n, spec.gather
    with writer.output(ending.result) as out:
        operator = ops.QExperts(*sizes, ending.how, bool(ending.table), x.wide)
        writer.step(operator, {"x": view, **queues, "y": out}, {**repeated, **ending.table})
        writer.summed(ending.sums)


def write_conv(writer: Writer, spec: ops.Conv2d) -> None:
    """A convolution that pads with the zero point: in one group, depthwise, or group by group."""
    source = writer.source
    view, x = writer.byte_view(source["x"])
    if spec.groups not in (1, spec.cin) or spec.groups not in (1, spec.cout):
        write_groups(writer, spec, view, x)
        return
    kernel = source.constant("weight").array
    flat = kernel.transpose(1, 2, 3, 0).reshape(-1, spec.cout)
    taps = spec.kernel[0] * spec.kernel[1]
    spread = Tensor(x.dtype, x.scale, x.zero, _repeated(x.fold, taps), _repeated(x.shift, taps))
    ending = plan_ending(writer, spec.activation)
    weight, bias = unfolded(flat, source.constant("bias").array, spread)
    layer = quantise_layer(writer.name, weight, bias, x, np.array([ending.sums.scale]))
    integers = layer.weight.reshape(spec.cin // spec.groups, *spec.kernel, spec.cout).transpose(3, 0, 1, 2)
    name = source.constant("weight").name
    constants = constants_of(name, layer) | {"weight": Constant(f"{name}.int8", np.ascontiguousarray(integers))}
    geometry = spec.kernel, spec.stride, spec.pad, spec.dilation
    sizes = spec.height, spec.width, spec.cin, spec.cout, spec.out_height, spec.out_width
    with ended(writer, ending, (spec.out_height * spec.out_width, spec.cout)) as out:
        conv = ops.QConv2d(*sizes, *geometry, x.zero, ending.how, bool(ending.table), spec.groups)
        writer.step(conv, {"x": view, "y": out}, {**constants, **ending.table})
        writer.summed(ending.sums)
        if not ending.table and ending.curve is None:
            writer.correct(layer.unit)


def write_groups(writer: Writer, spec: ops.Conv2d, view: View, x: Tensor) -> None:
    """A convolution of several groups: each reads its channels, and their results are put side by side."""
    source, ending, groups = writer.source, plan_ending(writer, spec.activation), spec.groups
    weight, bias = source.constant("weight"), source.constant("bias")
    assert x.fold is None
    cin, cout = spec.cin // groups, spec.cout // groups
    inner = ending.sums if ending.curve else ending.result
    assert inner.dtype != "float32"
    parts = {}
    for group in range(groups):
        own = slice(group * cout, (group + 1) * cout)
        flat = weight.array[own].transpose(1, 2, 3, 0).reshape(-1, cout)
        layer = quantise_layer(writer.name, *unfolded(flat, bias.array[own], x), x, np.array([ending.sums.scale]))
        integers = layer.weight.reshape(cin, *spec.kernel, cout).transpose(3, 0, 1, 2)
        constants = constants_of(f"{weight.name}.{group}", layer)
        constants |= {"weight": Constant(f"{weight.name}.{group}.int8", np.ascontiguousarray(integers)), **ending.table}
        sizes = spec.height, spec.width, cin, cout, spec.out_height, spec.out_width
        geometry = spec.kernel, spec.stride, spec.pad, spec.dilation
        conv = ops.QConv2d(*sizes, *geometry, x.zero, ending.how, bool(ending.table))
        channels = slice(group * cin, (group + 1) * cin)
        y = writer.temporary(f"group{group}", (spec.out_height * spec.out_width, cout), inner)
        writer.step(conv, {"x": view.apply(itemgetter((slice(None), channels))), "y": y}, constants)
        writer.summed(ending.sums)
        parts[f"x{group}"] = y
    same = (Rescale(inner.zero, 1 << 16, 16, inner.zero),) * groups
    rows = spec.out_height * spec.out_width
    side_by_side = ops.QConcat(rows, (cout,) * groups, same, (inner.dtype,) * groups, inner.dtype)
    with ended(writer, ending, (rows, spec.cout)) as out:
        writer.step(side_by_side, {**parts, "y": out})


def _repeated(values: Array | None, taps: int) -> Array | None:
    return None if values is None else np.repeat(values, taps)


def _cut_patches(writer: Writer, spec: ops.PatchEmbed, cut: View) -> tuple[View, Tensor]:
    """Write the patches of an image to ``cut``, or to the same in 12 bits, and return the place and the tensor.

    An input is quantised; bytes that were made of one are moved.
    """
    image, patch = writer.source["image"], spec.patch
    if space_of(image.buffer) == INPUTS:
        x = affine(writer.seen.ranges[image.buffer], writer.name, writer.index in writer.wide.readers)
        cut = replace(cut, dtype=x.dtype)
        writer.define(cut.buffer, x, cut.size)
        size = spec.channels, spec.height, spec.width, patch
        writer.step(ops.QuantiseImage(*size, 1 / x.scale, x.zero, x.wide), {"x": image, "y": cut})
        return cut, x
    view, x = writer.plain_view(image)
    writer.define(cut.buffer, x, cut.size)
    rows, columns = spec.height // patch, spec.width // patch

    def grid(a: Array) -> Array:
        whole = a[0, :, : rows * patch, : columns * patch]
        return whole.reshape(spec.channels, rows, patch, columns, patch).transpose(1, 3, 0, 2, 4)

    goal = cut.reshape((rows, columns, spec.channels, patch, patch))
    assert goal is not None, "patches are dense"
    writer.copy(view.apply(grid), goal)
    return cut, x


def write_patch_embed(writer: Writer, spec: ops.PatchEmbed) -> None:
    """Quantise the image and cut it into patches, then embed these into the residual stream."""
    source = writer.source
    patches, depth = (spec.height // spec.patch) * (spec.width // spec.patch), spec.channels * spec.patch**2
    cut, x = _cut_patches(writer, spec, dense(f"{source.result.buffer}.patches", (patches, depth), "int8"))
    kernel, table = source.constant("weight"), source.constant("table")
    weight = kernel.array.reshape(spec.dim, -1).T.astype(np.float64)
    stream = Tensor("int16", writer.stream)
    layer = quantise_layer(writer.name, weight, np.zeros(spec.dim), x, np.array([stream.scale]))
    added = np.clip(np.rint(table.array.astype(np.float64) / stream.scale), *INT16).astype(np.int16)
    embed = ops.QPatchEmbed(patches, depth, spec.dim, spec.leading, x.wide)
    with writer.output(stream) as out:
        constants = constants_of(kernel.name, layer) | {"table": Constant(f"{table.name}.int16", added)}
        writer.step(embed, {"x": cut, "y": out}, constants)
        writer.summed(stream)
        writer.correct(layer.unit)
