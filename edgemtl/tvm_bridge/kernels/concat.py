"""Rows side by side: float32 as it is, bytes brought to one scale."""

from __future__ import annotations

from functools import cache
from itertools import accumulate

from edgemtl.hw.law import Rescale
from edgemtl.operators import Concat, QConcat
from edgemtl.processor import CpuTarget
from edgemtl.tvm_bridge.kernel import Kernel, Operand
from edgemtl.tvm_bridge.kernels.emit import Buffer, Expr, define
from edgemtl.tvm_bridge.kernels.vectors import (
    constant,
    each_row,
    f64,
    for_vectors,
    load,
    requantised,
    saturate,
    spread,
    store,
)


@cache
def build(spec: Concat | QConcat, target: CpuTarget) -> Kernel:
    """The kernel of ``spec``: operands x0, x1, ..., y."""
    signature = spec.signature
    scales = spec.scales if isinstance(spec, QConcat) else (None,) * len(spec.widths)
    operands = [Operand(name, kind.shape, kind.dtype, "input") for name, kind in signature.inputs.items()]
    operands += [Operand(name, kind.shape, kind.dtype, "output") for name, kind in signature.outputs.items()]
    starts = list(accumulate(spec.widths, initial=0))[:-1]

    def body(*buffers: Buffer) -> None:
        *inputs, y = buffers

        def row(index: Expr) -> None:
            for x, width, start, scale in zip(inputs, spec.widths, starts, scales, strict=True):

                def values(
                    lanes: int, first: Expr, x: Buffer = x, start: int = start, scale: Rescale | None = scale
                ) -> None:
                    value = load(x, (index, first), lanes)
                    if scale is not None:
                        value = _rescaled(value, scale, str(x.dtype), str(y.dtype), lanes)
                    store(y, (index, start + first), lanes, value)

                for_vectors(width, 4 * target.lanes, values)

        each_row(spec.rows, target, row)

    return define(_symbol(spec), operands, body)


def _rescaled(value: Expr, how: Rescale, source: str, dtype: str, lanes: int) -> Expr:
    """`law.rescale` of a vector of integers."""
    factor = how.mul * 2.0**-how.shift
    if factor == 1 and how.zero == how.out_zero and source == dtype:
        return value
    wide = value.astype(f"int32x{lanes}") - constant(how.zero, "int32", lanes)
    scaled = requantised(wide, spread(f64(factor), lanes), lanes)
    return saturate(scaled + constant(how.out_zero, "int32", lanes), dtype, lanes)


def _symbol(spec: Concat | QConcat) -> str:
    words = [spec.rows, *spec.widths]
    if isinstance(spec, QConcat):
        words += [number for how in spec.scales for number in (how.zero, how.mul, how.shift, how.out_zero)]
        return f"qconcat_{spec.dtype}_" + "_".join(map(str, (*words, *spec.dtypes)))
    return "concat_" + "_".join(map(str, words))
