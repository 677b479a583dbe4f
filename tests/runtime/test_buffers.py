"""Buffers show who writes outside them."""

from __future__ import annotations

import ctypes
import os

import numpy as np
import pytest

from edgemtl.errors import BudgetError, IntegrityError
from edgemtl.runtime.buffers import GUARD_BYTES, Buffer


@pytest.mark.parametrize(("place", "word"), [(-1, "before"), (-GUARD_BYTES, "before"), (100, "behind")])
def test_a_write_outside(place: int, word: str) -> None:
    buffer = Buffer("arena", 100)
    outside = np.lib.stride_tricks.as_strided(buffer.array[:1], (1,)).__array_interface__["data"][0] + place
    room = buffer.array.base
    assert room is not None
    room[outside - room.ctypes.data] = 0
    message = f"the program must write inside its arena of 100 bytes, and wrote {word} it; compile the bundle again"
    with pytest.raises(IntegrityError, match=message):
        buffer.check()


def test_a_large_buffer_takes_its_memory_when_it_is_told_to() -> None:
    buffer = Buffer("arena", 256 << 20)
    assert _resident_share(buffer.array) < 1 / 4
    assert not buffer.array[:: 1 << 20].any()
    buffer.commit()
    assert _resident_share(buffer.array) == 1
    buffer.check()


def _resident_share(array: np.ndarray) -> float:
    """How much of the whole pages of an array the system has in memory."""
    page = os.sysconf("SC_PAGE_SIZE")
    first = -(-array.ctypes.data // page)
    pages = (array.ctypes.data + array.nbytes) // page - first
    states = (ctypes.c_ubyte * pages)()
    assert ctypes.CDLL(None).mincore(ctypes.c_void_p(first * page), ctypes.c_size_t(pages * page), states) == 0
    return float((np.frombuffer(states, np.uint8) & 1).mean())


def test_no_memory() -> None:
    size = 1 << 60
    with pytest.raises(BudgetError, match=f"arena needs {size} bytes, the budget is 0 bytes|arena needs 1.0 EiB"):
        Buffer("arena", size)
