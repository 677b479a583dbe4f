"""Convolutions of [N, C, ..] over any number of axes."""

from __future__ import annotations

from tvm import te, tirx

from edgemtl.tvm_bridge.generic.call import Call, Definition, Expr, Refused, Tensor
from edgemtl.tvm_bridge.generic.windows import padded, taps, windows


def conv(call: Call) -> Tensor:
    """Each output channel sums its group's input channels over its window."""
    x, weight, window = call.main(), call.tensor("W"), windows(call, kernel_of(call))
    outputs, groups = call.result.shape[1], call.attribute("group", 1)
    inner = call.type_of("W").shape[1]
    check_channels(call, groups, inner * groups, outputs)
    whole, k = padded(x, window, tirx.const(0, str(x.dtype))), taps(window.kernel)
    c = te.reduce_axis((0, inner), name="c")

    def element(n: Expr, o: Expr, *i: Expr) -> Expr:
        group = tirx.floordiv(o, outputs // groups) if groups > 1 else 0
        return te.sum(whole(n, group * inner + c, *window.read(i, k)) * weight(o, c, *k), axis=[c, *k])

    return with_bias(call, te.compute(call.result.shape, element, name="conv"))


def kernel_of(call: Call) -> tuple[int, ...]:
    """The spatial sizes of the weights, which the attribute may repeat."""
    shape = call.type_of("W").shape[2:]
    if call.attribute("kernel_shape", shape) != shape:
        raise Refused(f"kernel_shape of {call.op} must be that of its weights, {list(shape)}")
    return shape


def check_channels(call: Call, groups: int, inputs: int, outputs: int) -> None:
    """Refuses weights for other channels than those of operand 0."""
    channels = call.main_type.shape[1]
    if groups < 1 or channels % groups or outputs % groups or channels != inputs:
        raise Refused(
            f"{call.op} of {channels} channels must have weights for them, not for {groups} x {inputs // groups}"
        )


def with_bias(call: Call, result: Tensor) -> Tensor:
    """The result plus a bias per channel, where there is one."""
    if not call.has("B"):
        return result
    bias = call.tensor("B")
    return te.compute(result.shape, lambda n, o, *i: result(n, o, *i) + bias(o), name="bias")


OPERATORS: dict[str, Definition] = {"Conv": conv}
