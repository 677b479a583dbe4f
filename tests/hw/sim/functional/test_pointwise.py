"""ADD, MAP, RESCALE, MEAN and CLASSES against the law: any sizes, both widths, several blocks, ties, padding."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgemtl.errors import IntegrityError
from edgemtl.hw import law, law_weightless
from edgemtl.hw.law import Finish
from tests.hw.sim.functional.rig import Rig

SEED = st.integers(0, 2**32 - 1)
KINDS = st.sampled_from(["i1", "<i2"])


def drawn(rng: np.random.Generator, kind: str, *shape: int) -> np.ndarray:
    """All values of a type, its ends more often."""
    info = np.iinfo(kind)
    return rng.choice([info.min, info.max, 0, 1], shape, p=[0.1, 0.1, 0.1, 0.7]).astype(kind) * rng.integers(
        info.min, info.max, shape, endpoint=True
    ).astype(kind)


def finish(rng: np.random.Generator, kind: str) -> tuple[Finish, dict[str, int]]:
    """How results end, and the operands that say so."""
    if kind == "i1":
        zero, low = int(rng.integers(-128, 128)), int(rng.choice([-128, -30, 5]))
        return Finish("int8", zero, low), {"zero": zero, "low": low}
    low = int(rng.choice([-128, 0]))
    return Finish("int16", 0, low), {"wide": 1, "zero": 77, "low": low}


def put_tiles(rig: Rig, region: str, x: np.ndarray) -> int:
    """LOAD rows as layers leave them, two granules for each tile of 16-bit columns; returns the stride."""
    tiles = -(-x.shape[1] // rig.granule)
    padded = np.pad(x, ((0, 0), (0, tiles * rig.granule - x.shape[1])))
    return rig.put(region, 1, padded)


@given(KINDS, KINDS, KINDS, st.integers(1, 9), st.integers(1, 40), SEED)
def test_add(a_kind, b_kind, kind, rows, width, seed):
    rng, rig = np.random.default_rng(seed), Rig()
    a, b = drawn(rng, a_kind, rows, width), drawn(rng, b_kind, rows, width)
    muls = tuple(int(mul) for mul in rng.integers(-(2**14) + 1, 2**14, 2))
    offset, shift = int(rng.integers(-(2**23) + 1, 2**23)), int(rng.integers(1, 30))
    how, operands = finish(rng, kind)
    put_tiles(rig, "hidden", a), put_tiles(rig, "input", b)
    tiles = -(-width // rig.granule)
    rig.add(
        "ADD",
        **{"a": ("hidden", 1), "a_wide": a.itemsize - 1, "b": ("input", 1), "b_wide": b.itemsize - 1},
        **{"dst": ("residual", 2), "size": rows * tiles, "mul_a": muls[0], "mul_b": muls[1]},
        **{"offset": offset, "shift": shift} | operands,
    )
    itemsize = np.dtype(kind).itemsize
    out = rig.get("residual", 2, rows, tiles * itemsize, width * itemsize)
    got = rig.run().rows_of(out, rows, width * itemsize, kind.strip("<"))
    np.testing.assert_array_equal(got, law_weightless.add(a, b, muls, offset, shift, how))


@given(st.integers(1, 9), st.integers(1, 40), SEED)
def test_map(rows, width, seed):
    rng, rig = np.random.default_rng(seed), Rig()
    x, table = drawn(rng, "i1", rows, width), rng.integers(-128, 128, (1, 256)).astype(np.int8)
    stride = rig.put("input", 1, x)
    rig.put("constants", 3, table)
    rig.add("MAP", src=("input", 1), dst=("residual", 2), size=rows * stride, from_=("constants", 3))
    out = rig.get("residual", 2, rows, stride, width)
    np.testing.assert_array_equal(rig.run().rows_of(out, rows, width), law_weightless.lookup(x, table))


@given(KINDS, KINDS, st.integers(1, 9), st.integers(1, 40), st.integers(0, 3), SEED)
def test_rescale(source, kind, rows, width, gap, seed):
    """Rows to a place between others, as where tensors are put side by side."""
    rng, rig = np.random.default_rng(seed), Rig()
    x, tiles = drawn(rng, source, rows, width), -(-width // rig.granule)
    zero, out_zero = (int(value) for value in rng.integers(-128, 128, 2))
    how = law_weightless.Rescale(zero, int(rng.integers(0, 2**17)), int(rng.integers(12, 30)), out_zero)
    stride, itemsize = put_tiles(rig, "input", x), np.dtype(kind).itemsize
    rig.add(
        "RESCALE",
        **{"src": ("input", 1), "src_stride": stride, "src_wide": x.itemsize - 1, "src_zero": zero},
        **{"dst": ("residual", 3), "dst_stride": tiles * itemsize + gap, "wide": itemsize - 1, "zero": out_zero},
        **{"rows": rows, "size": tiles, "mul": how.mul, "shift": how.shift},
    )
    out = rig.get("residual", 3, rows, tiles * itemsize + gap, width * itemsize)
    got = rig.run().rows_of(out, rows, width * itemsize, kind.strip("<"))
    np.testing.assert_array_equal(got, law_weightless.rescale(x, how, "int8" if itemsize == 1 else "int16"))


@given(KINDS, st.integers(1, 5), st.integers(1, 5), st.integers(1, 40), SEED)
def test_mean(kind, height, width, channels, seed):
    rng, rig = np.random.default_rng(seed), Rig()
    pixels, (how, operands) = height * width, finish(rng, kind)
    x = drawn(rng, "i1", pixels, channels)
    zero, mul, shift = int(rng.integers(-128, 128)), int(rng.integers(0, 2**17)), int(rng.integers(12, 30))
    stride, first = rig.put("hidden", 0, x), 0
    while first < pixels:
        rows = min(int(rng.integers(1, 9)), pixels - first)
        rig.add(
            "MEAN",
            **{"src": ("hidden", first * stride), "stride": stride, "rows": rows, "width": channels},
            **{"begin": first == 0, "end": first + rows == pixels, "src_zero": zero, "mul": mul, "shift": shift},
            **{"dst": ("residual", 5)} | operands,
        )
        first += rows
    size = channels * np.dtype(kind).itemsize
    out = rig.get("residual", 5, 1, 9, size)
    windows = law_weightless.Windows(height, width, 1, 1, (height, width))
    wanted = law_weightless.average_pool(
        x.reshape(height, width, channels), windows, zero, np.array([mul]), np.array([shift]), how
    )
    np.testing.assert_array_equal(rig.run().rows_of(out, 1, size, kind.strip("<")), wanted.reshape(1, -1))


@given(KINDS, st.booleans(), st.integers(1, 6), st.integers(1, 6), st.integers(1, 40), SEED)
def test_classes(kind, enlarged, height, width, channels, seed):
    """Few different values, so that channels tie."""
    rng, rig, factor = np.random.default_rng(seed), Rig(), 1 + enlarged
    ends = np.iinfo(kind)
    x = rng.choice([ends.min, ends.max, -1, 0, 1], (height, width, channels)).astype(kind)
    stride, pitch, first = put_tiles(rig, "input", x.reshape(-1, channels)), -(-factor * width // rig.granule), 0
    while first < factor * height:
        rows = min(int(rng.integers(1, 5)), factor * height - first)
        rig.add(
            "CLASSES",
            **{"src": ("input", 1), "src_wrap": height, "width": width, "height": height, "stride": stride},
            **{"wide": x.itemsize - 1, "classes": channels, "enlarge": enlarged, "first": first, "rows": rows},
            **{"dst": ("residual", first * pitch), "dst_stride": pitch},
        )
        first += rows
    out = rig.get("residual", 0, factor * height, pitch, factor * width)
    got = rig.run().rows_of(out, factor * height, factor * width, "u1")
    np.testing.assert_array_equal(got, law.argmax(law.enlarge(x) if enlarged else x))


def test_classes_that_the_pixels_have_not():
    rig = Rig()
    rig.put("input", 0, np.ones((4, 9), np.int8))
    image = {"src": ("input", 0), "src_wrap": 2, "width": 2, "height": 2, "stride": 1, "rows": 1, "dst_stride": 1}
    rig.add("CLASSES", **image, classes=17, dst=("residual", 0))
    with pytest.raises(IntegrityError, match="classes must lie in the 1 granules of a pixel, not be 17"):
        rig.run()


def test_padding_stays_padding():
    """A sum of rows with padding has padding: what reads it is refused."""
    rig = Rig()
    rig.put("residual", 0, np.ones((2, 16), "<i2"))
    rig.add(
        "NORM",
        **{"src": ("residual", 0), "src_stride": 2, "dst": ("input", 0), "dst_stride": 1, "rows": 2, "width": 9},
        **{"epsilon": 1, "mul": 2**16, "shift": 12},
    )
    rig.put("hidden", 0, np.ones((2, 16), np.int8))
    rig.add("ADD", a=("hidden", 0), b=("input", 0), dst=("residual", 9), size=2, mul_a=1, mul_b=1, shift=1)
    rig.add("MEAN", src=("residual", 9), stride=1, rows=2, width=10, begin=1, end=1, shift=12, dst=("residual", 0))
    with pytest.raises(IntegrityError, match=r"MEAN .*byte 9 of granule 9 of residual never was"):
        rig.run()
