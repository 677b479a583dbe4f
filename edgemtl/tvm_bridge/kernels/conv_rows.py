"""One output row of a convolution: which pixels must test whether their window leaves the image."""

from __future__ import annotations

from collections.abc import Callable

from tvm.script.ir_builder import tirx as T

from edgemtl.operators import Conv2d
from edgemtl.tvm_bridge.kernels.emit import Expr

# First pixel, pixels of the tile, whether each tests its window.
EmitPixels = Callable[[Expr, int, bool], None]


def inner_columns(spec: Conv2d) -> tuple[int, int]:
    """Output columns [start, stop) whose whole window lies inside the input's row."""
    reach = (spec.kernel[1] - 1) * spec.dilation[1]
    start = -(-spec.pad[1] // spec.stride[1])
    stop = (spec.width - 1 - reach + spec.pad[1]) // spec.stride[1] + 1
    return min(start, spec.out_width), min(max(stop, 0), spec.out_width)


def row_tiles(spec: Conv2d, tall: int, row: Expr, emit: EmitPixels) -> None:
    """Tiles of ``tall`` pixels along output row ``row``: tested at both ends, free in between."""
    start, stop = inner_columns(spec)
    free = max(0, stop - start) // tall * tall
    left = start if free else spec.out_width
    spans = ((0, left, True), (left, free, False), (left + free, spec.out_width - left - free, True))
    for first, count, tested in spans:
        if count // tall:
            with T.serial(count // tall) as index:
                emit(first + index * tall, tall, tested)
        if count % tall:
            emit(first + count // tall * tall + row * 0, count % tall, tested)
