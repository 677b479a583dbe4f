"""The softmax unit against the functional simulator, between memories that pause at random."""

from __future__ import annotations

from collections import deque

import numpy as np
import pytest

from edgemtl.hw import arith
from edgemtl.hw.encoding import encode
from edgemtl.hw.isa import Instruction
from edgemtl.hw.sim.functional.attention import softmax
from edgemtl.hw.sim.functional.chip import Chip
from edgemtl.hw.sim.functional.rowstate import LARGEST, RECIPROCAL
from edgemtl.hw.sim.rtl.build import SOURCES, Design
from edgemtl.hw.sim.rtl.circuit import Circuit
from edgemtl.hw.timing import ROW, SOFTMAX
from tests.hw.rtl.matrix_bench import NOTHING, Reader, as_bytes, engine_of

COLUMNS = 16
LANES = 32
MODULES = ("adder_tree", "delay", "exp2", "fifo", "reciprocal", "softmax_unit")


def test_the_reciprocal_of_every_sum() -> None:
    values = np.arange(1, 2**19)
    with Circuit(Design("reciprocal", {}, (SOURCES / "delay.sv", SOURCES / "reciprocal.sv"))) as circuit:
        out = circuit.run({"value": np.concatenate([values, np.ones(19, np.int64)])})
    mantissa, exponent = arith.reciprocal(values)
    np.testing.assert_array_equal(out["mantissa"][19:], mantissa)
    np.testing.assert_array_equal(out["exponent"][19:], exponent)


class Bench:
    """The unit with two memories of scores and their row states, which `Chip` holds."""

    def __init__(self, circuit: Circuit, chip: Chip, seed: int, stalls: float) -> None:
        self.circuit, self.chip, self.stalls = circuit, chip, stalls
        self.rng = np.random.default_rng(seed)
        self.scores = {3: chip.regions["scores0"], 4: chip.regions["scores1"]}
        self.states = {3: chip.states["scores0"], 4: chip.states["scores1"]}
        self.readers = {name: Reader(name, self.rng, stalls) for name in ("score", "state")}
        circuit.run({"reset": 1}, 2)

    def run(self, instruction: Instruction) -> tuple[int, list[tuple[int, int, int]]]:
        """The cycles from its start to its end, and the states it wrote."""
        written: list[tuple[int, int, int]] = []
        region, word = instruction["src_region"], np.frombuffer(encode(instruction), np.uint8)[None]
        started, queue = -1, deque([word])
        for now in range(200_000):
            given = {name: value for reader in self.readers.values() for name, value in reader.offer(now).items()}
            for port in ("score", "state"):
                given[f"{port}_write_ready"] = int(self.rng.random() >= self.stalls)
            if queue:
                given |= {"start_valid": 1, "start_word": queue[0]}
            out = {name: value[0] for name, value in self.circuit.run(given, 1).items()}
            if queue and out["start_ready"]:
                queue.popleft()
                started = now
            if out["score_read_valid"] and given["score_read_ready"]:
                assert out["score_region"] == region
                self.readers["score"].answer(now, {"score_data": self._read(region, out)})
            if out["state_read_valid"] and given["state_read_ready"]:
                largest = int(self.states[region].get(LARGEST, np.array([int(out["state_read_row"])]))[0][0])
                self.readers["state"].answer(now, {"state_largest": largest & 0xFFFF})
            if out["score_write_valid"] and given["score_write_ready"]:
                self._write(region, out)
            if out["state_write_valid"] and given["state_write_ready"]:
                names = ("state_write_row", "state_mantissa", "state_exponent")
                written.append(tuple(int(out[name]) for name in names))  # type: ignore[arg-type]
            if out["done"]:
                return now - started, written
        raise AssertionError("the instruction did not end")

    def _read(self, region: int, out: dict) -> np.ndarray:
        at = int(out["score_read_granule"]) + np.arange(int(out["score_read_count"]))
        data = self.rng.integers(0, 256, (1, 2 * LANES)).astype(np.uint8)  # what was not asked for is anything
        rows = self.scores[region].read(at[:, None], COLUMNS)
        data[0, : rows.size] = rows.ravel()
        return data

    def _write(self, region: int, out: dict) -> None:
        mask = np.unpackbits(as_bytes(out["score_write_mask"]), bitorder="little")[:LANES].astype(bool)
        at = int(out["score_write_granule"]) + np.arange(-(-int(mask.sum()) // COLUMNS))
        rows = self.scores[region].read(at[:, None], COLUMNS)
        flat = rows.reshape(-1).copy()
        chosen = mask[: flat.size]
        flat[chosen] = as_bytes(out["score_write_data"])[: flat.size][chosen]
        self.scores[region].write(at[:, None], flat.reshape(rows.shape))


@pytest.fixture(scope="module")
def circuit():
    files = tuple(SOURCES / f"{name}.sv" for name in MODULES)
    with Circuit(Design("softmax_unit", {"LANES": LANES, "COLUMNS": COLUMNS}, files)) as built:
        yield built


def filled(seed: int, instruction: Instruction) -> Chip:
    """A chip with scores of all kinds, near each other and far, and the largest of each row."""
    chip, rng = Chip(engine_of(16, COLUMNS), 1, NOTHING, None), np.random.default_rng(seed)
    rows, count = instruction["rows"], instruction["count"]
    spread = rng.choice([0, 3, 200, 2**15], (rows, 1))
    scores = np.clip(
        rng.integers(-500, 500, (rows, 1)) + rng.integers(-spread - 1, spread + 1, (rows, count)), -(2**15), 2**15 - 1
    )
    memory = chip.region(instruction, "src")
    at = memory.rows_at(instruction["src"], rows, instruction["stride"], memory.span(2 * count))
    memory.write(at, _padded(scores.astype("<i2").view(np.uint8), at.shape[1] * COLUMNS))
    chip.state(instruction, "src").put(LARGEST, scores.max(1))
    return chip


def _padded(rows: np.ndarray, size: int) -> np.ndarray:
    return np.pad(rows, ((0, 0), (0, size - rows.shape[1])))


def case(rows: int, count: int, copy: int = 0, src: int = 5) -> Instruction:
    operands = {
        "src_region": 3 + copy,
        "src": src,
        "stride": -(-2 * count // COLUMNS) + 1,
        "rows": rows,
        "count": count,
    }
    return Instruction("SOFTMAX", operands)


@pytest.mark.parametrize("stalls", [0.0, 0.3, 0.8])
@pytest.mark.parametrize(
    ("rows", "count"), [(1, 1), (3, 2), (70, 31), (9, 32), (8, 33), (5, 64), (20, 129), (3, 257)], ids=str
)
def test_rows_of_scores(circuit: Circuit, rows: int, count: int, stalls: float) -> None:
    instruction = case(rows, count, copy=count % 2)
    chip, expected = filled(rows, instruction), filled(rows, instruction)
    softmax(expected, instruction)
    cycles, written = Bench(circuit, chip, rows, stalls).run(instruction)
    memory = chip.region(instruction, "src")
    at = memory.rows_at(instruction["src"], rows, instruction["stride"], memory.span(count))
    np.testing.assert_array_equal(memory.read(at, count), expected.region(instruction, "src").read(at, count))
    mantissa, exponent = expected.state(instruction, "src").get(RECIPROCAL, np.arange(rows))
    assert written == list(zip(range(rows), mantissa.tolist(), exponent.tolist(), strict=True))
    if not stalls:
        assert cycles <= rows * (-(-count // LANES) + ROW.cycles) + SOFTMAX.cycles
