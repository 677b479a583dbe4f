"""Types of fields that several documents have, each with its rule."""

from __future__ import annotations

from typing import Annotated

from edgemtl.records.rules import SAFE_NAME, SHA256, integer, items, number

MAX_BYTES = (1 << 32) - 1
"""Offsets are below 4 GiB: the container of a bundle has no 64-bit sizes."""
MAX_COUNT = (1 << 31) - 1
MAX_MACS = 1 << 53
MAX_RANK = 8
MAX_VALUE = 1e30

Name = Annotated[str, SAFE_NAME]
Sha256 = Annotated[str, SHA256]
Bytes = Annotated[int, integer(0, MAX_BYTES)]
Count = Annotated[int, integer(1, MAX_COUNT)]
Index = Annotated[int, integer(0, MAX_COUNT)]
Macs = Annotated[int, integer(0, MAX_MACS)]
Number = Annotated[float, number(-MAX_VALUE, MAX_VALUE)]
_SIZE = integer(1, MAX_COUNT)
AnyShape = Annotated[tuple[int, ...], items(_SIZE, 0, MAX_RANK, f"0 to {MAX_RANK} dimensions")]
"""Of any rank, () for a scalar."""
