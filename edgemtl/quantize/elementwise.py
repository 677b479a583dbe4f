"""Sums, products, pools and the like in integers: no weights, and a scale for every operand."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

import numpy as np

from edgemtl import operators as ops
from edgemtl.errors import UnsupportedError
from edgemtl.hw import law
from edgemtl.hw.arith import INT8, encode_ratios, pack_scales
from edgemtl.hw.law_weightless import RATIO_BITS, TAP_BITS, Rescale
from edgemtl.lowering.ir import Constant, Step, View
from edgemtl.operators import Array
from edgemtl.operators.activations import activate
from edgemtl.operators.elementwise import Integer
from edgemtl.quantize.cut_frames import find_cut_frames, patches_of
from edgemtl.quantize.endings import average_tensor, curve_table, finish_of, least, rectified, write_curve
from edgemtl.quantize.lookups import function_columns, function_values, lookup_table
from edgemtl.quantize.tensors import Tensor
from edgemtl.quantize.writer import Writer
from edgemtl.tvm_bridge.generic import Generic

MOST_TAPS = 2.0 ** (TAP_BITS + 0.99)
"""Magnitudes of an output's taps that `law_weightless.resample` keeps within int32."""


def write_add(writer: Writer, spec: ops.Add) -> None:
    """A sum: int8 or int16 operands, each with a multiplier."""
    views = {name: writer.integers(writer.source[name]) for name in ("a", "b")}
    a, b = (writer.tensors[view.buffer] for view in views.values())
    result = rectified(writer) if spec.activation else writer.output_tensor()
    finish = finish_of(result, least(result) if spec.activation else INT8[0])
    muls, shift = encode_ratios((a.scale / result.scale, b.scale / result.scale), RATIO_BITS, writer.name)
    offset = -(a.zero * muls[0] + b.zero * muls[1])
    dtypes = a.dtype, b.dtype
    operator = ops.QAdd(spec.a, spec.b, *dtypes, (muls[0], muls[1]), offset, shift, finish)  # type: ignore[arg-type]  # integers
    with writer.output(result) as out:
        writer.step(operator, {**views, "y": out})


def write_multiply(writer: Writer, spec: ops.Multiply) -> None:
    """A product of bytes."""
    (a, left), (b, right) = (writer.plain_view(writer.source[name]) for name in ("a", "b"))
    result = writer.output_tensor()
    (mul,), shift = encode_ratios((left.scale * right.scale / result.scale,), RATIO_BITS, writer.name)
    operator = ops.QMultiply(spec.a, spec.b, (left.zero, right.zero), mul, shift, finish_of(result))
    with writer.output(result) as out:
        writer.step(operator, {"a": a, "b": b, "y": out})


def write_activate(writer: Writer, spec: ops.Activate) -> None:
    """An activation by a table of its bytes, or by knots of 16 bits where it gives the graph's output."""
    if is_curve(writer, source := writer.source["x"]):
        write_curve(
            writer, writer.integer_view(source), partial(activate, activation=spec.activation), writer.output_tensor()
        )
        return
    view, x = writer.plain_view(source)
    result = writer.byte_tensor()
    look_up(writer, view, curve_table(spec.activation, x, result)[None], result)


def write_lookup(writer: Writer, spec: Generic) -> None:
    """A node that is a function of every element by itself, by a table or, as the graph's output, by knots."""
    (source,) = writer.source.inputs
    if is_curve(writer, source) and function_columns(spec) == 1:
        write_curve(
            writer, writer.integer_view(source), lambda x: function_values(spec, x)[:, 0], writer.output_tensor()
        )
        return
    view, x = writer.plain_view(source)
    result = writer.byte_tensor()
    look_up(writer, view, lookup_table(spec, x, result), result)


def is_curve(writer: Writer, source: View) -> bool:
    """Whether a function gives the graph's output, which the model does not round, and reads 16 bits."""
    gives_all = "final" in writer.result_needs and writer.own_result is None
    return gives_all and writer.tensors[source.buffer].dtype == "int16"


def write_pixels(writer: Writer, spec: ops.Pixels) -> None:
    """Bytes of a frame to bytes by one table for each channel: exact, since it holds what rounding the floats gives.

    They go to the patches of an embedding where it alone reads them.
    """
    result = writer.byte_tensor()
    table = writer.source.constant("table")
    rounded = law.quantise(table.array, 1 / result.scale, result.zero, "int8")
    constants = {"table": Constant(f"{table.name}.int8", rounded)}
    frame = find_cut_frames(writer).get(writer.index)
    if frame is not None:
        _write_patches(writer, writer.float_steps[frame.embed], result, constants)
        return
    with writer.output(result) as out:
        writer.step(ops.QPixels(spec.pixels, spec.channels), {"x": writer.source["x"], "y": out}, constants)


def _write_patches(writer: Writer, embed: Step, result: Tensor, constants: Mapping[str, Constant]) -> None:
    cut = embed.operator
    assert isinstance(cut, ops.PatchEmbed)
    image = writer.source["x"].reshape((1, cut.height, cut.width, cut.channels))
    assert image is not None, "frames are dense"
    patches = patches_of(embed)
    writer.define(patches.buffer, result, patches.size)
    operator = ops.QPixelPatches(cut.channels, cut.height, cut.width, cut.patch)
    writer.step(operator, {"x": image, "y": patches}, constants)


def look_up(writer: Writer, view: View, tables: Array, result: Tensor) -> None:
    """A step that replaces bytes: tables int8 [1 or columns, 256]."""
    columns = view.size if len(tables) == 1 else len(tables)
    operator = ops.QLookup(view.size // columns, columns, len(tables) > 1)
    constant = Constant(f"{writer.name}.table", tables)
    with writer.output(result) as out:
        shape = operator.rows, operator.columns
        writer.step(operator, {"x": _reshaped(view, shape), "y": _reshaped(out, shape)}, {"table": constant})


def write_pool(writer: Writer, spec: ops.Pool) -> None:
    """The largest of bytes is a byte of the same tensor; a mean has a scale of its own."""
    view, x = writer.plain_view(writer.source["x"])
    if spec.kind == "max":
        with writer.output(x) as out:
            writer.step(ops.QPool("max", spec.channels, spec.windows), {"x": view, "y": out})
        return
    factor = writer.source.constant("factor")
    result = average_tensor(writer, x.scale * float(factor.array.max()))
    scales = (float(f) * x.scale / result.scale for f in factor.array)
    words = Constant(f"{writer.name}.scale", pack_scales(scales, writer.name, writer.multiplier_bits))
    with writer.output(result) as out:
        how = finish_of(result)
        operator = ops.QPool("average", spec.channels, spec.windows, x.zero, how, writer.is_fine)
        writer.step(operator, {"x": view, "y": out}, {"scale": words})


def write_concat(writer: Writer, spec: ops.Concat) -> None:
    """Values side by side on one scale."""
    result = writer.output_tensor()
    views = {name: writer.integers(writer.source[name]) for name in spec.names}
    tensors = [writer.tensors[view.buffer] for view in views.values()]
    scales = tuple(Rescale(x.zero, *writer.encode(x.scale / result.scale), result.zero) for x in tensors)
    dtypes = tuple(x.dtype for x in tensors)
    with writer.output(result) as out:
        operator = ops.QConcat(spec.rows, spec.widths, scales, dtypes, result.dtype)  # type: ignore[arg-type]  # integers
        writer.step(operator, {**views, "y": out})


def write_resample(writer: Writer, spec: ops.Resample) -> None:
    """A resize whose weights of every output sum to 1 exactly, so that bytes keep their tensor."""
    source = writer.source
    taps = {name: source.constant(name) for name in source.operator.signature.constants}
    resample(writer, spec, {name: constant.array for name, constant in taps.items()})


def resample(writer: Writer, spec: ops.Resample | ops.QResample, taps: Mapping[str, Array]) -> None:
    """Write a resize by real taps, of bytes or of 16 bits."""
    view = writer.integers(writer.source["x"])
    x = writer.tensors[view.buffer]
    with writer.output(x) as out:
        resample_to(writer, spec, taps, view, out)


def resample_to(
    writer: Writer, spec: ops.Resample | ops.QResample, taps: Mapping[str, Array], view: View, out: View
) -> None:
    """The same from a view of integers to another of the same type."""
    constants = {}
    for name, array in taps.items():
        integers = whole_taps(array, writer.name) if name.endswith("weight") else array
        constants[name] = Constant(f"{writer.name}.{name}", integers)
    sizes = spec.height, spec.width, spec.channels, spec.out_height, spec.out_width, spec.row_taps, spec.column_taps
    dtype: Integer = "int16" if view.dtype == "int16" else "int8"
    writer.step(ops.QResample(*sizes, dtype), {"x": view, "y": out}, constants)


def whole_taps(weight: Array, what: str) -> Array:
    """Weights [out, taps] that sum to 1, as int32 that sum to exactly 2^11; the largest takes what rounding leaves."""
    one = 1 << TAP_BITS
    taps = np.floor(weight.astype(np.float64) * one + 0.5).astype(np.int32)
    taps[np.arange(len(taps)), np.abs(taps).argmax(1)] += one - taps.sum(1)
    if np.abs(taps).sum(1).max() > MOST_TAPS:
        raise UnsupportedError(
            what, "weights of its resize are too large for 32 bits", "keep it in float (--keep-float)"
        )
    return taps


def _reshaped(view: View, shape: tuple[int, ...]) -> View:
    seen = view.reshape(shape)
    assert seen is not None, "operands of a table are dense"
    return seen
