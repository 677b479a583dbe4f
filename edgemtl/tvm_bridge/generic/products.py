"""Products of matrices and of tensors by index."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from tvm import te

from edgemtl.tvm_bridge.generic.call import Call, Definition, Expr, Refused, Tensor

ELLIPSIS = "..."


def matmul(call: Call) -> Tensor:
    """As numpy's matmul: vectors get an axis of one element, leading axes are broadcast."""
    a, b = call.tensors()
    left, right = call.type_of("A").shape, call.type_of("B").shape
    rows = () if len(left) == 1 else (left[-2],)
    columns = () if len(right) == 1 else (right[-1],)
    batch = np.broadcast_shapes(left[:-2], right[:-2])
    k = te.reduce_axis((0, left[-1]), name="k")

    def element(*at: Expr) -> Expr:
        outer, row, column = at[: len(batch)], at[len(batch) : len(batch) + len(rows)], at[len(batch) + len(rows) :]
        x = a(*_batch(outer, left[:-2]), *row, k)
        y = b(*_batch(outer, right[:-2]), *([k] if len(right) == 1 else [k, *column]))
        return te.sum(x * y, axis=k)

    return te.compute((*batch, *rows, *columns), element, name="matmul")


def _batch(index: Sequence[Expr], shape: Sequence[int]) -> list[Expr]:
    own = index[len(index) - len(shape) :]
    return [i if n > 1 else 0 for i, n in zip(own, shape, strict=True)]


def gemm(call: Call) -> Tensor:
    """alpha A B + beta C, either matrix transposed, C broadcast."""
    a, b, (output,) = call.tensor("A"), call.tensor("B"), call.outputs
    turned_a, turned_b = call.attribute("transA", 0), call.attribute("transB", 0)
    alpha, beta = call.attribute("alpha", 1.0), call.attribute("beta", 1.0)
    depth = call.main_type.shape[0 if turned_a else 1]
    k = te.reduce_axis((0, depth), name="k")

    def term(i: Expr, j: Expr) -> Expr:
        return te.sum((a(k, i) if turned_a else a(i, k)) * (b(j, k) if turned_b else b(k, j)), axis=k)

    product = te.compute(output.shape, term, name="product")
    if not call.has("C"):
        return te.compute(output.shape, lambda i, j: product(i, j) * _scalar(alpha, output.dtype), name="gemm")
    c, shape = call.tensor("C"), call.type_of("C").shape
    return te.compute(
        output.shape,
        lambda i, j: (
            product(i, j) * _scalar(alpha, output.dtype) + c(*_batch((i, j), shape)) * _scalar(beta, output.dtype)
        ),
        name="gemm",
    )


def _scalar(value: float, dtype: str) -> Expr:
    return te.const(value if dtype == "float32" else int(value), dtype)


def einsum(call: Call) -> Tensor:
    """The sum of products that an equation writes down; letters that the result lacks are summed over."""
    equation = call.attribute("equation", "").replace(" ", "")
    left, arrow, right = equation.partition("->")
    ranks = [len(kind.shape) for kind in call.types()]
    terms = [_letters(term, rank) for term, rank in zip(left.split(","), ranks, strict=True)]
    sizes = _sizes(call, terms)
    result = _result(terms, right, max((len(t) for t in terms), default=0)) if arrow else _implicit(terms)
    operands = [*zip(call.tensors(), call.types(), terms, strict=True)]
    summed = {letter: te.reduce_axis((0, n), name="k") for letter, n in sizes.items() if letter not in result}

    def element(*at: Expr) -> Expr:
        index = {**summed, **dict(zip(result, at, strict=True))}
        product: Expr = None
        for tensor, kind, letters in operands:
            value = tensor(*(index[c] if n > 1 else 0 for c, n in zip(letters, kind.shape, strict=True)))
            product = value if product is None else product * value
        return te.sum(product, axis=list(summed.values())) if summed else product

    return te.compute(tuple(sizes[c] for c in result), element, name="einsum")


def _letters(term: str, rank: int) -> tuple[str, ...]:
    """One name an axis; those of an ellipsis are counted from the right: "1", "0"."""
    before, dots, after = term.partition(ELLIPSIS)
    hidden = rank - len(before) - len(after) if dots else 0
    names = (*before, *(str(i) for i in reversed(range(hidden))), *after)
    if len(names) != rank:
        raise Refused(f"a term of Einsum must name {rank} axes, not {term}")
    return names


def _result(terms: Sequence[Sequence[str]], right: str, most: int) -> tuple[str, ...]:
    hidden = sorted({c for term in terms for c in term if c.isdigit()}, key=int, reverse=True)
    before, dots, after = right.partition(ELLIPSIS)
    return (*before, *(hidden if dots else ()), *after)


def _implicit(terms: Sequence[Sequence[str]]) -> tuple[str, ...]:
    """Without an arrow: the ellipsis, then the letters that stand once, in the order of the alphabet."""
    letters = [c for term in terms for c in term]
    hidden = sorted({c for c in letters if c.isdigit()}, key=int, reverse=True)
    return (*hidden, *sorted(c for c in letters if letters.count(c) == 1 and not c.isdigit()))


def _sizes(call: Call, terms: Sequence[Sequence[str]]) -> dict[str, int]:
    sizes: dict[str, int] = {}
    for kind, term in zip(call.types(), terms, strict=True):
        for letter, size in zip(term, kind.shape, strict=True):
            sizes[letter] = max(sizes.get(letter, 1), size)
    return sizes


OPERATORS: dict[str, Definition] = {"Einsum": einsum, "Gemm": gemm, "MatMul": matmul}
