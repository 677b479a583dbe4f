"""An image that is quantised and dequantised again, in float32: there that gives the same numbers.

Between computed values quantisation is not expanded. Where a sum falls on a rounding boundary, runtimes differ by a
whole quantum, and onnxruntime differs from itself with and without optimisation. Quantised constants are folded.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx

from edgemtl.frontend.contrib.call import Call, constant, formals
from edgemtl.frontend.contrib.expand import expand_where

MOVING = ("Flatten", "Identity", "Reshape", "Slice", "Squeeze", "Transpose", "Unsqueeze")
"""Operators that move numbers and do not change them."""
UNKNOWN = ("block_size", "output_dtype", "precision")
"""Attributes that are not expanded."""
FORMALS = formals("X scale zero", "Y")


def expand_quantised(proto: onnx.ModelProto, opset: int) -> None:
    """Expand the nodes that quantise the image, and those that dequantise it. In place.

    The integers between the two become float32 of the same value. All other nodes stay, and are refused later.
    """
    chosen = _choose(proto.graph)
    if chosen:
        bodies = {"QuantizeLinear": quantise, "DequantizeLinear": dequantise}
        expand_where(proto, opset, lambda n: (FORMALS, bodies[n.op_type]) if chosen.intersection(n.output) else None)
        del proto.graph.value_info[:]


def quantise(call: Call) -> list[str]:
    """The nearest integer, ties to even, within the range of the zero point's type; as float32."""
    kind = call.types[call.node.input[2]].tensor_type.elem_type if call.has(2) else onnx.TensorProto.UINT8
    limits = np.iinfo(onnx.helper.tensor_dtype_to_np_dtype(kind))
    return [
        "scaled = Div (X, scale)",
        "rounded = Round (scaled)",
        *(["offset = Cast <to = 1> (zero)", "shifted = Add (rounded, offset)"] if call.has(2) else []),
        constant("low", limits.min),
        constant("high", limits.max),
        f"Y = Clip ({'shifted' if call.has(2) else 'rounded'}, low, high)",
    ]


def dequantise(call: Call) -> list[str]:
    """Integers less the zero point, times the scale."""
    if not call.has(2):
        return ["Y = Mul (X, scale)"]
    return ["offset = Cast <to = 1> (zero)", "centred = Sub (X, offset)", "Y = Mul (centred, scale)"]


def _choose(graph: onnx.GraphProto) -> set[str]:
    """The outputs of nodes to expand; none where another operator reads integers of the image."""
    arrays = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in graph.initializer}
    image, numbers = {value.name for value in graph.input} - set(arrays), set[str]()
    chosen: set[str] = set()
    for node in graph.node:
        first = node.input[0] if node.input else ""
        if node.op_type == "Constant" and node.attribute[0].HasField("t"):
            arrays[node.output[0]] = onnx.numpy_helper.to_array(node.attribute[0].t)
        elif node.op_type in MOVING and first in image | numbers:
            (image if first in image else numbers).update(node.output)
        elif node.op_type == "QuantizeLinear" and first in image and _is_plain(node, arrays):
            numbers.update(node.output)
            chosen.update(node.output)
        elif node.op_type == "DequantizeLinear" and first in numbers and _is_plain(node, arrays):
            chosen.update(node.output)
        elif numbers.intersection(node.input):
            return set()
    return set() if numbers.intersection(value.name for value in graph.output) else chosen


def _is_plain(node: onnx.NodeProto, arrays: Mapping[str, np.ndarray]) -> bool:
    """Whether one constant scale and zero point hold for all."""
    scale, zero = (arrays.get(name) for name in [*node.input[1:3], ""][:2])
    known = scale is not None and scale.dtype == np.float32 and scale.size == 1
    whole = len(node.input) < 3 or (zero is not None and zero.dtype in (np.int8, np.uint8, np.int16, np.uint16))
    return known and whole and not any(a.name in UNKNOWN and a.i for a in node.attribute)
