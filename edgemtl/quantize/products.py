"""Products of two values in integers, at least one of them computed: MatMul and Einsum."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from edgemtl import operators as ops
from edgemtl.errors import UnsupportedError
from edgemtl.hw.law_generic import MOST_DEPTH
from edgemtl.lowering.ir import Constant, View
from edgemtl.operators import Array
from edgemtl.quantize.endings import finish_of
from edgemtl.quantize.layers import constant_bytes
from edgemtl.quantize.limits import PRODUCT_DEPTH
from edgemtl.quantize.nodes import equation_of
from edgemtl.quantize.tensors import Tensor
from edgemtl.quantize.writer import Writer
from edgemtl.tvm_bridge.generic import Generic


@dataclass(frozen=True)
class Factor:
    """One side of a product: a view of bytes or a constant int8, and its tensor."""

    value: View | Array
    tensor: Tensor

    @property
    def shape(self) -> tuple[int, ...]:
        """Its shape."""
        return tuple(self.value.shape)

    def reshaped(self, writer: Writer, shape: tuple[int, ...], axes: Sequence[int] = ()) -> Factor:
        """The same with its axes in another order, then in another shape."""
        order = tuple(axes) or tuple(range(len(self.shape)))
        if isinstance(self.value, View):
            return Factor(reshaped(writer, self.value.transpose(order), shape), self.tensor)
        return Factor(np.ascontiguousarray(self.value.transpose(order).reshape(shape)), self.tensor)


def write_matmul(writer: Writer, spec: Generic) -> None:
    """A product of matrices; one that is the same for all rows is multiplied once."""
    a, b = _factors(writer, spec)
    left, right = ((1, *a.shape)[-max(len(a.shape), 2) :], b.shape if len(b.shape) > 1 else (*b.shape, 1))
    if math.prod(right[:-2]) == 1:
        left, right = (math.prod(left[:-1]), left[-1]), right[-2:]
    result = writer.output_tensor()
    operator = _operator(writer, a, b, (left, right), result)
    with writer.output(result) as out:
        _step(writer, operator, a.reshaped(writer, left), b.reshaped(writer, right), out)


def write_einsum(writer: Writer, spec: Generic) -> None:
    """A sum of products over letters, as a product of matrices: axes are brought into its order, and out of it."""
    a, b = _factors(writer, spec)
    of_a, of_b, of_y = equation_of(spec)
    sizes = dict(zip(of_a + of_b, a.shape + b.shape, strict=True))
    both, summed = ([c for c in of_a if c in of_b and (c in of_y) == remaining] for remaining in (True, False))
    rows, columns = ([c for c in letters if c in of_y and c not in both] for letters in (of_a, of_b))

    def count(letters: Sequence[str]) -> int:
        return math.prod(sizes[c] for c in letters)

    left, right = (count(both), count(rows), count(summed)), (count(both), count(summed), count(columns))
    result = writer.output_tensor()
    operator = _operator(writer, a, b, (left, right), result)
    a = a.reshaped(writer, left, [of_a.index(c) for c in (*both, *rows, *summed)])
    b = b.reshaped(writer, right, [of_b.index(c) for c in (*both, *summed, *columns)])
    order = [*both, *rows, *columns]
    with writer.output(result) as out:
        if order == list(of_y):
            _step(writer, operator, a, b, out)
            return
        y = writer.temporary("product", tuple(sizes[c] for c in order), result)
        _step(writer, operator, a, b, y)
        writer.copy(y.transpose(tuple(order.index(c) for c in of_y)), out)


def _factors(writer: Writer, spec: Generic) -> tuple[Factor, Factor]:
    """Both sides in the order of the node."""
    sides = []
    for index in range(2):
        if index in spec.call.constants:
            sides.append(Factor(*constant_bytes(writer, spec.call.constants[index].astype(np.float64))))
        else:
            sides.append(Factor(*writer.plain_view(writer.source.inputs[spec.reads.index(index)])))
    return sides[0], sides[1]


def _operator(
    writer: Writer, a: Factor, b: Factor, shapes: tuple[tuple[int, ...], tuple[int, ...]], result: Tensor
) -> ops.QProduct:
    if (depth := shapes[0][-1]) > MOST_DEPTH:
        raise UnsupportedError(writer.name, f"{PRODUCT_DEPTH}, not {depth}", "keep it in float (--keep-float)")
    mul, shift = writer.encode(a.tensor.scale * b.tensor.scale / result.scale)
    constant: Literal["", "a", "b"] = (
        "" if isinstance(a.value, View) and isinstance(b.value, View) else "b" if isinstance(a.value, View) else "a"
    )
    zeros = a.tensor.zero, b.tensor.zero
    return ops.QProduct(*shapes, zeros, mul, shift, finish_of(result), constant)


def _step(writer: Writer, operator: ops.QProduct, a: Factor, b: Factor, out: View) -> None:
    sides = {"a": a.value, "b": b.value}
    views = {name: value for name, value in sides.items() if isinstance(value, View)}
    constants = {
        name: Constant(f"{writer.name}.{name}", value) for name, value in sides.items() if not isinstance(value, View)
    }
    writer.step(operator, {**views, "y": reshaped(writer, out, operator.shape)}, constants)


def reshaped(writer: Writer, view: View, shape: tuple[int, ...]) -> View:
    """The view in another shape, copied only where it must be."""
    seen = view.reshape(shape) or writer.dense(view).reshape(shape)
    assert seen is not None
    return seen
