"""Sums, products and activations of float32 values."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

from edgemtl.operators import Activate, Add, Multiply
from edgemtl.processor import CpuTarget
from edgemtl.tvm_bridge.kernel import Kernel, Operand
from edgemtl.tvm_bridge.kernels.broadcast import Run, broadcast_axes, each_run, flat
from edgemtl.tvm_bridge.kernels.emit import ACTIVATIONS, Buffer, Expr, define, vector_store


def symbol_of(shape: tuple[int, ...]) -> str:
    """A shape as a part of a symbol."""
    return "x".join(map(str, shape)) or "scalar"


@cache
def build(spec: Add | Multiply | Activate, target: CpuTarget) -> Kernel:
    """The kernel of ``spec``: operands a and b, or x alone, and y."""
    signature = spec.signature
    shapes, shape = {name: kind.shape for name, kind in signature.inputs.items()}, signature.outputs["y"].shape
    if isinstance(spec, Activate):
        name = f"{spec.activation}_{spec.size}"
    else:
        name = f"{type(spec).__name__.lower()}_{symbol_of(spec.a)}_{symbol_of(spec.b)}"
        name += f"_{spec.activation}" if isinstance(spec, Add) and spec.activation else ""
    operands = [Operand(operand, sizes, "float32", "input") for operand, sizes in shapes.items()]
    axes, function = broadcast_axes(shape, list(shapes.values())), _function(spec)

    def body(*buffers: Buffer) -> None:
        *inputs, y = (flat(buffer) for buffer in buffers)

        def run(part: Run) -> None:
            def value(lane: Expr) -> Expr:
                return function(*(buffer[part.at(i, lane)] for i, buffer in enumerate(inputs)))

            vector_store(y, part.lanes, value, lambda lane: (part.index + lane,))

        each_run(axes, 4 * target.lanes, target, run)

    return define(name, [*operands, Operand("y", shape, "float32", "output")], body)


def _function(spec: Add | Multiply | Activate) -> Callable[..., Expr]:
    """What becomes of an element of each operand."""
    if isinstance(spec, Multiply):
        return lambda a, b: a * b
    if isinstance(spec, Activate):
        return ACTIVATIONS[spec.activation]
    activation = ACTIVATIONS[spec.activation] if spec.activation else lambda x: x
    return lambda a, b: activation(a + b)
