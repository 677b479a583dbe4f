"""The functional simulator: the bytes of a stream executed on memories of bytes, bit for bit as the integer law.

`execute` runs one frame. docs/accelerator.md says what each instruction means; nothing of `hw.law` is used here, so
the two can be held against each other.
"""

from edgemtl.hw.sim.functional.board import Windows
from edgemtl.hw.sim.functional.machine import Pick, Result, execute

__all__ = ["Pick", "Result", "Windows", "execute"]
