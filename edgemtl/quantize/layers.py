"""Layers with weights in integers: patch embedding, linear layers, experts, convolutions."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from edgemtl import operators as ops
from edgemtl.errors import UnsupportedError
from edgemtl.hw.arith import INT8, INT16
from edgemtl.lowering.ir import INPUTS, Constant, Step, View, space_of
from edgemtl.operators import Array
from edgemtl.quantize.cut_frames import patches_of
from edgemtl.quantize.endings import Ending, add_residual, ended, plan_ending, plan_sum
from edgemtl.quantize.limits import ATTENTION_RANGE, ATTENTION_SCALE, SIDE_BY_SIDE, WEIGHT_FORM, WEIGHT_RANGE
from edgemtl.quantize.tensors import Tensor, affine, symmetric
from edgemtl.quantize.weights import PROBED, IntegerLayer, find_levels, fit_bytes, quantise_layer
from edgemtl.quantize.writer import Writer


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
    """The layer's integers: its own where its weights were quantised before, else new ones. Raises as `_own_levels`."""
    if writer.own:
        own = _own_levels(writer, weight)
        return quantise_layer(writer.name, weight, bias, x, y_scale, own, writer.multiplier_bits)
    # Few weights of a float model may look like integers.
    levels = find_levels(weight) if len(weight) >= PROBED else None
    levels = None if levels is None or levels.max() > INT8[1] else levels
    return quantise_layer(writer.name, weight, bias, x, y_scale, levels)


def _own_levels(writer: Writer, weight: Array) -> Array | None:
    """`find_levels` of weights [k, n] in a model that has scales of its own; None, which is noted, where it has none.

    Raises UnsupportedError where there are no images to ask for new integers, and where the model's are integers that
    the law has no place for.
    """
    levels = find_levels(weight)
    if levels is not None and not fit_bytes(weight, levels):
        raise UnsupportedError(writer.name, WEIGHT_RANGE, "quantise the model with symmetric weights")
    if levels is None and not writer.seen.ranges:
        raise UnsupportedError(writer.name, WEIGHT_FORM, "add --calibration FOLDER to quantise it")
    if levels is None:
        writer.coarsened.append(writer.name)
    return levels


def constant_bytes(writer: Writer, array: Array) -> tuple[Array, Tensor]:
    """A constant as int8, and its tensor; that of a quantised model keeps its integers. Raises as `_own_levels`."""
    largest = float(np.abs(array).max())
    levels = _own_levels(writer, array.reshape(-1, 1)) if writer.own else None
    tensor = symmetric(largest, writer.name)
    if levels is not None:
        (level,) = levels.tolist()
        tensor = Tensor("int8", largest / (level * max(INT8[1] // level, 1)))
    return np.rint(array / tensor.scale).astype(np.int8), tensor


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
    if "qkv" in needs and len(needs) > 1 and writer.own_result is None:
        # Their three scales are known to attention alone.
        raise UnsupportedError(writer.name, SIDE_BY_SIDE, "keep the layer and the attention in float (--keep-float)")
    if "qkv" in needs and writer.own_result is None:
        ending = plan_qkv(writer)
        assert ending.result.parts is not None
        scales = np.repeat(ending.result.parts, spec.n // 3)
    else:
        bound = reach_of(weight, bias, x)
        ending = plan_sum(writer, spec.activation) if spec.residual else plan_ending(writer, spec.activation, bound)
        scales = np.array([ending.sums.scale])
    layer = _integers(writer, weight, bias, x, scales)
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
        layer = _integers(writer, *unfolded(weight.array, bias.array, x), x, y_scale)
        experts.append(constants_of(weight.name, layer))
    repeated = {name: [constants[name] for constants in experts] for name in ("weight", "bias", "scale")}
    queues = {"tokens": source["tokens"], "offsets": source["offsets"]}
    sizes = spec.tokens, spec.top_k, spec.slots, spec.k, spec.n, spec.gather
    with writer.output(ending.result) as out:
        operator = ops.QExperts(*sizes, ending.how, bool(ending.table), x.wide)
        writer.step(operator, {"x": view, **queues, "y": out}, {**repeated, **ending.table})
        writer.summed(ending.sums)


def write_conv(writer: Writer, spec: ops.Conv2d) -> None:
    """A convolution in any number of groups that pads with the zero point."""
    source = writer.source
    view, x = writer.byte_view(source["x"])
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
    with ended(writer, ending, (spec.out_height * spec.out_width, spec.cout)) as out:
        conv = ops.QConv2d(*sizes, *geometry, x.zero, ending.how, bool(ending.table), spec.groups)
        writer.step(conv, {"x": view, "y": out}, {**constants, **ending.table})
        writer.summed(ending.sums)
        if not ending.table and ending.curve is None:
            writer.correct(layer.unit)


def _repeated(values: Array | None, taps: int) -> Array | None:
    return None if values is None else np.repeat(values, taps)


def _cut_patches(writer: Writer, spec: ops.PatchEmbed, cut: View) -> tuple[View, Tensor]:
    """Write the patches of an image to ``cut``, or to the same in 12 bits, and return the place and the tensor.

    An input is quantised, and bytes that were made of one are moved; those of a camera's frame can be there already.
    """
    image, patch = writer.source["image"], spec.patch
    if cut.buffer in writer.tensors:
        return cut, writer.tensors[cut.buffer]
    if space_of(image.buffer) == INPUTS:
        x = affine(writer.observed(image.buffer), writer.name, writer.index in writer.wide.readers)
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
    cut, x = _cut_patches(writer, spec, patches_of(source))
    patches, depth = cut.shape
    kernel, table = source.constant("weight"), source.constant("table")
    weight = kernel.array.reshape(spec.dim, -1).T.astype(np.float64)
    stream = writer.stream_tensor
    layer = _integers(writer, weight, np.zeros(spec.dim), x, np.array([stream.scale]))
    added = np.clip(np.rint(table.array.astype(np.float64) / stream.scale), *INT16).astype(np.int16)
    embed = ops.QPatchEmbed(patches, depth, spec.dim, spec.leading, x.wide)
    with writer.output(stream) as out:
        constants = constants_of(kernel.name, layer) | {"table": Constant(f"{table.name}.int16", added)}
        writer.step(embed, {"x": cut, "y": out}, constants)
        writer.summed(stream)
        writer.correct(layer.unit)
