"""Generic nodes in integers: products of computed values, softmax, sums and products with constants."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import numpy as np

from edgemtl import operators as ops
from edgemtl.errors import UnsupportedError
from edgemtl.hw.arith import encode_ratios, encode_scale
from edgemtl.hw.law_generic import MOST_SOFTMAX
from edgemtl.hw.law_weightless import RATIO_BITS, Rescale
from edgemtl.lowering.ir import Constant
from edgemtl.quantize.class_maps import applies, find_class_maps, write_class_map
from edgemtl.quantize.elementwise import write_lookup
from edgemtl.quantize.endings import finish_of, is_free
from edgemtl.quantize.layers import constant_bytes
from edgemtl.quantize.limits import NO_FORM, SOFTMAX_WIDTH
from edgemtl.quantize.moves import write_move
from edgemtl.quantize.nodes import Form, constant_of, generic_form, has_constant
from edgemtl.quantize.products import reshaped, write_einsum, write_matmul
from edgemtl.quantize.regions import write_norm_node, write_reduce
from edgemtl.quantize.scores import masked, scores
from edgemtl.quantize.tensors import Tensor, wide
from edgemtl.quantize.writer import Writer
from edgemtl.tvm_bridge.generic import Generic, softmax_axes

OCTAVES = 16
"""The LSB of a softmax's result is larger than 2^-16; its octaves go into the law's shift."""
SHARPER = 16.0
"""How much larger than on the calibration images a result of 16 bits may be: 12 of its bits are left."""
SCORE_OCTAVES = 8


def write_generic(writer: Writer, spec: Generic) -> None:
    """A node by the form that it has. Raises UnsupportedError for one without."""
    form = generic_form(spec)
    if form == "table" and "wide" in writer.result_needs:
        # Scores keep their 16 bits.
        form = "add" if has_constant(spec, "add") else "scale" if has_constant(spec, "scale") else form
    if form not in WRITERS:
        raise UnsupportedError(writer.name, NO_FORM, f"keep it in float (--keep-float '{writer.name}')")
    WRITERS[form](writer, spec)


def _write_softmax(writer: Writer, spec: Generic) -> None:
    """A softmax of rows; of another axis than the last between two copies."""
    outer, width, inner = softmax_axes(spec.call)
    if width > MOST_SOFTMAX:
        reason = f"{SOFTMAX_WIDTH}, not {width}"
        raise UnsupportedError(writer.name, reason, "keep it in float (--keep-float)")
    (source,) = writer.source.inputs
    result, is_float = writer.output_tensor(), writer.tensors[source.buffer].dtype == "float32"
    view = writer.quantised_view(source, scores(writer, writer.index)) if is_float else writer.integer_view(source)
    x = writer.tensors[view.buffer]
    if result.dtype == "int16" and is_free(writer):
        # A sharper row than any of the calibration reaches up to 1.
        result = wide(min(1.0, SHARPER * writer.range("all").reach), writer.name)
    distance = encode_scale(x.scale * 64 / math.log(2) / 2**SCORE_OCTAVES, writer.name)
    mul, shift = encode_scale(1 / result.scale / 2**OCTAVES, writer.name)
    scales = (distance[0], distance[1] - SCORE_OCTAVES), (mul, shift - OCTAVES)
    assert x.dtype != "float32"
    operator = ops.QSoftmax(outer * inner, width, x.dtype, *scales, finish_of(result))
    rows = operator.rows, width
    with writer.output(result) as out:
        if inner == 1:
            writer.step(operator, {"x": reshaped(writer, view, rows), "y": reshaped(writer, out, rows)})
            return
        turned = reshaped(writer, view, (outer, width, inner)).transpose((0, 2, 1))
        y = writer.temporary("rows", (outer, inner, width), result)
        writer.step(operator, {"x": reshaped(writer, writer.dense(turned), rows), "y": reshaped(writer, y, rows)})
        writer.copy(y.transpose((0, 2, 1)), reshaped(writer, out, (outer, width, inner)))


def _write_add(writer: Writer, spec: Generic) -> None:
    """A sum with a constant in 16 bits; beyond what the result can tell apart it is cut off."""
    (source,) = writer.source.inputs
    view = writer.integers(source)
    x, result = writer.tensors[view.buffer], masked(writer)
    array = constant_of(spec).astype(np.float64) * (-1 if spec.call.op == "Sub" else 1)
    # Whatever x is, the sum saturates from here on.
    most = (2**15 if result.dtype == "int16" else 2**8) * result.scale + 2**15 * x.scale
    array = np.clip(array, -most, most)
    b = _addend(writer, float(np.abs(array).max()) or 1.0, result)
    constant = Constant(f"{writer.name}.int16", np.rint(array / b.scale).astype(np.int16))
    muls, shift = encode_ratios((x.scale / result.scale, b.scale / result.scale), RATIO_BITS, writer.name)
    assert x.dtype != "float32"
    numbers = (muls[0], muls[1]), -x.zero * muls[0], shift
    operator = ops.QAdd(view.shape, array.shape, x.dtype, "int16", *numbers, finish_of(result), True)
    with writer.output(result) as out:
        writer.step(operator, {"a": view, "y": out}, {"b": constant})


FINEST = 12
"""Octaves below a result's LSB that an addend is rounded to where the model gives the result's scale."""


def _addend(writer: Writer, reach: float, result: Tensor) -> Tensor:
    """16 bits of a constant that is added.

    Where the model gives the result's scale they are octaves below its LSB, whose ratio the multiplier has exactly.
    """
    finest = reach / (2**15 - 1)
    if writer.own_result is None:
        return Tensor("int16", finest)
    return Tensor("int16", result.scale * 2.0 ** max(math.ceil(math.log2(finest / result.scale)), -FINEST))


def _write_multiply(writer: Writer, spec: Generic) -> None:
    """A product of bytes with constants in bytes."""
    (source,) = writer.source.inputs
    view, x = writer.plain_view(source)
    array = constant_of(spec).astype(np.float64)
    factors, b = constant_bytes(writer, 1 / array if spec.call.op == "Div" else array)
    constant, result = Constant(f"{writer.name}.int8", factors), writer.output_tensor()
    (mul,), shift = encode_ratios((x.scale * b.scale / result.scale,), RATIO_BITS, writer.name)
    operator = ops.QMultiply(view.shape, array.shape, (x.zero, 0), mul, shift, finish_of(result), True)
    with writer.output(result) as out:
        writer.step(operator, {"a": view, "y": out}, {"b": constant})


def _write_scale(writer: Writer, spec: Generic) -> None:
    """A product with one positive number: the same integers, rescaled."""
    (source,) = writer.source.inputs
    view = writer.integers(source)
    x, result, factor = writer.tensors[view.buffer], masked(writer), float(constant_of(spec).reshape(-1)[0])
    factor = 1 / factor if spec.call.op == "Div" else factor
    mul, shift = writer.encode(x.scale * factor / result.scale / 2**SCORE_OCTAVES)
    assert x.dtype != "float32"
    assert result.dtype != "float32"
    how = Rescale(x.zero, mul, shift - SCORE_OCTAVES, result.zero)
    operator = ops.Convert(view.size, x.dtype, result.dtype, how)
    with writer.output(result) as out:
        writer.step(operator, {"x": reshaped(writer, view, (view.size,)), "y": reshaped(writer, out, (out.size,))})


def _write_choice(writer: Writer, spec: Generic) -> None:
    """An index of the largest or the least: of the integers' own values, so it is theirs."""
    class_map = find_class_maps(writer.float_steps, writer.fixed).get(writer.index)
    if class_map is not None and applies(writer, class_map):
        write_class_map(writer, class_map)
    else:
        writer.keep(writer.source)


WRITERS: Mapping[Form, Callable[[Writer, Generic], None]] = {
    "table": write_lookup,
    "product": write_matmul,
    "einsum": write_einsum,
    "softmax": _write_softmax,
    "norm": write_norm_node,
    "reduce": write_reduce,
    "add": _write_add,
    "multiply": _write_multiply,
    "scale": _write_scale,
    "move": write_move,
    "choice": _write_choice,
}
