"""Rows side by side: float32 as it is, bytes brought to one scale."""

from __future__ import annotations

from functools import cache
from itertools import accumulate

from edgemtl.hw.law_weightless import Rescale
from edgemtl.operators import Concat, QConcat
from edgemtl.processor import CpuTarget
from edgemtl.tvm_bridge.kernel import Kernel, Operand
from edgemtl.tvm_bridge.kernels.emit import Buffer, Expr, define
from edgemtl.tvm_bridge.kernels.qelementwise import rescaled
from edgemtl.tvm_bridge.kernels.vectors import each_row, for_vectors, load, store


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
                    if scale is not None and not _is_copy(scale, str(x.dtype), str(y.dtype)):
                        value = rescaled(value.astype(f"int32x{lanes}"), scale, str(y.dtype), lanes)
                    store(y, (index, start + first), lanes, value)

                for_vectors(width, 4 * target.lanes, values)

        each_row(spec.rows, target, row)

    return define(_symbol(spec), operands, body)


def _is_copy(how: Rescale | None, source: str, dtype: str) -> bool:
    """Whether the values stay what they are."""
    return how is None or (source == dtype and how.mul == 1 << how.shift and how.zero == how.out_zero)


def _symbol(spec: Concat | QConcat) -> str:
    words = [spec.rows, *spec.widths]
    if isinstance(spec, QConcat):
        words += [number for how in spec.scales for number in (how.zero, how.mul, how.shift, how.out_zero)]
        return f"qconcat_{spec.dtype}_" + "_".join(map(str, (*words, *spec.dtypes)))
    return "concat_" + "_".join(map(str, words))
