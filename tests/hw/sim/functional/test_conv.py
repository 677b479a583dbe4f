"""CONV and ENLARGE against the law: any geometry, edges, rows that wrap, arrays that take three taps at once."""

from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgemtl.hw import law, law_weightless
from tests.hw.sim.functional.rig import SPEC, Rig, layer, spec_of

SPECS = {"32x16": SPEC, "96x32": spec_of(96, 32), "96x16": spec_of(96, 16), "96x48": spec_of(96, 48)}
"""96 x 48 has rows for one tap only: a third of them is less than a granule."""
SEED = st.integers(0, 2**32 - 1)


@dataclass(frozen=True)
class Geometry:
    """An image of ``height`` x ``width``, and the kernel that goes over it; ``pad`` as the law takes it."""

    height: int
    width: int
    kernel: tuple[int, int]
    stride: int
    dilation: int
    pad: tuple[int, int, int, int]

    @property
    def size(self) -> tuple[int, int]:
        """Rows and columns of the output, less than 1 where the kernel does not fit."""
        sides = (self.height + self.pad[0] + self.pad[2], self.width + self.pad[1] + self.pad[3])
        return tuple(
            (side - (taps - 1) * self.dilation - 1) // self.stride + 1
            for side, taps in zip(sides, self.kernel, strict=True)
        )

    @property
    def operands(self) -> dict[str, int]:
        """Those of CONV."""
        image = {"height": self.height, "width": self.width, "out_width": self.size[1]}
        kernel = {"kernel_height": self.kernel[0], "kernel_width": self.kernel[1], "stride": self.stride}
        return image | kernel | {"dilation": self.dilation, "top": self.pad[0], "left": self.pad[1]}


@st.composite
def geometries(draw: st.DrawFn) -> Geometry:
    """Often that of a head: 3 x 3 with stride 1, dilation 1 and one pixel of padding."""
    height, width = draw(st.integers(1, 9)), draw(st.integers(1, 9))
    if draw(st.integers(0, 2)) == 0:
        return Geometry(height, width, (3, 3), 1, 1, (1, 1, 1, 1))
    side, pad = st.integers(1, 7), st.integers(0, 7)
    made = Geometry(
        height,
        width,
        (draw(side), draw(side)),
        draw(st.integers(1, 7)),
        draw(st.sampled_from([1, 1, 2, 3, 5])),
        (draw(pad), draw(pad), draw(pad), draw(pad)),
    )
    missing = tuple(max(0, (1 - size) * made.stride) for size in made.size)
    pads = made.pad[0], made.pad[1], made.pad[2] + missing[0], made.pad[3] + missing[1]
    return Geometry(height, width, made.kernel, made.stride, made.dilation, pads)


def in_tiles(w: np.ndarray, rows: int, columns: int, geometry: Geometry) -> np.ndarray:
    """Weights [n, k, kh, kw] as rows [kh kw k, n] in the order of the array's tiles, loop by loop."""
    slides = geometry.kernel[1] == 3 and geometry.stride == 1 and geometry.dilation == 1
    together = 3 if slides and rows % 3 == 0 and rows // 3 >= columns else 1
    if w.shape[1] <= 4 and w.shape[1] * geometry.kernel[1] <= rows and geometry.dilation == 1:
        together = geometry.kernel[1]
    size, made = rows // together, []
    for dy in range(geometry.kernel[0]):
        for outer in range(geometry.kernel[1] // together):
            for first in range(0, w.shape[1], size):
                for inner in range(together):
                    dx = inner if together > 1 else outer
                    made += [w[:, channel, dy, dx] for channel in range(first, min(first + size, w.shape[1]))]
    return np.array(made)


@pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS)
@given(geometries(), st.integers(1, 5) | st.integers(1, 70), st.integers(1, 40), st.booleans(), SEED)
def test_conv(spec, geometry, k, n, wide, seed):
    rng = np.random.default_rng(seed)
    height, width = geometry.height, geometry.width
    k = min(k, 700 // (geometry.kernel[0] * geometry.kernel[1]))
    x = rng.integers(-128, 128, (height, width, k)).astype(np.int8)
    w = rng.integers(-127, 128, (n, k, *geometry.kernel)).astype(np.int8)
    bias, mul = rng.integers(-(2**18), 2**18, n), rng.integers(0, 2**17, n)
    shift, pad, table = rng.integers(18, 28, n), int(rng.integers(-128, 128)), rng.integers(-128, 128, 256)
    table = None if wide or seed % 2 else table
    rig = Rig(spec, ring=1024)
    size = rig.granule
    stride = rig.put("hidden", 5, x.reshape(height * width, k))
    out_stride = -(-n // size) * (1 + wide)
    lines = rig.weights(layer(size, in_tiles(w, spec.engine.array_rows, size, geometry), bias, mul, shift, table))
    out_height, out_width = geometry.size
    blocks, first = [], 0
    while first < out_height:
        rows = min(int(rng.integers(1, out_height + 1)), out_height - first, 64 // out_width)
        blocks.append((first, rows))
        first += rows
    for first, rows in blocks:
        rig.add(
            "CONV",
            **{"src": ("hidden", 5), "src_stride": stride, "wrap": height, "k": k, **geometry.operands},
            **{"first": first, "rows": rows, "n": n, "pad": pad, "wide": wide, "table": table is not None, "low": -128},
            **{"dst": ("input", 3 + first * out_width * out_stride), "dst_stride": out_stride},
            release=lines if first + rows == out_height else 0,
        )
    pixels, row_bytes = out_height * out_width, n * (1 + wide)
    out = rig.get("input", 3, pixels, out_stride, row_bytes)
    got = rig.run().rows_of(out, pixels, row_bytes, "i2" if wide else "i1")
    how = law.Finish("int16" if wide else "int8")
    steps = {"stride": (geometry.stride,) * 2, "pad": geometry.pad, "dilation": (geometry.dilation,) * 2}
    wanted = law.conv2d(x, w, bias, mul, shift, how, pad, **steps, table=table)
    np.testing.assert_array_equal(got, wanted.reshape(pixels, n))


def test_rows_that_wrap():
    """A source of four rows that new ones come into, row y at y modulo 4."""
    rng = np.random.default_rng(5)
    height, width, k, n = 9, 5, 16, 16
    x, w = (rng.integers(-127, 128, shape).astype(np.int8) for shape in ((height, width, k), (n, k, 3, 3)))
    scale = np.zeros(n, int), np.full(n, 2**16), np.full(n, 24)
    rig, geometry = Rig(), Geometry(height, width, (3, 3), 1, 1, (1, 1, 1, 1))
    lines = rig.weights(layer(16, in_tiles(w, 32, 16, geometry), *scale))
    for y in range(3):
        rig.put("hidden", y * width, x[y])
    for y in range(height):
        rig.add(
            "CONV",
            **{"src": ("hidden", 0), "src_stride": 1, "wrap": 4, "k": k, "n": n, **geometry.operands},
            **{"first": y, "rows": 1, "dst": ("input", y * width), "dst_stride": 1, "low": -128, "pad": 3},
            release=lines if y == height - 1 else 0,
        )
        if y + 3 < height:
            rig.put("hidden", (y + 3) % 4 * width, x[y + 3])
    out = rig.get("input", 0, height * width, 1, n)
    got = rig.run().rows_of(out, height * width, n)
    wanted = law.conv2d(x, w, *scale, law.Finish("int8"), 3, pad=(1, 1, 1, 1))
    np.testing.assert_array_equal(got, wanted.reshape(-1, n))


def taps(size: int, factor: int, nearest: bool) -> tuple[np.ndarray, np.ndarray]:
    """Taps of `resample` along an axis: floor(y / factor), or between the two centres around y's."""
    y = np.arange(size * factor)
    if nearest:
        return (y // factor)[:, None], np.full((len(y), 1), 2**11)
    centre = (y + 0.5) / factor - 0.5
    low = np.floor(centre).astype(int)
    weight = np.stack([1 - (centre - low), centre - low], 1) * 2**11
    return np.stack([low, low + 1], 1).clip(0, size - 1), weight.astype(int)


@given(
    st.sampled_from([(2, 0, 0), (2, 1, 1), (2, 0, 1), (4, 0, 0), (4, 1, 0), (4, 0, 1), (8, 0, 0), (8, 1, 1)]),
    st.integers(1, 6),
    st.integers(1, 3),
    st.integers(1, 20),
    st.data(),
)
def test_enlarge(mode, height, width, channels, data):
    factor, nearest, wide = mode
    rng, high = np.random.default_rng(data.draw(SEED)), (2**15 if wide else 128)
    x = rng.integers(-high, high, (height, width, channels)).astype("<i2" if wide else "i1")
    rig = Rig()
    stride, first = rig.put("hidden", 2, x.reshape(-1, channels)), 0
    while first < factor * height:
        rows = min(int(rng.integers(1, 7)), factor * height - first)
        rig.add(
            "ENLARGE",
            **{"src": ("hidden", 2), "src_wrap": height, "width": width, "height": height, "stride": stride},
            **{"first": first, "rows": rows, "dst": ("input", 1), "dst_wrap": factor * height},
            **{"factor": factor, "nearest": nearest, "wide": wide},
        )
        first += rows
    pixels, size = factor**2 * height * width, channels * x.itemsize
    out = rig.get("input", 1, pixels, stride, size)
    wanted = law_weightless.resample(x, *taps(height, factor, nearest), *taps(width, factor, nearest))
    np.testing.assert_array_equal(
        rig.run().rows_of(out, pixels, size, "i2" if wide else "i1"), wanted.reshape(pixels, channels)
    )
    if mode == (2, 0, 0):
        np.testing.assert_array_equal(wanted, law.bilinear(x))


def test_enlarged_rows_that_wrap():
    rng = np.random.default_rng(6)
    x = rng.integers(-128, 128, (4, 3, 16)).astype(np.int8)
    rig, outs = Rig(), []
    for y in range(2):
        rig.put("hidden", y * 3, x[y])
    for y in range(4):
        rig.add(
            "ENLARGE",
            **{"src": ("hidden", 0), "src_wrap": 3, "width": 3, "height": 4, "stride": 1},
            **{"first": 2 * y, "rows": 2, "dst": ("input", 0), "dst_wrap": 2, "factor": 2},
        )
        outs.append(rig.get("input", 0, 12, 1, 16))
        if y + 2 < 4:
            rig.put("hidden", (y + 2) % 3 * 3, x[y + 2])
    rig.run()
    got = np.concatenate([rig.rows_of(out, 12, 16) for out in outs])
    np.testing.assert_array_equal(got, law.bilinear(x).reshape(-1, 16))
