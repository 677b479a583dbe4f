"""How heads of an attention lie on the array: padded to whole columns, several at once, as many as memory holds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from edgemtl.codegen.fpga import networks
from edgemtl.codegen.fpga.weights import EMPTY_SCALE
from edgemtl.hw.geometry import (
    HEADS,
    SCORE_GRANULES,
    can_compute_heads,
    head_bytes,
    lanes_of,
    score_granules,
    score_rows_lie_apart,
)
from edgemtl.hw.isa import LINE_BYTES
from edgemtl.hw.regions import capacities
from edgemtl.hw.spec import Engine
from edgemtl.operators import Array, QAttention


def heads_together(engine: Engine, attention: QAttention) -> int:
    """How many heads the array computes at once: several where their channels together fill its rows exactly."""
    filling = (n for n in HEADS if attention.heads % n == 0 and n * attention.head_dim == engine.array_rows)
    return next((n for n in filling if can_compute_heads(engine, n)), 1)


def columns_by_chain(engine: Engine, attention: QAttention) -> Array:
    """Columns of q, k and v in the order in which the array takes them, int64 [3 * heads * head_dim].

    Where several heads are computed at once, the channels of q and k lie on the chains of their heads, both alike.
    """
    together, width = heads_together(engine, attention), attention.heads * attention.head_dim
    columns = np.arange(3 * width)
    if together > 1:
        group = np.empty(engine.array_rows, np.int64)
        group[head_bytes(engine.array_rows, together).reshape(-1)] = np.arange(engine.array_rows)
        columns[: 2 * width] = (np.arange(0, 2 * width, engine.array_rows)[:, None] + group).reshape(-1)
    return columns


def score_stride(engine: Engine, attention: QAttention) -> int:
    """Granules from one row of scores to the next, padded until rows written in one cycle lie in different lanes."""
    together, lanes = heads_together(engine, attention), lanes_of(engine, "scores0")
    stride = SCORE_GRANULES * -(-attention.tokens // engine.array_columns)
    while not score_rows_lie_apart(stride, together, lanes, score_granules(engine)):
        stride += SCORE_GRANULES
    return stride


def padded(engine: Engine, attention: QAttention) -> QAttention:
    """The same attention with as many channels of each of several heads as fill whole columns of the array."""
    if attention.heads == 1:
        return attention
    return replace(attention, head_dim=-(-attention.head_dim // engine.array_columns) * engine.array_columns)


def padded_channels(engine: Engine, attention: QAttention) -> Array:
    """Where the channels of all heads lie between those that pad them, int64 [heads * head_dim]."""
    wide = padded(engine, attention).head_dim
    return (np.arange(attention.heads)[:, None] * wide + np.arange(attention.head_dim)).reshape(-1)


def padded_qkv(engine: Engine, group: networks.AttentionGroup) -> dict[str, Array]:
    """The constants of the projection with zeros for padding channels, columns in the order of `columns_by_chain`."""
    attention = group.attention.operator
    wide = padded(engine, attention)
    order = columns_by_chain(engine, wide)
    if wide == attention:
        return {name: array[..., order] for name, array in group.qkv.arrays().items()}
    width = wide.heads * wide.head_dim
    channels = padded_channels(engine, attention)
    columns = (np.arange(3)[:, None] * width + channels).reshape(-1)
    fills = {"weight": 0, "bias": 0, "scale": EMPTY_SCALE}
    arrays = group.qkv.step.arrays()
    return {name: _spread(arrays[name], columns, 3 * width, fill)[..., order] for name, fill in fills.items()}


def padded_rows(engine: Engine, attention: QAttention, layer: Mapping[str, Array]) -> dict[str, Array]:
    """The constants of a layer behind the heads, its weight with rows of zeros for padding channels."""
    channels = padded_channels(engine, attention)
    width = attention.heads * padded(engine, attention).head_dim
    return {**layer, "weight": _spread(layer["weight"].T, channels, width, 0).T}


def _spread(array: Array, columns: Array, width: int, fill: int) -> Array:
    """The columns of ``array`` [.., n] at places of their own among ``width``; ``fill`` elsewhere."""
    wide = np.full((*array.shape[:-1], width), fill, array.dtype)
    wide[..., columns] = array
    return wide


def key_bytes(engine: Engine, attention: QAttention, heads: int) -> int:
    """Bytes on chip of the keys and values of so many heads, which `padded` gave."""
    granules = -(-attention.head_dim // engine.array_columns)
    return 2 * attention.tokens * heads * granules * engine.array_columns


def keys_fit(engine: Engine, attention: QAttention) -> bool:
    """Whether keys and values of all heads fit on chip together."""
    wide = padded(engine, attention)
    return key_bytes(engine, wide, wide.heads) <= capacities(engine)["hidden"]


def head_sets(engine: Engine, attention: QAttention) -> list[tuple[int, int]]:
    """(first, heads) of the heads whose keys and values are on chip together; results of each set begin a line.

    Where not even the smallest set fits, the sets are the smallest.
    """
    if keys_fit(engine, attention):
        return [(0, attention.heads)]
    wide = padded(engine, attention)
    together = heads_together(engine, wide)
    sizes = [size for size in range(together, wide.heads, together) if size * attention.head_dim % LINE_BYTES == 0]
    fitting = [size for size in sizes if key_bytes(engine, wide, size) <= capacities(engine)["hidden"]]
    step = max(fitting, default=min(sizes, default=wide.heads))
    return [(first, min(step, wide.heads - first)) for first in range(0, wide.heads, step)]
