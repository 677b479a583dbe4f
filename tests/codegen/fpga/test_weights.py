"""Weights and constants in memory, against loops written from docs/accelerator.md."""

from __future__ import annotations

import math
import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgemtl.codegen.fpga import weights
from edgemtl.hw.law import Finish
from edgemtl.hw.spec import Engine
from tests.codegen.fpga.builder import WIDE, Net
from tests.codegen.fpga.rig import small_spec
from tests.hw.coded import EMPTY, coded_layer, draw_codes

ARRAYS = [(8, 8), (16, 16), (32, 16), (64, 32), (96, 16), (96, 32), (96, 48)]
engines = st.sampled_from(ARRAYS).map(lambda shape: small_spec(*shape).engine)


def lines(data: bytes) -> bytes:
    """Zeros up to a line of 64 bytes."""
    return data + bytes(-len(data) % 64)


def naive_layer(engine: Engine, rows: list[list[list[int]]], bias, scale, table) -> bytes:
    """``rows``: for each tile of k its rows, each with the weights of all columns."""
    granule, n = engine.array_columns, len(bias)
    data = b"" if table is None else struct.pack("256b", *table)
    for first in range(0, n, granule):
        columns = range(first, first + granule)
        data += b"".join(struct.pack("<i", bias[c] if c < n else 0) for c in columns)
        data += b"".join(struct.pack("<i", scale[c] if c < n else EMPTY) for c in columns)
        for tile in rows:
            for row in tile:
                data += b"".join(struct.pack("b", row[c] if c < n else 0) for c in columns)
    return lines(data)


@given(engine=engines, data=st.data())
def test_linear(engine: Engine, data: st.DataObject) -> None:
    k, n, tabled = data.draw(st.integers(1, 200)), data.draw(st.integers(1, 70)), data.draw(st.booleans())
    layer = Net(data.draw(st.integers(0, 99))).layer(k, n, Finish("int8"), tabled)
    weight, bias, scale, *table = (part.tolist() for part in layer.values())
    height = engine.array_rows
    tiles = [weight[at : at + height] for at in range(0, k, height)]
    wanted = naive_layer(engine, tiles, bias, scale, table[0] if table else None)
    assert weights.linear_weights(engine, layer) == wanted
    first = data.draw(st.integers(0, n - 1))
    last = data.draw(st.integers(first + 1, n))
    cut = [[row[first:last] for row in tile] for tile in tiles]
    part = naive_layer(engine, cut, bias[first:last], scale[first:last], table[0] if table else None)
    assert weights.linear_weights(engine, layer, slice(first, last)) == part


@given(engine=engines, data=st.data())
def test_linear_in_4_bits(engine: Engine, data: st.DataObject) -> None:
    k, n, tabled = data.draw(st.integers(1, 300)), data.draw(st.integers(1, 70)), data.draw(st.booleans())
    net, array = Net(data.draw(st.integers(0, 99))), (engine.array_rows, engine.array_columns)
    layer = net.layer(k, n, Finish("int8"), tabled)
    del layer["weight"]
    codes, multipliers = draw_codes(net.rng, k, n)
    coded = layer | {"codes": codes, "multipliers": multipliers}
    bias, scale, *table = (part.tolist() for part in layer.values())
    expected = coded_layer(array, codes, multipliers, bias, scale, table[0] if table else None)
    assert weights.linear_weights(engine, coded) == expected
    assert weights.layer_lines(engine, k, n, tabled, True) * 64 == len(expected)
    first = data.draw(st.integers(0, n - 1))
    cut = slice(first, data.draw(st.integers(first + 1, n)))
    part = coded_layer(array, codes[:, cut], multipliers[:, cut], bias[cut], scale[cut], table[0] if table else None)
    assert weights.linear_weights(engine, coded, cut) == part


@given(engine=engines, data=st.data())
def test_lines_of_an_expert(engine: Engine, data: st.DataObject) -> None:
    k, hidden, n = (data.draw(st.integers(1, 150)) for _ in range(3))
    tables = data.draw(st.booleans()), data.draw(st.booleans())
    net = Net(0)
    layers = net.layer(k, hidden, Finish("int8"), tables[0]), net.layer(hidden, n, WIDE, tables[1])
    made = sum(len(weights.linear_weights(engine, layer)) for layer in layers)
    assert weights.expert_lines(engine, k, hidden, n, tables) * 64 == made


@given(engine=engines, data=st.data())
def test_conv(engine: Engine, data: st.DataObject) -> None:
    """Tiles in order dy, then dx where a tile holds one tap, then groups of channels; inside dx, then channel."""
    height, width = data.draw(st.integers(1, 7)), data.draw(st.sampled_from([1, 2, 3, 3, 5, 7]))
    k, n, tabled = data.draw(st.integers(1, 80)), data.draw(st.integers(1, 40)), data.draw(st.booleans())
    layer = Net(data.draw(st.integers(0, 99))).layer(height * width * k, n, Finish("int8"), tabled)
    kernel = layer["weight"].T.reshape(n, k, height, width)
    _, bias, scale, *table = (part.tolist() for part in layer.values())
    p, g = engine.array_rows, engine.array_columns
    taps = 3 if width == 3 and p % 3 == 0 and p / 3 >= g else 1
    tiles = []
    for dy in range(height):
        for start in range(0, width, taps):
            for group in range(math.ceil(k / (p // taps))):
                tile = []
                for dx in range(start, start + taps):
                    for channel in range(group * (p // taps), min((group + 1) * (p // taps), k)):
                        tile.append([int(kernel[column, channel, dy, dx]) for column in range(n)])
                tiles.append(tile)
    wanted = naive_layer(engine, tiles, bias, scale, table[0] if table else None)
    assert weights.conv_weights(engine, layer, kernel, taps) == wanted


@pytest.mark.parametrize("width", [1, 31, 32, 33, 192])
def test_norm_constants_begin_at_granules(width: int) -> None:
    engine = small_spec(96, 32).engine
    halvings, offset = np.arange(width, dtype=np.int8) % 8, np.arange(width, dtype=np.int8) - 90
    made = np.frombuffer(weights.norm_constants(engine, halvings, offset), np.int8)
    granules = math.ceil(width / 32)
    assert made.size == 2 * granules * 32
    np.testing.assert_array_equal(made[:width], halvings)
    np.testing.assert_array_equal(made[granules * 32 :][:width], offset)


@given(st.integers(1, 256), st.data())
def test_route_constants(experts: int, data: st.DataObject) -> None:
    """A bit for each candidate, bit 0 of a byte first; then the early ones' numbers."""
    chosen = tuple(sorted(data.draw(st.sets(st.integers(0, experts - 1), min_size=1))))
    early = tuple(data.draw(st.lists(st.integers(0, len(chosen) - 1), unique=True)))
    made = weights.route_constants(experts, chosen, early)
    assert [e for e in range(256) if made[e // 8] >> e % 8 & 1] == list(chosen)
    assert tuple(made[32:]) == early


@pytest.mark.parametrize("width", [1, 16, 24, 48, 80])
def test_rows_begin_at_lines_and_fill_whole_granules(width: int) -> None:
    engine = small_spec(16, 16).engine
    rows = np.random.default_rng(0).integers(-(2**15), 2**15, (3, width)).astype(np.int16)
    made = weights.rows_constants(engine, rows)
    step = math.ceil(2 * 16 * math.ceil(width / 16) / 64) * 64
    assert len(made) == 3 * step
    for at, row in enumerate(rows):
        line = made[at * step : (at + 1) * step]
        assert line == b"".join(struct.pack("<h", value) for value in row) + bytes(step - 2 * width)
