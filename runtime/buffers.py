"""Memory a program works in: allocated once, aligned, between guard bytes that show writes outside it."""

from __future__ import annotations

import mmap

import numpy as np

from edgemtl.errors import BudgetError, IntegrityError

ALIGNMENT = 64
GUARD_BYTES = 256
GUARD = 0xA5
# Every float32 of these bytes is a NaN and every int32 is -1: whoever reads before writing shows it.
POISON = 0xFF

Bytes = np.ndarray[tuple[int, ...], np.dtype[np.uint8]]


class Buffer:
    """``size`` bytes, zero, aligned to 64, with guard bytes on both sides. A buffer of no bytes has one.

    The system gives a large buffer its memory when it is first written: a size is checked before it costs anything.
    """

    def __init__(self, name: str, size: int) -> None:
        self.name, self.size = name, size
        length = max(size, 1)
        try:
            # Not by malloc, which may clear memory it has had before and so take it at once.
            pages = mmap.mmap(-1, length + 2 * GUARD_BYTES + ALIGNMENT, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        except (OSError, OverflowError):
            raise BudgetError(name, size, 0, "free memory or compile with a smaller --memory-budget") from None
        room = np.frombuffer(pages, np.uint8)
        start = GUARD_BYTES + -(room.ctypes.data + GUARD_BYTES) % ALIGNMENT
        self.array: Bytes = room[start : start + length]
        self._guards = (room[:start], room[start + length :])
        for guard in self._guards:
            guard[:] = GUARD

    def commit(self) -> None:
        """Take the memory now, so that no run waits for it."""
        self.array[:] = 0

    def poison(self) -> None:
        """Fill with NaN."""
        self.array[:] = POISON

    def check(self) -> None:
        """Raise IntegrityError where a guard byte was overwritten."""
        for place, guard in zip(("before", "behind"), self._guards, strict=True):
            if (guard != GUARD).any():
                raise IntegrityError(
                    f"the program must write inside its {self.name} of {self.size} bytes, "
                    f"and wrote {place} it; compile the bundle again and report the model"
                )
