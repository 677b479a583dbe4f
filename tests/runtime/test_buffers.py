"""Buffers show who writes outside them."""

from __future__ import annotations

import os
from pathlib import Path

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
    before, size = _resident_bytes(), 256 << 20
    buffer = Buffer("arena", size)
    assert _resident_bytes() - before < size // 4
    assert not buffer.array[:: 1 << 20].any()
    buffer.commit()
    assert _resident_bytes() - before > size // 2
    buffer.check()


def _resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def test_no_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_memory(*args: object) -> None:
        raise MemoryError

    monkeypatch.setattr(np, "zeros", no_memory)
    with pytest.raises(BudgetError, match="arena needs 64 bytes, the budget is 0 bytes"):
        Buffer("arena", 64)
