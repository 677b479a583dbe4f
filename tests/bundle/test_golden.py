"""Golden pairs: small ones whole, large ones cut down, exact values either way."""

from __future__ import annotations

import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgemtl.bundle import StoredInput, crop_input, expand_input, pack_golden
from edgemtl.bundle.npy import npy_bytes, read_npy, write_npy
from edgemtl.errors import ConfigError


@given(st.lists(st.integers(1, 7), max_size=5).map(tuple))
def test_npy_is_numpys(shape: tuple[int, ...]) -> None:
    array = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    data = write_npy(array)
    assert len(data) == npy_bytes(shape, "float32")
    np.testing.assert_array_equal(np.load(io.BytesIO(data)), array)
    file = io.BytesIO()
    np.lib.format.write_array(file, array, version=(1, 0))
    assert len(file.getvalue()) == len(data)
    np.testing.assert_array_equal(read_npy(memoryview(data), shape, "float32", "a"), array)


@pytest.mark.parametrize("shape", [(2, 4), (4, 2, 1), (9,)])
def test_npy_of_another_shape(shape: tuple[int, ...]) -> None:
    data = write_npy(np.zeros((4, 2), np.float32))
    with pytest.raises(ConfigError, match=r"a.npy must be a float32 .npy file of shape \["):
        read_npy(memoryview(data), shape, "float32", "a.npy")


def test_small_input_is_stored_whole() -> None:
    image = np.random.default_rng(1).standard_normal((1, 3, 96, 128)).astype(np.float32)
    stored = crop_input(image)
    np.testing.assert_array_equal(stored, image)
    np.testing.assert_array_equal(expand_input(StoredInput(stored), image.shape), image)


@pytest.mark.parametrize("shape", [(1, 3, 512, 512), (1, 3, 2, 60_000), (1, 3, 60_000, 2), (1, 130_000, 2, 2)])
def test_large_input_is_a_repeated_corner(shape: tuple[int, int, int, int]) -> None:
    image = np.arange(np.prod(shape), dtype=np.float32).reshape(shape)
    stored = crop_input(image)
    assert stored.nbytes <= 480_000
    np.testing.assert_array_equal(stored, image[tuple(map(slice, stored.shape))])
    expected = np.tile(stored, [-(-n // of) for n, of in zip(shape, stored.shape, strict=True)])
    expected = expected[tuple(map(slice, shape))]
    np.testing.assert_array_equal(expand_input(StoredInput(stored), shape), expected)


@given(st.integers(1, 400_000))
def test_output_is_every_nth_value(size: int) -> None:
    output = np.arange(size, dtype=np.float32).reshape(1, 1, 1, size)
    entry, files = pack_golden("a", {"x": StoredInput(np.zeros((1, 1, 1, 1), np.float32))}, output, 0.5)
    kept = np.load(io.BytesIO(files["golden/a/output.npy"]))
    np.testing.assert_array_equal(kept, output.reshape(-1)[:: entry.output_stride])
    assert entry.output_elements == kept.size <= 120_000
    assert kept.size > 60_000 or entry.output_stride == 1
    assert sum(map(len, files.values())) <= 1 << 20
