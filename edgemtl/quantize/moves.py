"""Nodes that move elements in integers: what goes where is found by moving their numbers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from edgemtl import operators as ops
from edgemtl.errors import UnsupportedError
from edgemtl.hw.arith import INT8, INT16
from edgemtl.hw.law_weightless import Rescale
from edgemtl.lowering.ir import Constant, View
from edgemtl.onnx_runtime import open_session
from edgemtl.operators import Array, TensorType
from edgemtl.quantize.nodes import number_inputs
from edgemtl.quantize.products import reshaped
from edgemtl.quantize.scores import masked
from edgemtl.quantize.tensors import Tensor
from edgemtl.quantize.writer import Writer
from edgemtl.tvm_bridge.generic import Generic, node_model


@dataclass(frozen=True)
class Moves:
    """Where a node takes its elements from: ``sources`` int64 [size], places in its computed operands one behind the
    other and, behind these, in ``constants`` float64, the last of which is 0.
    """

    sources: Array = field(repr=False)
    constants: Array = field(repr=False)


def find_moves(operator: Generic) -> Moves:
    """Where a node takes its elements from: it moves numbers 1, 2, .. of computed ones, -1, -2, .. of constants."""
    call, reads = operator.call, operator.reads
    kinds = list(call.inputs)
    constants = dict(call.constants)
    fed, computed, given = {}, 0, list[Array]()
    for index in number_inputs(call):
        kind = kinds[index]
        assert kind is not None
        kinds[index] = TensorType(kind.shape, "float64")
        if index in reads:
            fed[f"x{index}"] = (computed + 1.0 + np.arange(kind.size)).reshape(kind.shape)
            computed += kind.size
        else:
            first = sum(array.size for array in given)
            given.append(call.constants[index].astype(np.float64).reshape(-1))
            constants[index] = -(first + 1.0 + np.arange(kind.size)).reshape(kind.shape)
    outputs = (TensorType(call.result.shape, "float64"),)
    call = replace(call, inputs=tuple(kinds), constants=constants, outputs=outputs)
    (numbers,) = open_session(node_model(call, reads).SerializeToString()).run(None, fed)
    numbers = numbers.reshape(-1).astype(np.int64)
    last = computed + sum(array.size for array in given)
    places = np.where(numbers > 0, numbers - 1, np.where(numbers < 0, computed - numbers - 1, last))
    return Moves(places, np.concatenate([*given, np.zeros(1)]))


def write_move(writer: Writer, spec: Generic) -> None:
    """Blocks in another order. They keep their scale unless a constant that is not 0 or another operand joins them."""
    moves, views = find_moves(spec), [_integers(writer, view) for view in writer.source.inputs]
    count = sum(view.size for view in views)
    used = moves.sources[moves.sources >= count] - count
    (first, *others), constants = [writer.tensors[view.buffer] for view in views], moves.constants
    if np.isnan(constants[used]).any():
        raise UnsupportedError(writer.name, "it fills with NaN", "keep it in float (--keep-float)")
    keeps = not others and not constants[used].any()
    result = first if keeps else masked(writer)
    source = _flat(writer, views[0]) if keeps else _joined(writer, views, result)
    ends = INT8 if result.dtype == "int8" else INT16
    integers = np.clip(np.rint(constants / result.scale) + result.zero, *ends).astype(result.dtype)
    width, index, fill = cut_blocks(moves.sources, count, integers)
    assert result.dtype != "float32"
    operator = ops.QMove(count // width, len(fill), width, len(index), result.dtype)
    named = {"fill": Constant(f"{writer.name}.fill", fill), "index": Constant(f"{writer.name}.index", index)}
    with writer.output(result) as out:
        x = reshaped(writer, source, (count // width, width))
        writer.step(operator, {"x": x, "y": reshaped(writer, out, (len(index), width))}, named)


def _integers(writer: Writer, view: View) -> View:
    """An input as integers; what is float32 as those of the result, which may have 16 bits."""
    if writer.tensors[view.buffer].dtype == "float32":
        return writer.quantised_view(view, masked(writer))
    return writer.integers(view)


def _flat(writer: Writer, view: View) -> View:
    return reshaped(writer, view, (view.size,))


def _joined(writer: Writer, views: Sequence[View], result: Tensor) -> View:
    """The operands one behind the other, on the scale of the result."""
    flat = [reshaped(writer, view, (1, view.size)) for view in views]
    tensors = [writer.tensors[view.buffer] for view in views]
    whole = writer.temporary("operands", (1, sum(view.size for view in views)), result)
    scales = tuple(Rescale(x.zero, *writer.encode(x.scale / result.scale), result.zero) for x in tensors)
    dtypes = tuple(x.dtype for x in tensors)
    widths = tuple(view.size for view in views)
    operator = ops.QConcat(1, widths, scales, dtypes, result.dtype)  # type: ignore[arg-type]  # integers
    writer.step(operator, {**{f"x{i}": view for i, view in enumerate(flat)}, "y": whole})
    return _flat(writer, whole)


def cut_blocks(sources: Array, count: int, constants: Array) -> tuple[int, Array, Array]:
    """The widest blocks that move as wholes: their width, the index of each int32, and those of constants [n, width].

    ``sources``: places among ``count`` elements and ``constants`` behind these.
    """
    is_constant = sources >= count
    follows = np.where(is_constant[1:], is_constant[:-1], ~is_constant[:-1] & (np.diff(sources) == 1))
    begins = np.concatenate([[0], 1 + np.flatnonzero(~follows)])
    moved = sources[begins][~is_constant[begins]]
    width = math.gcd(len(sources), count, *map(int, np.unique(begins)), *map(int, np.unique(moved)))
    filled = is_constant[::width]
    values = constants[np.maximum(sources - count, 0)].reshape(-1, width)
    fill, which = np.unique(values[filled] if filled.any() else values[:1], axis=0, return_inverse=True)
    index = sources[::width] // width
    index[filled] = count // width + which.reshape(-1)[: filled.sum()]
    return width, index.astype(np.int32), np.ascontiguousarray(fill)
