"""Weights in memory, hashed again while a session is open: a flipped bit ends in an error, not in a wrong result."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field

from edgemtl.bundle import Bundle
from edgemtl.errors import IntegrityError
from edgemtl.runtime.buffers import Bytes

SLICE_BYTES = 1 << 18
"""Hashed before a frame at most: a fifth of a millisecond on a PC."""
PREPARED = "prepared weights"


@dataclass(frozen=True)
class Slice:
    """A part of a section in memory, and the digest that it had when the session was opened."""

    section: str
    data: Bytes = field(repr=False)
    digest: bytes = field(repr=False)

    def check(self) -> None:
        """Raise IntegrityError where the memory has changed."""
        if _digest(self.data) != self.digest:
            raise IntegrityError(
                f"{self.section} must be in memory as it was when the bundle was opened, and has changed; "
                f"close the session, open the bundle again and test the memory"
            )


class Scrubber:
    """Every section of weights that a program reads, and what it prepared of them, whole and in slices."""

    def __init__(self, bundle: Bundle, sections: tuple[str, ...], prepared: Bytes, every: int | None) -> None:
        """sections: by name those that are read. every: frames between two slices; None hashes on demand alone."""
        sections_read = [section for section in bundle.manifest.sections if section.name in sections and section.bytes]
        self._whole = [Slice(s.name, bundle.weights(s.name), bytes.fromhex(s.sha256)) for s in sections_read]
        self._whole.append(Slice(PREPARED, prepared, _digest(prepared)))
        self._slices = list(_cut(self._whole)) if every else []
        self._every, self._frames = every or 0, 0

    @property
    def cycle(self) -> int | None:
        """Frames in which every slice is hashed once."""
        return self._every * len(self._slices) if self._every else None

    def count_frame(self) -> None:
        """A frame is to run: hash the next slice where it is time. Raises what `Slice.check` raises."""
        if not self._slices:
            return
        self._frames += 1
        number, rest = divmod(self._frames, self._every)
        if not rest:
            self._slices[(number - 1) % len(self._slices)].check()

    def verify(self) -> None:
        """Hash everything. Raises what `Slice.check` raises."""
        for whole in self._whole:
            whole.check()


def _cut(sections: list[Slice]) -> Iterator[Slice]:
    for section in sections:
        for start in range(0, section.data.size, SLICE_BYTES):
            part = section.data[start : start + SLICE_BYTES]
            yield Slice(section.section, part, _digest(part))


def _digest(data: Bytes) -> bytes:
    return hashlib.sha256(data.data).digest()
