"""LINEAR against the law: bytes, tables, 16 bits and residuals, tiles that are not whole, queues of experts."""

from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgemtl.errors import IntegrityError
from edgemtl.hw import law
from edgemtl.hw.arith import pack_scale
from tests.hw.coded import coded_layer, draw_codes, expanded
from tests.hw.sim.functional.rig import SPEC, Rig, layer, spec_of

SIZES = st.tuples(st.integers(1, 9), st.integers(1, 90), st.integers(1, 50))


@dataclass(frozen=True)
class Layer:
    """Random integers of a layer."""

    x: np.ndarray
    w: np.ndarray
    bias: np.ndarray
    mul: np.ndarray
    shift: np.ndarray
    table: np.ndarray
    residual: np.ndarray

    def packed(self, columns: int, table: bool = False) -> bytes:
        return layer(columns, self.w, self.bias, self.mul, self.shift, self.table if table else None)


def draw(rng: np.random.Generator, rows: int, k: int, n: int, wide: bool = False) -> Layer:
    def ints(low: int, high: int, *shape: int) -> np.ndarray:
        return rng.integers(low, high, shape, endpoint=True)

    shift = (12, 20) if wide else (20, 28)
    return Layer(
        ints(-128, 127, rows, k).astype(np.int8),
        ints(-127, 127, k, n).astype(np.int8),
        ints(-(2**18), 2**18, n),
        ints(0, 2**17 - 1, n),
        ints(*shift, n),
        ints(-128, 127, 256).astype(np.int8),
        ints(-(2**15), 2**15 - 1, rows, n).astype("<i2"),
    )


@pytest.mark.parametrize("spec", [SPEC, spec_of(16, 16), spec_of(96, 32)], ids=["32x16", "16x16", "96x32"])
@given(SIZES, st.booleans(), st.integers(-128, 127), st.integers(-128, 127), st.integers(0, 2**32 - 1))
def test_bytes(spec, sizes, table, zero, low, seed):
    rows, k, n = sizes
    held = draw(np.random.default_rng(seed), rows, k, n)
    rig = Rig(spec)
    stride = rig.put("input", 7, held.x)
    lines, tiles = rig.weights(held.packed(rig.granule, table)), -(-n // rig.granule)
    rig.add(
        "LINEAR",
        **{"src": ("input", 7), "src_stride": stride, "rows": rows, "k": k, "n": n, "release": lines},
        **{"dst": ("hidden", 3), "dst_stride": tiles, "dst_tile": 1, "table": table, "zero": zero, "low": low},
    )
    out = rig.get("hidden", 3, rows, tiles, n)
    got = rig.run().rows_of(out, rows, n)
    how = law.Finish("int8", zero, low)
    wanted = law.linear(held.x, held.w, held.bias, held.mul, held.shift, how, held.table if table else None)
    np.testing.assert_array_equal(got, wanted)


@pytest.mark.parametrize("spec", [SPEC, spec_of(16, 16), spec_of(96, 32)], ids=["32x16", "16x16", "96x32"])
@given(st.integers(1, 9), st.integers(1, 300), st.integers(1, 50), st.booleans(), st.integers(0, 2**32 - 1))
def test_weights_in_4_bits(spec, rows, k, n, table, seed):
    """The bits of the expanded weights, with groups of rows that tiles of k cut, and odd sizes."""
    rng = np.random.default_rng(seed)
    drawn, (codes, multipliers) = draw(rng, rows, k, n), draw_codes(rng, k, n)
    rig = Rig(spec)
    stride, tiles = rig.put("input", 7, drawn.x), -(-n // rig.granule)
    got = run_coded(rig, drawn, codes, multipliers, stride, table).rows_of(0, rows, n)
    how, w = law.Finish("int8", 3, -128), expanded(codes, multipliers)
    expected = law.linear(drawn.x, w, drawn.bias, drawn.mul, drawn.shift, how, drawn.table if table else None)
    assert tiles * rig.granule >= n
    np.testing.assert_array_equal(got, expected)


def run_coded(rig: Rig, drawn: Layer, codes: np.ndarray, multipliers: np.ndarray, stride: int, table: bool) -> Rig:
    """One LINEAR of the drawn rows with weights in 4 bits, run."""
    (rows, k), n, tiles = drawn.x.shape, codes.shape[1], -(-codes.shape[1] // rig.granule)
    array, scale = (rig.engine.array_rows, rig.granule), pack_scale(drawn.mul, drawn.shift).tolist()
    packed = coded_layer(array, codes, multipliers, drawn.bias.tolist(), scale, drawn.table.tolist() if table else None)
    rig.add(
        "LINEAR",
        **{"src": ("input", 7), "src_stride": stride, "rows": rows, "k": k, "n": n, "release": rig.weights(packed)},
        **{"dst": ("hidden", 3), "dst_stride": tiles, "dst_tile": 1, "table": table, "zero": 3, "low": -128},
        format=1,
    )
    assert rig.get("hidden", 3, rows, tiles, n) == 0
    return rig.run()


def test_a_multiplier_that_no_group_has():
    rng = np.random.default_rng(0)
    drawn, (codes, multipliers) = draw(rng, 2, 70, 5), draw_codes(rng, 70, 5)
    multipliers[1, 3] = -128
    rig = Rig()
    stride = rig.put("input", 7, drawn.x)
    with pytest.raises(IntegrityError, match=r"multipliers of 4-bit weights must be in -127\.\.127, not -128\.\."):
        run_coded(rig, drawn, codes, multipliers, stride, False)


@given(SIZES, st.sampled_from(["none", "in place", "apart"]), st.sampled_from([-128, 0]), st.integers(0, 2**32 - 1))
def test_sixteen_bits(sizes, residual, low, seed):
    """Tiles far from each other; the residual lies as the results do, its padding never written. A ReLU before it."""
    rows, k, n = sizes
    held = draw(np.random.default_rng(seed), rows, k, n, wide=True)
    rig = Rig()
    columns, tiles = rig.granule, -(-n // rig.granule)
    stride, apart, add = rig.put("input", 0, held.x), 2 * rows + 1, ("residual", 11 if residual == "in place" else 2000)
    for tile in range(tiles if residual != "none" else 0):
        part = np.ascontiguousarray(held.residual[:, tile * columns : (tile + 1) * columns])
        rig.put("residual", add[1] + tile * apart, part, stride=2)
    lines = rig.weights(held.packed(columns))
    rig.add(
        "LINEAR",
        **{"src": ("input", 0), "src_stride": stride, "rows": rows, "k": k, "n": n, "release": lines, "wide": 1},
        **{"dst": ("residual", 11), "dst_stride": 2, "dst_tile": apart, "residual": residual != "none", "add": add},
        low=low,
    )
    outs = [
        rig.get("residual", 11 + tile * apart, rows, 2, 2 * min(columns, n - tile * columns)) for tile in range(tiles)
    ]
    rig.run()
    got = [rig.rows_of(out, rows, 2 * min(columns, n - i * columns), "i2") for i, out in enumerate(outs)]
    wanted = law.linear(
        *(held.x, held.w, held.bias, held.mul, held.shift, law.Finish("int16", low=low)),
        residual=None if residual == "none" else held.residual,
    )
    np.testing.assert_array_equal(np.hstack(got), wanted)


def test_a_tile_is_written_whole():
    """Columns beyond n hold what zeros finish to."""
    held = draw(np.random.default_rng(1), 2, 5, 3)
    rig = Rig()
    rig.put("input", 0, held.x)
    lines = rig.weights(held.packed(16, table=True))
    rig.add(
        "LINEAR",
        **{"src": ("input", 0), "src_stride": 1, "rows": 2, "k": 5, "n": 3, "release": lines, "table": 1},
        **{"dst": ("hidden", 0), "dst_stride": 1, "dst_tile": 1, "zero": 9, "low": -128},
    )
    out = rig.get("hidden", 0, 2, 1, 16)
    assert (rig.run().rows_of(out, 2, 16)[:, 3:] == held.table[9 + 128]).all()


def test_weights_stay_until_one_releases_them():
    """Two layers in the ring, read in turn at offsets, in a ring whose lines wrap around."""
    rng = np.random.default_rng(2)
    first, second = draw(rng, 3, 20, 16), draw(rng, 3, 20, 16)
    rig = Rig(ring=17)
    stride, outs = rig.put("input", 0, first.x), []
    for turn in range(5):
        lines = [rig.weights(held.packed(16)) for held in (first, second)]
        for place, (offset, release) in enumerate([(lines[0], 0), (0, lines[0]), (0, lines[1])]):
            at = (turn * 3 + place) * 3
            rig.add(
                "LINEAR",
                **{"src": ("input", 0), "src_stride": stride, "rows": 3, "k": 20, "n": 16, "low": -128},
                **{"dst": ("hidden", at), "dst_stride": 1, "dst_tile": 1, "offset": offset, "release": release},
            )
            outs.append(rig.get("hidden", at, 3, 1, 16))
    rig.run()
    how = law.Finish("int8")
    wanted = [law.linear(first.x, h.w, h.bias, h.mul, h.shift, how) for h in (second, first, second)] * 5
    for out, rows in zip(outs, wanted, strict=True):
        np.testing.assert_array_equal(rig.rows_of(out, 3, 16), rows)


def test_large_sums_are_exact():
    """k above what float32 sums hold; the bias takes most of them away, so that every unit is seen."""
    rig, k = Rig(spec_of(weight_ring_bytes=256 * 1024), ring=2000), 3000
    rng = np.random.default_rng(3)
    x, w = rng.integers(-128, -126, (2, k)).astype(np.int8), rng.integers(-127, -125, (k, 5)).astype(np.int8)
    scale = -(x[0].astype(int) @ w), np.full(5, 2**16), np.full(5, 16)
    stride, lines = rig.put("input", 0, x), rig.weights(layer(16, w, *scale))
    rig.add(
        "LINEAR",
        **{"src": ("input", 0), "src_stride": stride, "rows": 2, "k": k, "n": 5, "release": lines, "wide": 1},
        **{"dst": ("residual", 0), "dst_stride": 2, "dst_tile": 2, "low": -128},
    )
    out = rig.get("residual", 0, 2, 2, 10)
    got = rig.run().rows_of(out, 2, 10, "i2")
    np.testing.assert_array_equal(got, law.linear(x, w, *scale, law.Finish("int16")))
    assert not got[0].any()
    assert (got[1] % 2).any()
