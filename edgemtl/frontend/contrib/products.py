"""Convolutions and matrix products that onnxruntime fuses with what stands around them."""

from __future__ import annotations

from edgemtl.frontend.contrib.activations import activate
from edgemtl.frontend.contrib.call import Call, attributes_text, constant

CONVOLUTION = ("auto_pad", "dilations", "group", "kernel_shape", "pads", "strides")


def fused_conv(call: Call) -> list[str]:
    """A convolution, a summand and an activation."""
    operands = "X, W, B" if call.has(2) else "X, W"
    lines = [f"product = Conv {attributes_text(call, *CONVOLUTION)} ({operands})"]
    lines += ["sum = Add (product, Z)"] if call.has(3) else []
    return [*lines, *activate(call, "sum" if call.has(3) else "product", "Y", call.get("activation_params", []))]


def fused_gemm(call: Call) -> list[str]:
    """Gemm and an activation."""
    operands = "A, B, C" if call.has(2) else "A, B"
    attributes = attributes_text(call, "alpha", "beta", "transA", "transB")
    alphas = [call.get(name, None) for name in ("activation_alpha", "activation_beta")]
    parameters = [value for value in alphas if value is not None]
    return [f"product = Gemm {attributes} ({operands})", *activate(call, "product", "Y", parameters)]


def fused_matmul(call: Call) -> list[str]:
    """A product of transposed operands, scaled."""
    lines, names = [], []
    for place, name in enumerate("AB"):
        order = _order(call, place, bool(call.get(f"trans{name}", 0)), bool(call.get(f"transBatch{name}", 0)))
        lines += [f"{name}_transposed = Transpose <perm = {order}> ({name})"] if order else []
        names.append(f"{name}_transposed" if order else name)
    product = f"MatMul ({', '.join(names)})"
    alpha = call.get("alpha", 1.0)
    if alpha == 1.0:
        return [*lines, f"Y = {product}"]
    return [*lines, constant("alpha", alpha), f"product = {product}", "Y = Mul (product, alpha)"]


def _order(call: Call, place: int, matrix: bool, batch: bool) -> list[int]:
    """The axes of an operand as the product takes them, empty where they stay.

    matrix: the last two change places.  batch: before that, the first axis moves behind the batch axes.
    """
    if not matrix and not batch:
        return []
    rank = call.rank(place)
    if rank < 2:
        raise call.refusal("it transposes a vector")
    axes = [*range(1, rank - 1), 0, rank - 1] if batch else list(range(rank))
    return [*axes[:-2], axes[-1], axes[-2]] if matrix else axes


def gemm_fast_gelu(call: Call) -> list[str]:
    """A product, a bias where there is one, GELU by tanh."""
    lines = ["product = MatMul (X, W)", *(["sum = Add (product, bias)"] if call.has(2) else [])]
    return [*lines, f'Y = Gelu <approximate = "tanh"> ({"sum" if call.has(2) else "product"})']
