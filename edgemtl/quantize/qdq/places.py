"""Strided views of buffers as ONNX operators: which reshape, slice and transpose read what a step reads."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np

from edgemtl.lowering.ir import View
from edgemtl.quantize.qdq.graph import GraphBuilder, Value


@dataclass(frozen=True)
class Cut:
    """A view as a block of a dense array of ``shape``: from ``starts``, ``sizes`` long, its axes turned by ``perm``."""

    shape: tuple[int, ...]
    starts: tuple[int, ...]
    sizes: tuple[int, ...]
    perm: tuple[int, ...]


def read(graph: GraphBuilder, held: Value, view: View) -> Value:
    """What a view sees of a buffer whose contents, row-major, are ``held``."""
    cut = as_cut(view, held.size)
    if cut is None:
        return _gather(graph, held, view)
    block = graph.reshape(held, cut.shape)
    if cut.sizes != cut.shape:
        ends = tuple(start + size for start, size in zip(cut.starts, cut.sizes, strict=True))
        part = graph.op("Slice", (block, graph.ints(cut.starts), graph.ints(ends)), cut.sizes)
        block = replace(part, tensor=held.tensor)
    return graph.reshape(graph.transpose(block, cut.perm), view.shape)


def as_cut(view: View, size: int) -> Cut | None:
    """The view of a buffer of ``size`` elements as a cut; None where there is none, as for a view that repeats."""
    axes = sorted((axis for axis, n in enumerate(view.shape) if n > 1), key=lambda axis: -view.strides[axis])
    strides, sizes = [view.strides[axis] for axis in axes], [view.shape[axis] for axis in axes]
    perm = sorted(range(len(axes)), key=axes.__getitem__)
    if not strides or strides[-1] > 1:
        # An axis inside the last one holds what its stride leaves out.
        strides, sizes, perm = [*strides, 1], [*sizes, 1], [*perm, len(axes)]
    if 0 in strides or size % strides[0] or any(outer % inner for outer, inner in pairwise(strides)):
        return None
    shape = [size // strides[0], *(outer // inner for outer, inner in pairwise(strides))]
    starts = [view.offset % (n * s) // s for n, s in zip(shape, strides, strict=True)]
    if any(start + length > whole for start, length, whole in zip(starts, sizes, shape, strict=True)):
        return None
    return Cut(tuple(shape), tuple(starts), tuple(sizes), tuple(perm))


def _gather(graph: GraphBuilder, held: Value, view: View) -> Value:
    """Element by element."""
    index = np.full(view.shape, view.offset, np.int64)
    for axis, (length, stride) in enumerate(zip(view.shape, view.strides, strict=True)):
        index += (np.arange(length) * stride).reshape(-1, *(1,) * (len(view.shape) - axis - 1))
    flat = graph.reshape(held, (held.size,))
    return replace(graph.op("Gather", (flat, graph.constant("places", index)), view.shape), tensor=held.tensor)
