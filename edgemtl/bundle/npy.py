"""Arrays as .npy files with one spelling, read without trusting what the file claims.

The layout is numpy's format version 1.0: magic, version, header length, a header padded so that data starts
at a multiple of 64 bytes (numpy/lib/format.py).
"""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgemtl.errors import ConfigError

Array = NDArray[Any]
_PREFIX = b"\x93NUMPY\x01\x00"


def npy_header(shape: tuple[int, ...], dtype: str) -> bytes:
    """The header of a C-order little-endian array of this shape and numpy dtype."""
    kind = np.dtype(dtype).newbyteorder("<").str
    text = f"{{'descr': '{kind}', 'fortran_order': False, 'shape': {shape!r}, }}"
    padding = -(len(_PREFIX) + 2 + len(text) + 1) % 64
    header = (text + " " * padding + "\n").encode()
    return _PREFIX + len(header).to_bytes(2, "little") + header


def npy_bytes(shape: tuple[int, ...], dtype: str) -> int:
    """The size in bytes of the .npy file of such an array."""
    return len(npy_header(shape, dtype)) + np.dtype(dtype).itemsize * prod(shape)


def write_npy(array: Array) -> bytes:
    """An array as a .npy file."""
    little = np.asarray(array, array.dtype.newbyteorder("<"), order="C")
    return npy_header(array.shape, array.dtype.name) + little.tobytes()


def read_npy(data: memoryview, shape: tuple[int, ...], dtype: str, name: str) -> Array:
    """The array in ``data``, which must be the .npy file of an array of ``shape`` and ``dtype``.

    Raises ConfigError, for truth values that are neither 0 nor 1 too.
    """
    header = npy_header(shape, dtype)
    if len(data) != npy_bytes(shape, dtype) or bytes(data[: len(header)]) != header:
        raise ConfigError(f"{name} must be a {dtype} .npy file of shape {list(shape)}; compile the bundle again")
    body = data[len(header) :]
    if dtype == "bool" and max(body, default=0) > 1:
        raise ConfigError(f"{name} must hold truth values, 0 or 1, and holds others; compile the bundle again")
    return np.frombuffer(body, np.dtype(dtype).newbyteorder("<")).reshape(shape)
