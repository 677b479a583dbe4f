"""float32 arrays as .npy files with one spelling, read without trusting what the file claims.

The layout is numpy's format version 1.0: magic, version, header length, a header padded so that data starts
at a multiple of 64 bytes (numpy/lib/format.py).
"""

from __future__ import annotations

from math import prod

import numpy as np

from edgemtl.errors import ConfigError

FloatArray = np.ndarray[tuple[int, ...], np.dtype[np.float32]]
_PREFIX = b"\x93NUMPY\x01\x00"


def npy_header(shape: tuple[int, ...]) -> bytes:
    """The header of a C-order little-endian float32 array of this shape."""
    text = f"{{'descr': '<f4', 'fortran_order': False, 'shape': {shape!r}, }}"
    padding = -(len(_PREFIX) + 2 + len(text) + 1) % 64
    header = (text + " " * padding + "\n").encode()
    return _PREFIX + len(header).to_bytes(2, "little") + header


def npy_bytes(shape: tuple[int, ...]) -> int:
    """The size in bytes of the .npy file of such an array."""
    return len(npy_header(shape)) + 4 * prod(shape)


def write_npy(array: FloatArray) -> bytes:
    """A float32 array as a .npy file."""
    return npy_header(array.shape) + np.ascontiguousarray(array, dtype="<f4").tobytes()


def read_npy(data: memoryview, shape: tuple[int, ...], name: str) -> FloatArray:
    """The array in ``data``, which must be the .npy file of a float32 array of ``shape``.

    Raises ConfigError.
    """
    header = npy_header(shape)
    if len(data) != npy_bytes(shape) or bytes(data[: len(header)]) != header:
        raise ConfigError(f"{name} must be a float32 .npy file of shape {list(shape)}; compile the bundle again")
    return np.frombuffer(data, dtype="<f4", offset=len(header)).reshape(shape)
