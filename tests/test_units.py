"""Sizes in and out, and what is said of those that are none."""

import re

import pytest

from edgemtl.errors import UsageError
from edgemtl.units import format_bytes, parse_bytes


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("1", 1),
        ("4096", 4096),
        ("64B", 64),
        ("512KiB", 512 * 1024),
        ("8MiB", 8 * 1024**2),
        (" 8 MiB ", 8 * 1024**2),
        ("1.5MiB", 3 * 1024**2 // 2),
        ("2GiB", 2 * 1024**3),
        ("8kB", 8000),
        ("8KB", 8000),
        ("8MB", 8_000_000),
        ("1.25GB", 1_250_000_000),
        ("0.1MB", 100_000),
    ],
)
def test_parse(text, size):
    assert parse_bytes(text) == size


@pytest.mark.parametrize(
    "text", ["", "MiB", "8 apples", "-8MiB", "8mib", "0x10", "1e6", "1,5MiB", "8MiB!", "٣MiB", "8M"]
)
def test_refuses_what_is_no_size(text):
    expected = (
        f"a size must be a number and a unit such as 8MiB, not {text!r}; "
        "use KiB, MiB, GiB (1024), kB, MB, GB (1000) or plain bytes"
    )
    with pytest.raises(UsageError, match=f"^{re.escape(expected)}$"):
        parse_bytes(text)


def test_refuses_fractions_of_a_byte():
    with pytest.raises(UsageError, match=r"^a size must be a whole number of bytes, not '0.3KiB' \(307.2 bytes\)$"):
        parse_bytes("0.3KiB")


@pytest.mark.parametrize("text", ["0", "0MiB", "0.0kB"])
def test_refuses_nothing(text):
    with pytest.raises(UsageError, match=f"^a size must be at least 1 byte, not {text!r}$"):
        parse_bytes(text)


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1.00 KiB"),
        (1536, "1.50 KiB"),
        (-2048, "-2.00 KiB"),
        (8 * 1024**2, "8.00 MiB"),
        (3 * 1024**3 + 1, "3.00 GiB"),
    ],
)
def test_format(size, text):
    assert format_bytes(size) == text


def test_what_is_printed_can_be_read():
    for size in (1, 1023, 1024, 8 * 1024**2, 5 * 1024**3):
        assert parse_bytes(format_bytes(size)) == size
