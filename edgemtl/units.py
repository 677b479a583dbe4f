"""Sizes in bytes as people write and read them."""

from __future__ import annotations

import re
from fractions import Fraction

from edgemtl.errors import UsageError

_UNITS = {
    "": 1,
    "B": 1,
    "KiB": 2**10,
    "MiB": 2**20,
    "GiB": 2**30,
    "kB": 10**3,
    "KB": 10**3,
    "MB": 10**6,
    "GB": 10**9,
}
_SIZE = re.compile(r"(?P<number>\d+(\.\d+)?) *(?P<unit>[A-Za-z]*)", re.ASCII)


def parse_bytes(text: str) -> int:
    """The number of bytes `text` stands for: "4096", "512KiB", "1.5 MiB", "8MB".

    KiB, MiB and GiB are powers of 1024; kB (or KB), MB and GB are powers of 1000. Raises UsageError where the
    text is no size, or not a whole, positive number of bytes.
    """
    match = _SIZE.fullmatch(text.strip())
    if match is None or match["unit"] not in _UNITS:
        raise UsageError(
            f"a size must be a number and a unit such as 8MiB, not {text!r}; "
            "use KiB, MiB, GiB (1024), kB, MB, GB (1000) or plain bytes"
        )
    size = Fraction(match["number"]) * _UNITS[match["unit"]]
    if size.denominator != 1:
        raise UsageError(f"a size must be a whole number of bytes, not {text!r} ({float(size):g} bytes)")
    if size == 0:
        raise UsageError(f"a size must be at least 1 byte, not {text!r}")
    return int(size)


def format_bytes(size: int) -> str:
    """A size in the largest binary unit it reaches, to two decimals: 0 B, 1023 B, 1.50 KiB, 31.25 MiB.

    `parse_bytes` reads it back; what is printed in KiB and above is rounded.
    """
    for unit in ("GiB", "MiB", "KiB"):
        if abs(size) >= _UNITS[unit]:
            return f"{size / _UNITS[unit]:.2f} {unit}"
    return f"{size} B"
