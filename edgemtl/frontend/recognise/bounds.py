"""How many elements of a value along an axis can be other than 0: what makes a mixture sparse, however it is written.

A bound k of a set of axes says: whatever the indices on all other axes, at most k elements over these axes are not 0.
Elements that are NaN, from 0 / 0 or 0 * infinity, are left out of the count.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import product

import numpy as np
import onnx_ir as ir

from edgemtl.frontend.recognise.layout import axis_groups
from edgemtl.graph import array_of, attribute, ints_of, is_static, main_input, operand, result, scalar_of, shape_of

Axes = frozenset[int]
Bounds = Mapping[Axes, int]
"""By axes, each larger than 1; what is not there has no bound but the number of its elements."""
Known = Mapping[ir.Value, Bounds]


def nonzero_bounds(graph: ir.Graph) -> dict[ir.Value, Bounds]:
    """The bounds of every value of fixed shape that has some."""
    known: dict[ir.Value, Bounds] = {}
    for node in graph:
        rule = _RULES.get(node.op_type) if node.domain == "" else None
        if rule is None or not all(v is None or is_static(v) or v.const_value is not None for v in node.inputs):
            continue
        for value in node.outputs:
            bounds = _tight(rule(node, known), shape_of(value)) if is_static(value) else {}
            if bounds:
                known[value] = bounds
    return known


def _tight(bounds: Bounds, shape: Sequence[int]) -> Bounds:
    """The bounds that say something, of axes larger than 1."""
    large: dict[Axes, int] = {}
    for axes, count in bounds.items():
        some = frozenset(axis for axis in axes if shape[axis] > 1)
        large[some] = min(count, large.get(some, count))
    return {axes: count for axes, count in large.items() if axes and count < math.prod(shape[a] for a in axes)}


def bound_of(axes: Axes, bounds: Bounds, shape: Sequence[int]) -> int:
    """The least bound of a set of axes that follows from the known ones."""
    rest = (count * math.prod(shape[axis] for axis in axes - some) for some, count in bounds.items() if some <= axes)
    whole = (count for more, count in bounds.items() if more >= axes)
    return min([math.prod(shape[axis] for axis in axes), *rest, *whole])


def _of(value: ir.Value | None, known: Known) -> Bounds:
    """The bounds of a value: of a constant, those that its elements show."""
    array = array_of(value)
    if value is None or array is None:
        return known.get(value, {}) if value is not None else {}
    used = np.asarray(array != 0)
    return _tight({frozenset({a}): int(used.sum(a).max(initial=0)) for a in range(array.ndim)}, array.shape)


def _is_zero(value: ir.Value | None) -> bool:
    array = array_of(value)
    return array is not None and not array.any()


def _multiplied(terms: Iterable[tuple[Bounds, Axes]]) -> Bounds:
    """Bounds of a product; each term has bounds and the axes it varies along."""
    bounds, varying = dict[Axes, int](), Axes()
    for more, axes in terms:
        joint = {
            one | other: a * b
            for (one, a), (other, b) in product(bounds.items(), more.items())
            if not one & other and (not varying & other or not axes & one)
        }
        for some, count in (*more.items(), *joint.items()):
            bounds[some] = min(count, bounds.get(some, count))
        varying |= axes
    return bounds


def _summed(bounds: Bounds, shape: Sequence[int], over: Axes) -> Bounds:
    """Bounds of a sum, largest or least over axes, which stay as axes of size 1."""
    left = {some - over: 0 for some in bounds if some - over}
    return {
        some: min(
            bound_of(some, bounds, shape) * math.prod(shape[a] for a in over), bound_of(some | over, bounds, shape)
        )
        for some in left
    }


def _broadcast(value: ir.Value | None, rank: int, known: Known) -> tuple[Bounds, Axes]:
    """Bounds and varying axes of an operand, by the axes of a result of this rank."""
    shape = shape_of(value)
    moved = rank - len(shape)
    bounds = {frozenset(a + moved for a in axes): count for axes, count in _of(value, known).items()}
    return bounds, frozenset(a + moved for a, size in enumerate(shape) if size > 1)


def _same(node: ir.Node, known: Known) -> Bounds:
    """What keeps 0 at 0, element by element or in part."""
    return _of(main_input(node), known)


def _product(node: ir.Node, known: Known) -> Bounds:
    rank = len(shape_of(result(node)))
    return _multiplied(_broadcast(value, rank, known) for value in node.inputs)


def _quotient(node: ir.Node, known: Known) -> Bounds:
    return _broadcast(main_input(node), len(shape_of(result(node))), known)[0]


def _sum(node: ir.Node, known: Known) -> Bounds:
    shape = shape_of(result(node))
    return _added([_broadcast(value, len(shape), known)[0] for value in node.inputs], shape)


def _added(terms: Sequence[Bounds], shape: Sequence[int]) -> Bounds:
    every = {axes for term in terms for axes in term}
    return {axes: sum(bound_of(axes, term, shape) for term in terms) for axes in every}


def _chosen(node: ir.Node, known: Known) -> Bounds:
    """Where: nothing where one branch is 0 and the condition chooses it."""
    shape = shape_of(result(node))
    condition, yes, no = (_broadcast(value, len(shape), known) for value in node.inputs)
    if _is_zero(operand(node, "Y")):
        return _multiplied([condition, yes])
    return no[0] if _is_zero(operand(node, "X")) else _added([yes[0], no[0]], shape)


def _greater(node: ir.Node, known: Known) -> Bounds:
    limit = scalar_of(operand(node, "B"))
    return _of(main_input(node), known) if limit is not None and limit >= 0 else {}


def _equal(node: ir.Node, known: Known) -> Bounds:
    """One of different numbers at most is equal to what does not vary along their axis."""
    shape = shape_of(result(node))
    for one, other in (node.inputs, tuple(node.inputs)[::-1]):
        numbers = array_of(one)
        if numbers is not None and numbers.ndim and len(np.unique(numbers)) == numbers.size == numbers.shape[-1] > 1:
            last = len(shape) - 1
            if last not in _broadcast(other, len(shape), known)[1]:
                return {frozenset({last}): 1}
    return {}


def _one_hot(node: ir.Node, known: Known) -> Bounds:
    values, rank = array_of(operand(node, "values")), len(shape_of(result(node)))
    zero = values is not None and values.reshape(-1)[0] == 0
    return {frozenset({attribute(node, "axis", -1) % rank}): 1} if zero else {}


def _scattered(node: ir.Node, known: Known) -> Bounds:
    data, indices = operand(node, "data"), operand(node, "indices")
    axis = attribute(node, "axis", 0) % len(shape_of(data))
    axes = frozenset({axis})
    before = 0 if _is_zero(data) else bound_of(axes, _of(data, known), shape_of(data))
    return {axes: before + shape_of(indices)[axis]}


def _gathered(node: ir.Node, known: Known) -> Bounds:
    data, rank = operand(node, "data"), len(shape_of(operand(node, "indices")))
    axis = attribute(node, "axis", 0) % len(shape_of(data))
    left = {axes: count for axes, count in _of(data, known).items() if axis not in axes}
    return {frozenset(a if a < axis else a + rank - 1 for a in axes): count for axes, count in left.items()}


def _transposed(node: ir.Node, known: Known) -> Bounds:
    rank = len(shape_of(result(node)))
    perm = attribute(node, "perm", tuple(reversed(range(rank))))
    return {frozenset(map(perm.index, axes)): count for axes, count in _same(node, known).items()}


def _reshaped(node: ir.Node, known: Known) -> Bounds:
    """Axes that are merged or split keep their bound together."""
    source = main_input(node)
    bounds, shape = _of(source, known), shape_of(source)
    groups = axis_groups(shape, shape_of(result(node))) if bounds else ()
    merged = {frozenset(new): bound_of(frozenset(old), bounds, shape) for old, new in groups}
    places = {old[0]: new[0] for old, new in groups if len(old) == len(new) == 1}
    for axes, count in bounds.items():
        if axes <= places.keys():
            merged[frozenset(places[a] for a in axes)] = count
    return merged


def _joined(node: ir.Node, known: Known) -> Bounds:
    axis = attribute(node, "axis", 0) % len(shape_of(result(node)))
    parts = [(_of(value, known), shape_of(value)) for value in node.inputs]
    joined = {}
    for axes in {axes for bounds, _ in parts for axes in bounds} | {frozenset({axis})}:
        counts = [bound_of(axes, bounds, shape) for bounds, shape in parts]
        joined[axes] = sum(counts) if axis in axes else max(counts)
    return joined


def _reduced(node: ir.Node, known: Known) -> Bounds:
    source = main_input(node)
    bounds, shape = _of(source, known), shape_of(source)
    given = ints_of(operand(node, "axes")) or attribute(node, "axes", tuple(range(len(shape))))
    over = frozenset(axis % len(shape) for axis in given)
    summed = _summed(bounds, shape, over)
    if attribute(node, "keepdims", 1):
        return summed
    places = [axis for axis in range(len(shape)) if axis not in over]
    return {frozenset(map(places.index, axes)): count for axes, count in summed.items()}


def _contracted(node: ir.Node, known: Known) -> Bounds:
    """Einsum: a product over all letters, summed over those the result lacks."""
    equation = node.attributes["equation"].as_string().replace(" ", "")
    terms, arrow, of_result = equation.partition("->")
    if not arrow or "." in equation or any(len(set(term)) < len(term) for term in terms.split(",")):
        return {}
    return _letters(list(zip(terms.split(","), node.inputs, strict=True)), of_result, known)


def _matmul(node: ir.Node, known: Known) -> Bounds:
    """A product of matrices, or of equal stacks of them."""
    a, b = (shape_of(value) for value in node.inputs)
    if len(a) < 2 or len(a) != len(b) or a[:-2] != b[:-2]:
        return {}
    stack = "abcdefgh"[: len(a) - 2]
    terms = list(zip((f"{stack}mk", f"{stack}kn"), node.inputs, strict=True))
    return _letters(terms, f"{stack}mn", known)


def _letters(terms: Sequence[tuple[str, ir.Value | None]], of_result: str, known: Known) -> Bounds:
    letters = sorted({letter for term, _ in terms for letter in term})
    sizes = {letter: size for term, value in terms for letter, size in zip(term, shape_of(value), strict=True)}
    shape = [sizes[letter] for letter in letters]
    factors = []
    for term, value in terms:
        bounds = {frozenset(letters.index(term[a]) for a in s): k for s, k in _of(value, known).items()}
        factors.append((bounds, frozenset(map(letters.index, term))))
    over = frozenset(i for i, letter in enumerate(letters) if letter not in of_result)
    summed = _summed(_multiplied(factors), shape, over)
    return {frozenset(of_result.index(letters[i]) for i in axes): count for axes, count in summed.items()}


_Rule = Callable[[ir.Node, Known], Bounds]
_RULES: Mapping[str, _Rule] = {
    **dict.fromkeys(("Abs", "Cast", "Identity", "Neg", "Relu", "Sign", "Slice", "Split", "Sqrt", "Expand"), _same),
    **dict.fromkeys(("And", "Mul"), _product),
    **dict.fromkeys(("Add", "Or", "Sub", "Sum"), _sum),
    **dict.fromkeys(("ReduceMax", "ReduceMean", "ReduceMin", "ReduceSum"), _reduced),
    **dict.fromkeys(("Flatten", "Reshape", "Squeeze", "Unsqueeze"), _reshaped),
    "Concat": _joined,
    "Div": _quotient,
    "Einsum": _contracted,
    "Equal": _equal,
    "Gather": _gathered,
    "Greater": _greater,
    "MatMul": _matmul,
    "OneHot": _one_hot,
    "ScatterElements": _scattered,
    "Transpose": _transposed,
    "Where": _chosen,
}
