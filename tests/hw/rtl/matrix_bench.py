"""The matrix unit between a ring, memories and a sequencer in Python: cycle by cycle, with stalls drawn at random."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from edgemtl.hw.arith import reciprocal
from edgemtl.hw.encoding import encode
from edgemtl.hw.geometry import can_compute_heads, lanes_of
from edgemtl.hw.isa import LINE_BYTES, REGIONS, Instruction
from edgemtl.hw.regions import capacities
from edgemtl.hw.sim.functional import Windows
from edgemtl.hw.sim.functional.chip import Chip
from edgemtl.hw.sim.functional.rowstate import RECIPROCAL
from edgemtl.hw.sim.rtl.build import SOURCES, Design
from edgemtl.hw.sim.rtl.circuit import Circuit
from edgemtl.hw.spec import Engine
from tests.hw.sim.functional.rig import spec_of

MODULES = (
    *("matrix_pkg", "accumulators", "adder_tree", "array", "column_sums", "delay", "dsp_mac2", "dsp_mulc", "fifo"),
    *(
        "finish",
        "gather_rows",
        "gearbox",
        "head_sums",
        "key_loader",
        "largest_scores",
        "loader",
        "matrix_unit",
        "prefetch",
    ),
    *("requantise", "row_pipeline", "row_scale", "row_walk", "score_lane", "transposer", "value_loader", "weight_load"),
)
FILES = tuple(SOURCES / f"{name}.sv" for name in MODULES)
LATENCY = 4
"""Cycles from a request to its data where nothing stalls."""
PORTS = ("weight", "value", "key", "row", "add", "state")
EXPERTS, TOKENS = 4, 20
"""Experts that have tokens, which are every other one; tokens, of two experts each."""
NOTHING = Windows(*(np.zeros(0, np.uint8) for _ in range(4)))


def engine_of(rows: int, columns: int) -> Engine:
    """An engine that loads four rows of weights a cycle from the ring, and three from a region."""
    load = 4 * columns
    engine = spec_of(rows, columns, weight_load_bytes_per_cycle=load, weight_ring_bytes=2**18).engine
    hidden = replace(engine.buffers.hidden, width_bytes=3 * columns)
    scores = replace(engine.buffers.scores, width_bytes=6 * columns)
    return replace(engine, buffers=replace(engine.buffers, hidden=hidden, scores=scores))


def design(engine: Engine) -> Design:
    """The unit of an engine."""
    parameters = {
        "ROWS": engine.array_rows,
        "COLUMNS": engine.array_columns,
        "LOAD_ROWS": engine.weight_load_bytes_per_cycle // engine.array_columns,
        "LANES": lanes_of(engine, "hidden"),
        "HEADS": max(heads for heads in (1, 2, 3) if can_compute_heads(engine, heads)),
        "DEPTH": engine.accumulator_rows,
    }
    return Design("matrix_unit", parameters, FILES)


def as_bytes(port: np.ndarray) -> np.ndarray:
    """The bytes of a port of any width."""
    return np.atleast_1d(port).view(np.uint8)


def chip_of(engine: Engine, ring_lines: int, seed: int) -> Chip:
    """A chip with bytes of -127..127 in its regions and reciprocals in its row states, drawn from a seed."""
    chip, rng = Chip(engine, ring_lines, NOTHING, None), np.random.default_rng(seed)
    for name, size in capacities(engine).items():
        memory = chip.regions[name]
        at = np.arange(memory.granules)[:, None]
        memory.write(
            at, rng.integers(-127, 128, (memory.granules, size // memory.granules)).astype(np.int8).view(np.uint8)
        )
    choices = rng.permuted(np.tile(np.arange(EXPERTS), (TOKENS, 1)), axis=1)[:, :2] * 2
    chip.router.append(True, 0, choices, np.ones_like(choices))
    chip.router.finish(2 * EXPERTS, [], 0, 0)
    for state in chip.states.values():
        state.put(RECIPROCAL, *reciprocal(rng.integers(255, 255 * 64, state.rows)))
    return chip


@dataclass
class Reader:
    """A read port: requests are answered in order, ``LATENCY`` cycles later or, with stalls, some more."""

    name: str
    rng: np.random.Generator
    stalls: float
    waiting: deque[tuple[int, dict[str, object]]] = field(default_factory=deque)

    def offer(self, now: int) -> dict[str, object]:
        """This cycle's inputs of the unit."""
        given: dict[str, object] = {f"{self.name}_read_ready": int(self.rng.random() >= self.stalls)}
        if self.waiting and self.waiting[0][0] <= now and self.rng.random() >= self.stalls:
            given |= {f"{self.name}_data_valid": 1} | self.waiting.popleft()[1]
        return given

    def answer(self, now: int, data: dict[str, object]) -> None:
        """Take a request."""
        self.waiting.append((now + LATENCY, data))


@dataclass
class Queues:
    """The router's side: entries of the list and walks along their queues, in order."""

    chip: Chip
    rng: np.random.Generator
    stalls: float
    tokens: deque[int] = field(default_factory=deque)
    asked: int | None = None

    def offer(self) -> dict[str, object]:
        """This cycle's inputs of the unit."""
        given: dict[str, object] = {"walk_ready": int(self.rng.random() >= self.stalls)}
        if self.asked is not None and self.rng.random() >= self.stalls:
            entry = self.chip.router.peek(self.asked + 1)
            given |= {"entry_here": 1, "entry_present": int(entry is not None)}
            given |= {"entry_count": 0 if entry is None else len(entry.tokens)}
        if self.tokens and self.rng.random() >= self.stalls:
            given |= {"token_valid": 1, "token": self.tokens[0]}
        return given

    def take(self, inputs: dict[str, object], out: dict[str, np.ndarray]) -> None:
        """Go on behind a cycle."""
        self.asked = int(out["entry_index"]) if out["entry_ask"] and not inputs.get("entry_here") else None
        if inputs.get("token_valid") and out["token_ready"]:
            self.tokens.popleft()
        if out["walk_valid"] and inputs["walk_ready"]:
            entry, skip = self.chip.router.peek(int(out["walk_entry"]) + 1), int(out["walk_skip"])
            assert entry is not None
            tokens = entry.tokens[skip : skip + int(out["walk_rows"])]
            assert len(tokens) == out["walk_rows"]
            self.tokens += tokens.tolist()


@dataclass
class Bench:
    """Executes instructions on the memories of ``chip``.

    The ring has ``ring_lines``, or as many as there are weights where that is 0. It is always full of what follows its
    head, which ``released`` lines have left.

    ``alone``: numbers of instructions that start when those before them have ended. After `run`: ``done``, the cycle in
    which each ended, ``started``, and ``largest``: region, row and score of each state written, in order.
    """

    chip: Chip
    circuit: Circuit
    stalls: float = 0.0
    alone: frozenset[int] = frozenset()
    seed: int = 1
    ring_lines: int = 0
    released: int = 0
    done: list[int] = field(default_factory=list)
    started: list[int] = field(default_factory=list)
    largest: list[tuple[str, int, int]] = field(default_factory=list)

    def run(self, instructions: Sequence[Instruction], weights: bytes, most: int = 100_000) -> None:
        """Run until the last one has ended. Fails after ``most`` cycles, and where the ring is released wrongly."""
        rng = np.random.default_rng(self.seed)
        readers = {name: Reader(name, rng, self.stalls) for name in PORTS}
        queues = Queues(self.chip, rng, self.stalls)
        words = [np.frombuffer(encode(instruction), np.uint8) for instruction in instructions]
        ring = np.frombuffer(weights, np.uint8).reshape(-1, self.chip.columns)
        quiet = {"ring_lines": self.ring_lines or len(weights) // LINE_BYTES}
        self.circuit.run(quiet | {"reset": [1]})
        for now in range(most):
            if len(self.done) == len(words):
                return
            at = len(self.started)
            ready = {f"{name}_ready": int(rng.random() >= self.stalls) for name in ("write", "largest")}
            inputs: dict[str, object] = quiet | ready
            if at < len(words):
                may = (at not in self.alone or len(self.done) == at) and rng.random() >= self.stalls
                inputs |= {"ahead": 1, "start_word": words[at], "start_valid": int(may)}
            inputs |= queues.offer()
            for reader in readers.values():
                inputs |= reader.offer(now)
            out = {
                name: value[0]
                for name, value in self.circuit.run({n: np.asarray(v)[None] for n, v in inputs.items()}).items()
            }
            if inputs.get("start_valid") and out["start_ready"]:
                self.started.append(now)
            if out["done"]:
                self.released += int(out["release_lines"])
                assert out["release_lines"] == self._released(instructions[len(self.done)])
                self.done.append(now)
            queues.take(inputs, out)
            for name, reader in readers.items():
                if out[f"{name}_read_valid"] and inputs[f"{name}_read_ready"]:
                    reader.answer(now, self._read(name, out, ring, rng))
            if out["write_valid"] and inputs["write_ready"]:
                self._write(out)
            if out["largest_valid"] and inputs["largest_ready"]:
                self._write_state(out)
        raise AssertionError(f"{len(self.done)} of {len(words)} instructions ended in {most} cycles")

    def _released(self, instruction: Instruction) -> int:
        """Lines that an instruction releases: none where it has a slot and there is no such entry."""
        slot = instruction.operands.get("slot", 0)
        is_there = not slot or self.chip.router.peek(slot) is not None
        return instruction.operands.get("release", 0) * is_there

    def _read(
        self, name: str, out: dict[str, np.ndarray], ring: np.ndarray, rng: np.random.Generator
    ) -> dict[str, object]:
        """The granules of a request, with anything behind them, or a row's reciprocal."""
        engine, region = self.chip.engine, REGIONS[int(out[f"{name}_read_region"])] if name != "weight" else ""
        if name == "state":
            parts = self.chip.states[region].get(RECIPROCAL, np.array([int(out["state_read_row"])]))
            return {"state_mantissa": int(parts[0][0]), "state_exponent": int(parts[1][0])}
        widths = {
            "weight": engine.weight_load_bytes_per_cycle // self.chip.columns,
            "value": lanes_of(engine, "hidden"),
            "row": self.chip.rows // self.chip.columns,
            "key": self.chip.rows // self.chip.columns,
            "add": 2,
        }
        count = 2 if name == "add" else int(out[f"{name}_read_count"])
        assert 1 <= count <= widths[name]
        at = int(out[f"{name}_read_granule"]) + np.arange(count) * int(out.get(f"{name}_read_stride", 1))
        data = rng.integers(0, 256, (widths[name], self.chip.columns), np.uint8)
        memory = self.chip.regions.get(region)
        data[:count] = self._weights(at, ring) if memory is None else memory.read_loose(at[:, None])[0]
        return {f"{name}_data": data.reshape(-1)}

    def _weights(self, at: np.ndarray, weights: np.ndarray) -> np.ndarray:
        """Granules of the ring."""
        line = LINE_BYTES // self.chip.columns
        size = self.ring_lines * line or len(weights)
        head = self.released * line
        assert at[0] < size, "a request begins in the ring, behind whose end its begin follows"
        return weights[head + (at - head) % size]

    def _write(self, out: dict[str, np.ndarray]) -> None:
        memory, columns, rows = (
            self.chip.regions[REGIONS[int(out["write_region"])]],
            self.chip.columns,
            out["write_rows"],
        )
        mask = np.unpackbits(as_bytes(out["write_mask"]), bitorder="little").reshape(-1, 2 * columns)
        count = 2 if mask[0, columns] else 1
        there = (np.arange(len(mask)) < rows)[:, None] & (np.arange(2 * columns) < count * columns)
        np.testing.assert_array_equal(mask, there)
        for row, data in enumerate(out["write_data"].reshape(len(mask), 2, columns)[:rows, :count]):
            first = int(out["write_granule"]) + row * int(out["write_stride"])
            memory.write(first + np.arange(count)[:, None], data)

    def _write_state(self, out: dict[str, np.ndarray]) -> None:
        rows, packed = int(out["largest_rows"]), as_bytes(out["largest_scores"])
        region, first = REGIONS[int(out["largest_region"])], int(out["largest_row"])
        self.largest += [(region, first + i, int(score)) for i, score in enumerate(packed.view("<i2")[:rows])]
