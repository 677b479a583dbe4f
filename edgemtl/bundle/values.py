"""Bounds of the manifest's numbers, and the lists that several parts of it have."""

from __future__ import annotations

from edgemtl.bundle.fields import Field

# Offsets are below 4 GiB: the container has no 64-bit sizes.
MAX_BYTES = (1 << 32) - 1
MAX_COUNT = (1 << 31) - 1
MAX_MACS = 1 << 53
MAX_INT64 = (1 << 63) - 1
MAX_RANK = 8
MAX_VALUE = 1e30
MAX_FLOAT32 = 3.4028234663852886e38


def read_shape(field: Field, rank: int = 2) -> tuple[int, ...]:
    """An array of sizes."""
    shape = tuple(item.integer(1, MAX_COUNT) for item in field.items())
    if not rank <= len(shape) <= MAX_RANK:
        field.fail(f"{rank} to {MAX_RANK} dimensions")
    return shape


def read_floats(field: Field) -> tuple[float, ...] | None:
    """An array of numbers, or None."""
    return None if field.value is None else tuple(item.number(-MAX_VALUE, MAX_VALUE) for item in field.items())


def read_texts(field: Field) -> tuple[str, ...]:
    """An array of texts."""
    return tuple(item.text() for item in field.items())


def read_integers(field: Field, high: int) -> tuple[int, ...]:
    """An array of integers from 0 to ``high``."""
    return tuple(item.integer(0, high) for item in field.items())
