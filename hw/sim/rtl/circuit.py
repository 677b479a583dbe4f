"""A module that runs: inputs and outputs of many cycles as arrays."""

from __future__ import annotations

import ctypes
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from edgemtl.errors import InternalError
from edgemtl.hw.sim.rtl.build import Design, build
from edgemtl.hw.sim.rtl.ports import Port
from edgemtl.hw.sim.rtl.shim import CLOCK

Array = npt.NDArray[Any]


class Circuit:
    """One instance of a design.

    Ports of up to 64 bits are integers [cycles], wider ones bytes [cycles, bytes], the lowest first. Signed ports are
    given and read as the bits they are. Raises what `build` raises.
    """

    def __init__(self, design: Design, seed: int = 1) -> None:
        library = build(design)
        self._library = ctypes.CDLL(str(library.path))
        self._library.create.restype = ctypes.c_void_p
        self._library.drive.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_uint64]
        self._library.destroy.argtypes = [ctypes.c_void_p]
        self._inputs = [port for port in library.ports if port.is_input and port.name != CLOCK]
        self._outputs = [port for port in library.ports if not port.is_input]
        self._model = self._library.create(seed)

    def run(self, inputs: Mapping[str, Any], cycles: int | None = None) -> dict[str, Array]:
        """Drive the module for as many cycles as the longest input has, or ``cycles``; scalars hold for all of them.

        An input that is not given is 0. Raises InternalError for a port that does not exist, a value that does not fit
        its port, and where an assertion of the module fails.
        """
        given = {name: np.asarray(value) for name, value in inputs.items()}
        if unknown := given.keys() - {port.name for port in self._inputs}:
            raise InternalError(f"inputs must be ports of the module, not {', '.join(sorted(unknown))}")
        count = cycles if cycles is not None else max((len(a) for a in given.values() if a.ndim), default=1)
        columns = [_bytes_of(port, given.get(port.name, np.zeros((), np.uint8)), count) for port in self._inputs]
        packed = np.ascontiguousarray(np.concatenate(columns, axis=1)) if columns else np.zeros((count, 1), np.uint8)
        out = np.zeros((count, sum(port.bytes for port in self._outputs)), np.uint8)
        if self._library.drive(self._model, packed.ctypes.data, out.ctypes.data, count):
            raise InternalError("an assertion of the module failed; Verilator's message says which")
        ends = np.cumsum([port.bytes for port in self._outputs])
        parts = np.split(out, ends[:-1], axis=1)
        return {port.name: _values_of(port, part) for port, part in zip(self._outputs, parts, strict=True)}

    def close(self) -> None:
        """Free the instance; may be called twice."""
        if self._model is not None:
            self._library.destroy(self._model)
            self._model = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _bytes_of(port: Port, value: Array, cycles: int) -> Array:
    """What the C++ variable of a port holds in each cycle: bytes [cycles, port.bytes]."""
    if port.bits > 64:
        rows = np.broadcast_to(value.astype(np.uint8), (cycles, value.shape[-1] if value.ndim else 1))
        if rows.shape[1] > -(-port.bits // 8):
            raise InternalError(f"{port.name} must have at most {-(-port.bits // 8)} bytes, not {rows.shape[1]}")
        return np.pad(rows, ((0, 0), (0, port.bytes - rows.shape[1])))
    whole = np.broadcast_to(value, (cycles,))
    low, high = -(2 ** (port.bits - 1)), 2**port.bits - 1
    if whole.size and not low <= int(whole.min()) <= int(whole.max()) <= high:
        raise InternalError(f"{port.name} must be {low} to {high}, not {int(whole.min())} to {int(whole.max())}")
    bits = whole.astype(np.int64 if whole.dtype.kind == "i" else np.uint64).view(np.uint64)
    bits = bits & np.uint64(high)
    return np.ascontiguousarray(bits.astype("<u8")).view(np.uint8).reshape(cycles, 8)[:, : port.bytes]


def _values_of(port: Port, part: Array) -> Array:
    if port.bits > 64:
        return np.ascontiguousarray(part[:, : -(-port.bits // 8)])
    wide = np.zeros((len(part), 8), np.uint8)
    wide[:, : port.bytes] = part
    return wide.reshape(-1).view("<u8").astype(np.uint64)


def signed(values: Array, bits: int) -> npt.NDArray[np.int64]:
    """Outputs of a signed port of ``bits`` bits as numbers."""
    shift = np.uint64(64 - bits)
    return (values << shift).view(np.int64) >> np.int64(64 - bits)
