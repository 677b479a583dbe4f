"""Strided views of buffers as ONNX operators: which reshape, slice and transpose read what a step reads."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np

from edgemtl.lowering.ir import View
from edgemtl.quantize.qdq.graph import GraphBuilder, Value


@dataclass(frozen=True)
class DenseBlock:
    """A view as a block of a dense array of ``shape``: from ``starts``, ``sizes`` long, its axes turned by ``perm``."""

    shape: tuple[int, ...]
    starts: tuple[int, ...]
    sizes: tuple[int, ...]
    perm: tuple[int, ...]


def read(graph: GraphBuilder, contents: Value, view: View) -> Value:
    """The elements that a view reads from a buffer with row-major ``contents``."""
    block = as_block(view, contents.size)
    if block is None:
        return _gather(graph, contents, view)
    values = graph.reshape(contents, block.shape)
    if block.sizes != block.shape:
        ends = tuple(start + size for start, size in zip(block.starts, block.sizes, strict=True))
        part = graph.op("Slice", (values, graph.ints(block.starts), graph.ints(ends)), block.sizes)
        values = replace(part, tensor=contents.tensor)
    return graph.reshape(graph.transpose(values, block.perm), view.shape)


def as_block(view: View, size: int) -> DenseBlock | None:
    """The view of a buffer of ``size`` elements as a block; None where it is none, such as a view that repeats."""
    axes = sorted((axis for axis, n in enumerate(view.shape) if n > 1), key=lambda axis: -view.strides[axis])
    strides, sizes = [view.strides[axis] for axis in axes], [view.shape[axis] for axis in axes]
    perm = sorted(range(len(axes)), key=axes.__getitem__)
    if not strides or strides[-1] > 1:
        # A further axis covers the elements that the last stride skips.
        strides, sizes, perm = [*strides, 1], [*sizes, 1], [*perm, len(axes)]
    if 0 in strides or size % strides[0] or any(outer % inner for outer, inner in pairwise(strides)):
        return None
    shape = [size // strides[0], *(outer // inner for outer, inner in pairwise(strides))]
    starts = [view.offset % (n * s) // s for n, s in zip(shape, strides, strict=True)]
    if any(start + length > whole for start, length, whole in zip(starts, sizes, shape, strict=True)):
        return None
    return DenseBlock(tuple(shape), tuple(starts), tuple(sizes), tuple(perm))


def _gather(graph: GraphBuilder, contents: Value, view: View) -> Value:
    """Element by element."""
    index = np.full(view.shape, view.offset, np.int64)
    for axis, (length, stride) in enumerate(zip(view.shape, view.strides, strict=True)):
        index += (np.arange(length) * stride).reshape(-1, *(1,) * (len(view.shape) - axis - 1))
    flat = graph.reshape(contents, (contents.size,))
    return replace(graph.op("Gather", (flat, graph.constant("places", index)), view.shape), tensor=contents.tensor)
