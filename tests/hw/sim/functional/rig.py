"""Streams put together by hand: a small engine, what its memories hold, and weights packed as the contract says."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace

import numpy as np

from edgemtl.hw.arith import pack_scale
from edgemtl.hw.encoding import Stream
from edgemtl.hw.isa import BY_NAME, LINE_BYTES, REGIONS, UNITS, WINDOWS, Instruction
from edgemtl.hw.sim.functional import Result, Windows
from edgemtl.hw.sim.functional.machine import execute_stream
from edgemtl.hw.spec import AcceleratorSpec, Buffer, Engine, read_spec


def spec_of(rows: int = 32, columns: int = 16, **changes: int) -> AcceleratorSpec:
    """A small engine of an array of rows x columns."""
    made = read_spec("ultra96v2")
    large, small = (Buffer(size, 32, 1, "bram36") for size in (96 * 1024, 16 * 1024))
    scores = replace(large, copies=2)
    held = replace(
        made.engine.buffers,
        residual=large,
        hidden=large,
        input=large,
        scores=scores,
        side=small,
        queries=small,
        constants=small,
    )
    sizes = {"array_rows": rows, "array_columns": columns, "accumulator_rows": 64, "weight_ring_bytes": 64 * 1024}
    sizes |= {"routing_entries": 128} | changes
    return replace(made, engine=replace(made.engine, buffers=held, **sizes))


SPEC = spec_of()


def word(name: str, waits: str = "", signals: str = "", **operands: object) -> Instruction:
    """An instruction; operands left out are 0, a place is (region, granule), units are their names in one string."""
    given: dict[str, int] = dict.fromkeys(BY_NAME[name].places, 0)
    for key, value in operands.items():
        key = key.rstrip("_")
        if isinstance(value, tuple):
            region, given[key] = value
            given[f"{key}_region"] = REGIONS.index(region) if isinstance(region, str) else region
        else:
            given[key] = WINDOWS.index(value) if isinstance(value, str) else int(value)
    assert given.keys() == BY_NAME[name].places.keys(), given.keys() - BY_NAME[name].places.keys()
    return Instruction(name, given, frozenset(waits.split()), frozenset(signals.split()))


def chained(words: Iterable[Instruction]) -> list[Instruction]:
    """Each word waits for the one before; streams of known weights run on their own."""
    made: list[Instruction] = []
    last = None
    for given in words:
        if given.name != "STREAM" or given["slot"]:
            if last is not None:
                made[last] = replace(made[last], signals=made[last].signals | {given.unit})
                given = replace(given, waits=given.waits | {made[last].unit})
            last = len(made)
        made.append(given)
    return made


def tokens_of(words: list[Instruction]) -> list[tuple[int, int, str, str]]:
    """Every token: (giver's place, taker's place, giver's unit, taker's unit)."""
    made = []
    for giver in UNITS:
        for taker in UNITS:
            gives = [i for i, w in enumerate(words) if w.unit == giver and taker in w.signals]
            takes = [i for i, w in enumerate(words) if w.unit == taker and giver in w.waits]
            made += [(*pair, giver, taker) for pair in zip(gives, takes, strict=True)]
    return made


def without(words: list[Instruction], token: tuple[int, int, str, str]) -> list[Instruction]:
    """The words with one token neither given nor taken."""
    given, taken, giver, taker = token
    made = list(words)
    made[given] = replace(made[given], signals=made[given].signals - {taker})
    made[taken] = replace(made[taken], waits=made[taken].waits - {giver})
    return made


def as_rows(values: np.ndarray, granule: int) -> np.ndarray:
    """Bytes of rows, each padded with rubbish to whole granules."""
    data = np.ascontiguousarray(values).view(np.uint8)
    return np.pad(data, ((0, 0), (0, -data.shape[1] % granule)), constant_values=0xA5)


def layer(columns: int, w: np.ndarray, bias: np.ndarray, mul: np.ndarray, shift: np.ndarray, table=None) -> bytes:
    """A layer as the ring holds it; w [k, n] with rows in the order of the array's tiles."""
    made = b"" if table is None else table.astype(np.int8).tobytes()
    for first in range(0, w.shape[1], columns):
        part = slice(first, first + columns)
        padding = (0, columns - len(bias[part]))
        made += np.pad(bias[part].astype("<i4"), padding).tobytes()
        scale = pack_scale(mul[part], shift[part]).astype("<i4")
        made += np.pad(scale, padding, constant_values=12 << 17).tobytes()
        made += np.pad(w[:, part].astype(np.int8), ((0, 0), padding)).tobytes()
    return made + bytes(-len(made) % LINE_BYTES)


@dataclass
class Rig:
    """Words with the windows they work on, executed as they are: the decoder's rules have tests of their own."""

    spec: AcceleratorSpec = SPEC
    ring: int = 512
    words: list[Instruction] = field(default_factory=list)
    parameters: bytearray = field(default_factory=bytearray)
    input: bytearray = field(default_factory=bytearray)
    output: int = 0
    windows: Windows | None = None
    result: Result | None = None

    @property
    def engine(self) -> Engine:
        return self.spec.engine

    @property
    def granule(self) -> int:
        return self.engine.array_columns

    def add(self, name: str, waits: str = "", signals: str = "", **operands: object) -> None:
        self.words.append(word(name, waits, signals, **operands))

    def hold(self, window: bytearray, data: bytes) -> int:
        """Append to a window; the line it begins at."""
        window += bytes(-len(window) % LINE_BYTES)
        line = len(window) // LINE_BYTES
        window += data + bytes(-len(data) % LINE_BYTES)
        return line

    def put(self, region: str, first: int, values: np.ndarray, stride: int = 0, window: str = "input") -> int:
        """LOAD rows of values; returns the stride in granules."""
        rows = as_rows(values, self.granule)
        size = rows.shape[1] // self.granule
        step = -(-rows.shape[1] // LINE_BYTES)
        data = np.pad(rows, ((0, 0), (0, step * LINE_BYTES - rows.shape[1]))).tobytes()
        held = self.input if window == "input" else self.parameters
        places = {"window": window, "address": self.hold(held, data), "step": step, "stride": stride or size}
        self.add("LOAD", **places, dst=(region, first), rows=len(rows), size=size)
        return stride or size

    def get(self, region: str, first: int, rows: int, stride: int, size: int) -> int:
        """STORE rows of ``size`` bytes; returns their number among the outputs for `rows_of`."""
        granules = -(-size // self.granule)
        step = -(-granules * self.granule // LINE_BYTES)
        address, self.output = self.output, self.output + step * rows
        places = {"window": "output", "address": address, "step": step, "stride": stride}
        self.add("STORE", **places, src=(region, first), rows=rows, size=granules)
        return address

    def weights(self, data: bytes, **more: object) -> int:
        """STREAM a layer; returns its lines."""
        self.add("STREAM", address=self.hold(self.parameters, data), lines=len(data) // LINE_BYTES, **more)
        return len(data) // LINE_BYTES

    def run(self, chain: bool = True, **options: object) -> Rig:
        if chain:
            self.words = chained(self.words)
        held = [np.frombuffer(bytes(data), np.uint8) for data in (self.parameters, self.input)]
        self.windows = Windows(*held, *(np.zeros(size, np.uint8) for size in (self.output * LINE_BYTES, 64 * 1024)))
        self.result = execute_stream(Stream(self.ring, tuple(self.words)), self.spec, self.windows, **options)
        return self

    def rows_of(self, address: int, rows: int, size: int, kind: str = "i1") -> np.ndarray:
        """What the STORE to ``address`` left: rows of ``size`` bytes as little-endian ``kind``."""
        step = -(-(-(-size // self.granule) * self.granule) // LINE_BYTES)
        data = self.windows.output.reshape(-1, LINE_BYTES)[address : address + step * rows]
        return np.ascontiguousarray(data.reshape(rows, -1)[:, :size]).view(f"<{kind}")
