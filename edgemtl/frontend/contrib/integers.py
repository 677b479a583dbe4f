"""Operators that compute with integers and their scales, as DequantizeLinear, the operator of float32, QuantizeLinear.

The form that onnxruntime calls QOperator. Operators with three inputs per operand have its integers, scale, zero point.
"""

from __future__ import annotations

from collections.abc import Callable

from edgemtl.frontend.contrib.call import Call, attributes_text

MOST_PARTS = 64
"""Operands of a QLinearConcat."""


def quantize(call: Call) -> list[str]:
    """QuantizeLinear of onnxruntime, which ONNX has as well."""
    return [f"Y = QuantizeLinear {attributes_text(call, 'axis')} ({_given(call, 'X scale zero')})"]


def dequantize(call: Call) -> list[str]:
    """DequantizeLinear of onnxruntime, which ONNX has as well."""
    return [f"Y = DequantizeLinear {attributes_text(call, 'axis')} ({_given(call, 'X scale zero')})"]


def _given(call: Call, names: str) -> str:
    """The first inputs, those left out behind them dropped."""
    return ", ".join(name for place, name in enumerate(names.split()) if call.has(place))


def convolution(call: Call) -> list[str]:
    """QLinearConv: weights with a scale for all or for each output channel; an int32 bias of x's scale times theirs."""
    ones = ", 1" * (call.rank(3) - 1)
    shape = f"per_row = Constant <value = int64[{call.rank(3)}] {{-1{ones}}}> ()"
    attributes = attributes_text(call, "auto_pad", "dilations", "group", "kernel_shape", "pads", "strides")
    bias = [
        "bias_sums = Cast <to = 1> (B)",
        "bias_scale = Mul (x_scale, w_scale)",
        "bias = Mul (bias_sums, bias_scale)",
    ]
    return [
        "x_real = DequantizeLinear (x, x_scale, x_zero)",
        shape,
        *_centred("w"),
        "w_rows = Reshape (w_scale, per_row)",
        "w_real = Mul (w_centred, w_rows)",
        *(bias if call.has(8) else []),
        f"real = Conv {attributes} (x_real, w_real{', bias' if call.has(8) else ''})",
        "Y = QuantizeLinear (real, y_scale, y_zero)",
    ]


def _centred(name: str) -> list[str]:
    """The integers of weights less their zero points, one for all or one for each row."""
    return [
        f"{name}_integers = Cast <to = 1> ({name})",
        f"{name}_zeros = Cast <to = 1> ({name}_zero)",
        f"{name}_offsets = Reshape ({name}_zeros, per_row)",
        f"{name}_centred = Sub ({name}_integers, {name}_offsets)",
    ]


def product(call: Call) -> list[str]:
    """QLinearMatMul; the right operand may have a scale per column."""
    axis = "<axis = -1> " if call.rank(4) else ""
    return [
        "a_real = DequantizeLinear (a, a_scale, a_zero)",
        f"b_real = DequantizeLinear {axis}(b, b_scale, b_zero)",
        "real = MatMul (a_real, b_real)",
        "Y = QuantizeLinear (real, y_scale, y_zero)",
    ]


def gemm(call: Call) -> list[str]:
    """QGemm: alpha A B + C with the int32 C of scale alpha A's B's; a scale of B for all or for each column."""
    if not call.has(7):
        raise call.refusal("it gives float32, which needs its output scale")
    alpha = call.get("alpha", 1.0)
    if alpha != 1.0:
        raise call.refusal(f"its alpha is {alpha:g}, not 1")
    axis = "<axis = 0> " if call.get("transB", 0) else "<axis = 1> "
    bias = ["sums = Cast <to = 1> (C)", "sum_scale = Mul (a_scale, b_scale)", "shift = Mul (sums, sum_scale)"]
    attributes = attributes_text(call, "transA", "transB")
    return [
        "a_real = DequantizeLinear (a, a_scale, a_zero)",
        f"b_real = DequantizeLinear {axis if call.rank(4) else ''}(b, b_scale, b_zero)",
        *(bias if call.has(6) else []),
        f"real = Gemm {attributes} (a_real, b_real{', shift' if call.has(6) else ''})",
        "Y = QuantizeLinear (real, y_scale, y_zero)",
    ]


def binary(operator: str) -> Callable[[Call], list[str]]:
    """QLinearAdd and QLinearMul."""

    def write(call: Call) -> list[str]:
        return [
            "a_real = DequantizeLinear (a, a_scale, a_zero)",
            "b_real = DequantizeLinear (b, b_scale, b_zero)",
            f"real = {operator} (a_real, b_real)",
            "Y = QuantizeLinear (real, y_scale, y_zero)",
        ]

    return write


def unary(operator: str, *attributes: str) -> Callable[[Call], list[str]]:
    """An operator of one operand; onnxruntime's order of channels last is refused."""

    def write(call: Call) -> list[str]:
        if call.get("channels_last", 0):
            raise call.refusal("its channels are last")
        return [
            "x_real = DequantizeLinear (x, x_scale, x_zero)",
            f"real = {operator} {attributes_text(call, *attributes)} (x_real)",
            "Y = QuantizeLinear (real, y_scale, y_zero)",
        ]

    return write


def concat(call: Call) -> list[str]:
    """QLinearConcat: scale and zero point of the result, then those of each part behind its integers."""
    count = (len(call.node.input) - 2) // 3
    if count > MOST_PARTS:
        raise call.refusal(f"it joins {count} parts, more than {MOST_PARTS}")
    reals = [f"real_{i} = DequantizeLinear (part_{i}, scale_{i}, zero_{i})" for i in range(count)]
    names = ", ".join(f"real_{i}" for i in range(count))
    joined = f"real = Concat {attributes_text(call, 'axis')} ({names})"
    return [*reals, joined, "Y = QuantizeLinear (real, y_scale, y_zero)"]


CONCAT_INPUTS = "y_scale y_zero " + " ".join(f"part_{i} scale_{i} zero_{i}" for i in range(MOST_PARTS))
"""Names of the inputs of a QLinearConcat."""
