"""Values of a quantised model that are rounded to the integers of a scale."""

from __future__ import annotations

from functools import partial

import onnx_ir as ir

from edgemtl.frontend.rounding import Rounding, find_rounding
from edgemtl.graph import dtype_of, result
from edgemtl.lowering.emit import Emitter
from edgemtl.lowering.match import Group
from edgemtl.lowering.patterns.axes import CHANNELS_FIRST, CHANNELS_LAST, lies_channels_last
from edgemtl.operators import Dequantise, Quantise


def match_rounding(node: ir.Node) -> Group | None:
    """QuantizeLinear and the DequantizeLinear behind it, with one constant scale and zero point of 8 or 16 bits."""
    rounding = find_rounding(node)
    if rounding is None or dtype_of(rounding.source) != "float32":
        return None
    return Group("rounding", rounding.nodes, partial(_emit, value=result(node), rounding=rounding))


def _emit(em: Emitter, value: ir.Value, rounding: Rounding) -> None:
    """Integers in the order in which the value lies, and float32 of them."""
    view = em.views[rounding.source]
    turned = lies_channels_last(view)
    x = em.dense(view.transpose(CHANNELS_LAST) if turned else view)
    flat = em.reshaped(x, (x.size,))
    integers, real = em.new(flat.shape, rounding.dtype), em.new(flat.shape)
    em.step(Quantise(x.size, rounding.dtype, 1 / rounding.scale, rounding.zero), {"x": flat, "y": integers})
    em.step(Dequantise(x.size, rounding.dtype, rounding.scale, rounding.zero), {"x": integers, "y": real})
    y = em.reshaped(real, x.shape)
    em.views[value] = y.transpose(CHANNELS_FIRST) if turned else y
