"""Activations that onnxruntime fuses with what stands before them."""

from __future__ import annotations

from edgemtl.frontend.contrib.call import Call, constant


def gelu(call: Call) -> list[str]:
    """GELU by erf."""
    return ["Y = Gelu (X)"]


def bias_gelu(call: Call) -> list[str]:
    """GELU of a sum."""
    return ["sum = Add (X, bias)", "Y = Gelu (sum)"]


def fast_gelu(call: Call) -> list[str]:
    """GELU by tanh, of a sum where there is a bias."""
    before, x = (["sum = Add (X, bias)"], "sum") if call.has(1) else ([], "X")
    return [*before, f'Y = Gelu <approximate = "tanh"> ({x})']


def quick_gelu(call: Call) -> list[str]:
    """x times the sigmoid of alpha x."""
    alpha = constant("alpha", call.get("alpha", 1.702))
    return [alpha, "scaled = Mul (X, alpha)", "share = Sigmoid (scaled)", "Y = Mul (X, share)"]


def bias_split_gelu(call: Call) -> list[str]:
    """The left half of a sum times the GELU of its right half."""
    return [
        "sum = Add (X, bias)",
        "left, right = Split <axis = -1, num_outputs = 2> (sum)",
        "gate = Gelu (right)",
        "Y = Mul (left, gate)",
    ]


def bias_add(call: Call) -> list[str]:
    """Two sums."""
    return ["sum = Add (X, bias)", "Y = Add (sum, skip)"]


def bias_softmax(call: Call) -> list[str]:
    """Softmax of a sum over the last axis."""
    if call.get("axis", 1) not in (-1, call.rank(0) - 1):
        raise call.refusal("its softmax is over more than the last axis")
    return ["sum = Add (X, bias)", "Y = Softmax <axis = -1> (sum)"]


def activate(call: Call, x: str, y: str, parameters: list[float]) -> list[str]:
    """Lines for the attribute `activation` of a fused operator, of value `x` to value `y`."""
    kind = call.get("activation", "")
    if kind in ("Relu", "Tanh", "Sigmoid", "HardSwish"):
        return [f"{y} = {kind} ({x})"]
    if kind == "LeakyRelu":
        return [f"{y} = LeakyRelu <alpha = {[*parameters, 0.01][0]:.9e}> ({x})"]
    if kind == "HardSigmoid" and len(parameters) == 2:
        return [f"{y} = HardSigmoid <alpha = {parameters[0]:.9e}, beta = {parameters[1]:.9e}> ({x})"]
    if kind == "Clip" and len(parameters) == 2:
        return [constant("low", parameters[0]), constant("high", parameters[1]), f"{y} = Clip ({x}, low, high)"]
    if kind:
        raise call.refusal(f"its activation is {kind}")
    return [f"{y} = Identity ({x})"]
