"""Sums and products of integers by `law_weightless`: all of it fits into 32 bits."""

from __future__ import annotations

from functools import cache

import numpy as np

from edgemtl.operators import QAdd, QMultiply
from edgemtl.processor import CpuTarget
from edgemtl.tvm_bridge.kernel import Kernel, Operand
from edgemtl.tvm_bridge.kernels.broadcast import Run, broadcast_axes, each_run, flat
from edgemtl.tvm_bridge.kernels.elementwise import symbol_of
from edgemtl.tvm_bridge.kernels.emit import Buffer, Expr, define
from edgemtl.tvm_bridge.kernels.qbinary_bytes import joined_bytes, takes_bytes
from edgemtl.tvm_bridge.kernels.qelementwise import finished
from edgemtl.tvm_bridge.kernels.vectors import constant, store


def pack(spec: QAdd | QMultiply, target: CpuTarget, b: np.ndarray) -> tuple[np.ndarray]:
    """A constant operand as it is."""
    return (b,)


@cache
def build(spec: QAdd | QMultiply, target: CpuTarget) -> Kernel:
    """The kernel of ``spec``: operands a, b, y."""
    signature, outputs = spec.signature, spec.signature.outputs
    operands = [Operand(name, kind.shape, kind.dtype, "input") for name, kind in signature.inputs.items()]
    operands += [Operand(name, kind.shape, kind.dtype, "weight") for name, kind in signature.constants.items()]
    operands += [Operand("y", outputs["y"].shape, outputs["y"].dtype, "output")]
    axes = broadcast_axes(spec.shape, [spec.a, spec.b])

    def body(a: Buffer, b: Buffer, y: Buffer) -> None:
        a, b, y = flat(a), flat(b), flat(y)

        def run(part: Run) -> None:
            if part.lanes == 4 * target.lanes:
                level = joined_bytes(spec, part.load(a, 0), part.load(b, 1), target)
                store(y, (part.index,), part.lanes, level)
                return
            wide = f"int32x{part.lanes}"
            pair = [part.load(buffer, index).astype(wide) for index, buffer in enumerate((a, b))]
            value = _scaled(spec, pair[0], pair[1], part.lanes)
            store(y, (part.index,), part.lanes, finished(value, spec.how, part.lanes))

        each_run(axes, (4 if takes_bytes(spec, target) else 2) * target.lanes, target, run)

    return define(_symbol(spec), operands, body)


def _scaled(spec: QAdd | QMultiply, a: Expr, b: Expr, lanes: int) -> Expr:
    """The sum or product of int32 vectors in units of the result."""

    def number(value: int) -> Expr:
        return constant(value, "int32", lanes)

    half = 1 << spec.shift - 1
    if isinstance(spec, QAdd):
        total = a * number(spec.muls[0]) + b * number(spec.muls[1]) + number(spec.offset + half)
    else:
        total = (a - number(spec.zeros[0])) * (b - number(spec.zeros[1])) * number(spec.mul) + number(half)
    return total >> number(spec.shift)


def _symbol(spec: QAdd | QMultiply) -> str:
    numbers = (*spec.muls, spec.offset) if isinstance(spec, QAdd) else (*spec.zeros, spec.mul)
    dtypes = (spec.a_dtype, spec.b_dtype) if isinstance(spec, QAdd) else ()
    words = (
        *(["constant"] if spec.constant else []),
        *dtypes,
        *numbers,
        spec.shift,
        spec.how.dtype,
        spec.how.zero,
        spec.how.low,
    )
    return f"{type(spec).__name__.lower()}_{symbol_of(spec.a)}_{symbol_of(spec.b)}_" + "_".join(map(str, words))
