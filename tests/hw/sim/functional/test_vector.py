"""NORM against the law, and LOAD and STORE with strides."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from edgemtl.hw import law
from tests.hw.sim.functional.rig import LINE_BYTES, Rig, as_rows, word

SEED = st.integers(0, 2**32 - 1)


@given(st.integers(1, 6), st.integers(1, 300), st.integers(2**8, 2**40), st.integers(10, 14), st.booleans(), SEED)
def test_norm(rows, width, epsilon, shift, parameters, seed):
    x = np.random.default_rng(seed).integers(-(2**15), 2**15, (rows, width)).astype("<i2")
    _check_norm(x, epsilon, shift, parameters, seed)


@given(st.integers(2, 300), st.integers(-(2**15), 2**15 - 2), st.integers(1, 11), SEED)
def test_norm_of_constant_rows(width, value, shift, seed):
    """Whose exponent with the least epsilon would be too small a shift, and of a row that almost is one."""
    x = np.full((3, width), value, "<i2")
    x[1, width // 2] += 1
    _check_norm(x, 1, max(shift, 13 - (width.bit_length() + 1) // 2), True, seed)


def _check_norm(x, epsilon, shift, parameters, seed):
    """NORM of rows against the law."""
    (rows, width), rng = x.shape, np.random.default_rng(seed)
    halvings, offsets = rng.integers(0, 8, width).astype(np.int8), rng.integers(-128, 128, width).astype(np.int8)
    mul = int(rng.integers(2**16, 2**17))
    rig = Rig()
    stride = rig.put("residual", 3, x)
    if parameters:
        rig.put("constants", 8, np.stack([halvings, offsets]), window="parameters")
    else:
        halvings = offsets = np.zeros(width, int)
    made = {"src": ("residual", 3), "src_stride": stride, "dst": ("input", 1), "dst_stride": stride}
    made |= {"rows": rows, "width": width, "epsilon": epsilon, "mul": mul, "shift": shift}
    rig.words.append(word("NORM", **made, parameters=parameters, from_=("constants", 8)))
    out = rig.get("input", 1, rows, stride, width)
    got = rig.run().rows_of(out, rows, width)
    np.testing.assert_array_equal(got, law.layer_norm(x, epsilon, mul, shift, halvings, offsets))


@given(st.integers(1, 12), st.integers(1, 9), st.integers(0, 7), st.integers(0, 5), SEED)
def test_load_and_store(rows, size, gap, skip, seed):
    """Rows spread on chip and in memory come back as they were, through the scratch window too."""
    data = np.random.default_rng(seed).integers(0, 256, (rows, size * 16)).astype(np.uint8)
    step, rig = -(-size * 16 // LINE_BYTES) + skip, Rig()
    rig.put("scores0", 6, data, stride=size + gap)
    common = {"rows": rows, "size": size, "step": step}
    rig.add("STORE", window="scratch", address=9, src=("scores0", 6), stride=size + gap, **common)
    rig.add("LOAD", window="scratch", address=9, dst=("queries", 1), stride=size, **common)
    out = rig.get("queries", 1, rows, size, size * 16)
    np.testing.assert_array_equal(rig.run().rows_of(out, rows, size * 16, "u1"), data)


def test_padding_of_a_row_is_not_stored():
    x = np.arange(2 * 20).reshape(2, 20).astype("<i2")
    rig = Rig()
    rig.put("residual", 0, x)
    rig.add(
        "NORM",
        **{"src": ("residual", 0), "src_stride": 3, "dst": ("input", 0), "dst_stride": 2, "rows": 2, "width": 20},
        **{"epsilon": 1, "mul": 2**16, "shift": 12},
    )
    out = rig.get("input", 0, 2, 2, 20)
    rig.run()
    assert not rig.rows_of(out, 2, 32)[:, 20:].any()


def test_rows_have_rubbish_behind_them():
    assert as_rows(np.zeros((1, 3), np.int8), 16)[0, 3:].all()
