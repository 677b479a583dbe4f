"""The board's DRAM: four windows of bytes, addressed in lines."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from edgemtl.errors import UsageError
from edgemtl.hw.isa import LINE_BYTES, WINDOWS
from edgemtl.hw.sim.functional.faults import Fault
from edgemtl.hw.sim.functional.memory import Bytes, Mask

WRITABLE: Final = ("output", "scratch")


@dataclass(frozen=True)
class Windows:
    """DRAM by window, uint8 [bytes] each. A stream fills ``output`` and ``scratch`` in place."""

    parameters: npt.NDArray[np.uint8]
    input: npt.NDArray[np.uint8]
    output: npt.NDArray[np.uint8]
    scratch: npt.NDArray[np.uint8]

    def __post_init__(self) -> None:
        for name in WINDOWS:
            window = getattr(self, name)
            if window.dtype != np.uint8 or window.ndim != 1:
                raise UsageError(f"window {name} must be uint8 of one axis, not {window.dtype} of shape {window.shape}")
            if name in WRITABLE and not window.flags.writeable:
                raise UsageError(f"window {name} must be writable, and is not; copy it")


class Board:
    """The windows, with a record of which bytes of output and scratch were written in this frame.

    Only the data unit accesses the writable windows, one instruction after the other: there are no races.
    """

    def __init__(self, windows: Windows) -> None:
        self._windows: dict[str, Bytes] = {name: getattr(windows, name) for name in WINDOWS}
        self._written = {name: np.full(len(self._windows[name]), name not in WRITABLE) for name in WINDOWS}

    def read(self, window: str, address: int, step: int, rows: int, size: int) -> tuple[Bytes, Mask]:
        """Rows of ``size`` bytes, ``step`` lines apart, and which bytes were written: [rows, size] each."""
        at = self._places(window, address, step, rows, size)
        return self._windows[window][at], self._written[window][at]

    def check_write(self, window: str, address: int, step: int, rows: int, size: int) -> None:
        """Raise Fault for a window that is read only, for rows outside it, and for more bytes in all than it has."""
        if window not in WRITABLE:
            raise Fault(f"a window written must be one of {', '.join(WRITABLE)}, not {window}")
        self._check_inside(window, address, step, rows, size)
        if rows * size > (window_bytes := len(self._windows[window])):
            raise Fault(
                f"rows written must lie apart in the {window_bytes} bytes of window {window}, and take {rows * size}"
            )

    def write(self, window: str, address: int, step: int, values: Bytes, written: Mask) -> None:
        """Write rows [rows, size] where ``written``. Raises Fault as `check_write` does."""
        self.check_write(window, address, step, *values.shape)
        at = self._places(window, address, step, *values.shape)
        self._windows[window][at[written]] = values[written]
        self._written[window][at] = written

    def _places(self, window: str, address: int, step: int, rows: int, size: int) -> npt.NDArray[np.int64]:
        self._check_inside(window, address, step, rows, size)
        starts = (address + np.arange(rows, dtype=np.int64) * step) * LINE_BYTES
        return np.asarray(starts[:, None] + np.arange(size))

    def _check_inside(self, window: str, address: int, step: int, rows: int, size: int) -> None:
        last, window_bytes = address + (rows - 1) * step, len(self._windows[window])
        if (end := last * LINE_BYTES + size) > window_bytes:
            raise Fault(
                f"memory must lie in the {window_bytes} bytes of window {window}, and rows from lines "
                f"{address}..{last} end at byte {end}"
            )
