"""Buffers between two steps alone: where several steps can be written as one."""

from __future__ import annotations

from collections.abc import Sequence

from edgemtl.lowering.ir import OUTPUT, Step, View


def only_link(steps: Sequence[Step], view: View) -> tuple[int, int] | None:
    """The step that alone writes a view's buffer, and the one that alone reads it; None where there are not both."""
    writers = [i for i, step in enumerate(steps) for out in step.outputs if out.buffer == view.buffer]
    readers = [i for i, step in enumerate(steps) for read in step.inputs if read.buffer == view.buffer]
    alone = len(writers) == len(readers) == 1 and view.buffer != OUTPUT
    return (writers[0], readers[0]) if alone else None


def rows_of_planes(turn: Step) -> View | None:
    """What a copy to planes [1, C, H, W] reads, as dense rows [1, H, W, C]; None where they are not."""
    source = turn["x"]
    rows = source.transpose((0, 2, 3, 1)) if len(source.shape) == 4 else source
    return rows if len(rows.shape) == 4 and rows.is_dense and not rows.offset else None
