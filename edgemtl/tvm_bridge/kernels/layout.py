"""Small transpositions in registers, on which copies between layouts and resizes to planes are built."""

from __future__ import annotations

from collections.abc import Callable

from edgemtl.tvm_bridge.kernels.emit import Lane, local, vector_store


def transpose(rows: int, columns: int, load: Callable[[int], Lane], store: Callable[[int, Lane], None]) -> None:
    """Read ``rows`` vectors of ``columns`` values, write ``columns`` vectors of ``rows``.

    ``load(row)`` gives the value of each lane of a row; ``store(column, value)`` stores one column. The
    buffer between is never in memory: LLVM makes shuffles of it.
    """
    tile = local(rows * columns)
    for row in range(rows):
        vector_store(tile, columns, load(row), lambda lane, row=row: (row * columns + lane,))  # type: ignore[misc]
    for column in range(columns):
        store(column, lambda lane, column=column: tile[lane * columns + column])  # type: ignore[misc]
