"""The matrix unit: bits against the functional simulator, cycles against the cycle simulator's work."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from edgemtl.hw import timing
from edgemtl.hw.isa import LINE_BYTES, Instruction
from edgemtl.hw.sim.cycle.costs import COSTS
from edgemtl.hw.sim.cycle.instructions import Tiled
from edgemtl.hw.sim.cycle.work import Place
from edgemtl.hw.sim.functional.attention import mix, scores
from edgemtl.hw.sim.functional.matrix import linear
from edgemtl.hw.sim.functional.rowstate import LARGEST
from edgemtl.hw.sim.rtl.circuit import Circuit
from edgemtl.hw.spec import Engine
from tests.hw.rtl.matrix_bench import EXPERTS, Bench, chip_of, design, engine_of
from tests.hw.sim.functional.rig import layer, word

ENGINE = engine_of(32, 16)
LARGEST_LATENCY = 6
EXECUTE = {"LINEAR": linear, "MIX": mix, "SCORES": scores}


def seeds(*few: int, slow: tuple[int, ...]) -> list[Any]:
    """Seeds of every run of the tests, and those of slow ones."""
    return [*few, *(pytest.param(seed, marks=pytest.mark.slow) for seed in slow)]


@pytest.fixture
def circuit() -> Iterator[Circuit]:
    with Circuit(design(ENGINE), seed=3) as opened:
        yield opened


class Layers:
    """LINEARs drawn one after the other, with their weights in a ring that has all of them."""

    def __init__(self, engine: Engine, seed: int) -> None:
        self.engine, self.rng = engine, np.random.default_rng(seed)
        self.instructions: list[Instruction] = []
        self.weights, self._behind = b"", 0
        self._place, self._queries, self._scores = 1024, 0, 0
        self._queries_end = 3 * engine.buffers.queries.bytes // (4 * engine.array_columns)

    def add_linear(
        self,
        rows: int,
        k: int,
        n: int,
        wide: bool = False,
        table: bool = False,
        residual: bool = False,
        **slot: int,
    ) -> None:
        """The rows of an entry where ``slot`` has the operands slot, skip and gather; of one that is not there none."""
        rng, q = self.rng, self.engine.array_columns
        tiles, span = -(-n // q), 1 + wide
        shift = rng.integers(12, 20, n) if wide else rng.integers(20, 28, n)
        weights = layer(
            q,
            rng.integers(-127, 128, (k, n)),
            rng.integers(-(2**18), 2**18, n),
            rng.integers(0, 2**17, n),
            shift,
            rng.integers(-128, 128, 256) if table else None,
        )
        gap = int(rng.integers(0, 2))  # some weights stay until a later instruction releases them
        lines = len(weights) // LINE_BYTES
        size = rows * tiles * span
        by_tile = bool(rng.integers(0, 2))
        stride, step = (span, rows * span) if by_tile else (tiles * span, span)
        where = ("residual" if residual else "hidden", self._place)
        self._place += size
        src = {"src": ("input", int(rng.integers(0, 64))), "src_stride": int(rng.integers(0, 9))}
        self.instructions.append(
            word(
                "LINEAR",
                **src,
                rows=rows,
                k=k,
                n=n,
                dst=where,
                dst_stride=stride,
                dst_tile=step,
                offset=self._behind,
                release=0 if gap else self._behind + lines,
                wide=wide,
                table=table,
                zero=int(rng.integers(-128, 128)),
                low=int(rng.choice([-128, 0, 5])),
                residual=residual,
                **slot,
                add=where if residual and rng.integers(0, 2) else ("residual", 2000),
            )
        )
        if slot.get("slot", 0) <= EXPERTS:  # else STREAM has not fetched any weights, and nothing is released
            self._behind = self._behind + lines if gap else 0
            self.weights += weights

    def add_mix(self, rows: int, count: int, n: int) -> None:
        """Values key by key or tile by tile."""
        rng, tiles = self.rng, -(-n // self.engine.array_columns)
        heads = int(rng.integers(1, 4))
        step, stride = (1, tiles) if rng.integers(0, 2) else (count, 1)
        if stride % 3 == 0:
            step, stride = count, 1
        self.instructions.append(
            word(
                "MIX",
                src=("scores1", int(rng.integers(0, 64))),
                src_stride=int(rng.integers(0, 9)),
                heads=heads,
                head=int(rng.integers(0, heads)),
                rows=rows,
                values=("hidden", int(rng.integers(0, 64))),
                values_stride=stride,
                values_tile=step,
                count=count,
                n=n,
                dst=("queries", self._queries),
                dst_stride=tiles,
                mul=int(rng.integers(2**16, 2**17)),
                shift=int(rng.integers(15, 19)),
            )
        )
        self._queries += rows * tiles

    def add_scores(self, rows: int, count: int, heads: int, k: int) -> None:
        """Scores of all of ``count`` keys."""
        rng, span = self.rng, -(-2 * count // self.engine.array_columns)
        self.instructions.append(
            word(
                "SCORES",
                src=("queries", self._queries_end + int(rng.integers(0, 64))),
                src_stride=int(rng.integers(0, 3)),
                rows=rows,
                k=k,
                heads=heads,
                keys=("hidden", int(rng.integers(0, 64))),
                keys_stride=int(rng.integers(0, 5)),
                count=count,
                dst=("scores0", self._scores),
                dst_stride=span,
                shift=int(rng.integers(1, 9)),
            )
        )
        self._scores += rows * heads * span

    @property
    def lines(self) -> int:
        return len(self.weights) // LINE_BYTES


def check(layers: Layers, circuit: Circuit, **how: object) -> Bench:
    """Run on both; all that is written in the regions must be equal afterwards, which is all but padding."""
    law, rtl = (chip_of(layers.engine, layers.lines, seed=8) for _ in range(2))
    largest: list[tuple[str, int, int]] = []
    law.ring.push(np.frombuffer(layers.weights, np.uint8), 0)
    for instruction in layers.instructions:
        EXECUTE[instruction.name](law, instruction)
        if instruction.name == "SCORES":
            rows = np.arange(instruction["rows"] * instruction["heads"])
            values = law.state(instruction, "dst").get(LARGEST, rows)[0]
            largest += [("scores0", int(row), int(value)) for row, value in zip(rows, values, strict=True)]
    bench = Bench(rtl, circuit, **how)
    bench.run(layers.instructions, layers.weights)
    assert bench.largest == largest
    for name, memory in law.regions.items():
        at = np.arange(memory.granules)[:, None]
        data, written = memory.read_loose(at)
        same = (data == rtl.regions[name].read_loose(at)[0]) | ~written
        assert same.all(), f"{name}: granules {np.flatnonzero(~same.all(1))[:9]}"
    return bench


def ends_of(layers: Layers) -> list[int]:
    """When the cycle simulator's rules end each instruction, all of which wait from cycle 0 on."""
    ends, swap, free, end = [], 0, 0, 0
    for instruction in layers.instructions:
        work = COSTS[instruction.name].work(instruction, layers.engine, Place(True, None, 0, layers.lines))
        assert isinstance(work, Tiled)
        for tile, load in enumerate(work.tiles.loads):
            swap = max(free if tile == 0 else swap + work.tile_cycles, swap + load)
        if work.tiles.loads:
            free, end = swap + work.tile_cycles, swap + work.rows + timing.MATRIX.cycles
        ends.append(end)
    return ends


def draw(seed: int, most: int = 9, tables: int = 12) -> Layers:
    """Layers of every kind and of all numbers of tiles."""
    layers = Layers(ENGINE, seed)
    for _ in range(12):
        wide = bool(layers.rng.integers(0, 2))
        rows, k, n = (int(layers.rng.integers(1, end, endpoint=True)) for end in (most, 50, 40))
        table = not wide and tables > 0 and bool(layers.rng.integers(0, 2))
        tables -= table
        layers.add_linear(rows, k, n, wide, table, wide and bool(layers.rng.integers(0, 2)))
    return layers


def draw_mixed(seed: int, most: int) -> Layers:
    """LINEAR, SCORES and MIX in any order."""
    layers = Layers(ENGINE, seed)
    for _ in range(12):
        rows, k, n = (int(layers.rng.integers(1, end, endpoint=True)) for end in (most, 100, 40))
        kind, heads = layers.rng.integers(0, 3), int(layers.rng.integers(1, 3))
        if kind == 0:
            layers.add_mix(rows, k, n)
        elif kind == 1:
            layers.add_scores(rows, n, heads, 32 if heads > 1 else k)
        else:
            layers.add_linear(rows, k, n, wide=True, residual=bool(layers.rng.integers(0, 2)))
    return layers


@pytest.mark.parametrize("seed", seeds(1, 2, 4, slow=(0, 3, 5)))
def test_bits_with_stalls(seed: int, circuit: Circuit) -> None:
    """Twelve layers; half the seeds stall every port and start some layers only when those before have ended."""
    alone = frozenset(np.flatnonzero(np.random.default_rng(seed).random(12) < 0.3).tolist())
    check(draw(seed), circuit, stalls=0.4 * (seed % 2), alone=alone if seed % 2 else frozenset(), seed=seed)


@pytest.mark.parametrize("seed", seeds(9, slow=(7, 8)))
def test_a_ring_that_is_run_through(seed: int, circuit: Circuit) -> None:
    """A ring of less than the weights, whose end lies within an instruction, a tile or a beat."""
    layers = draw(seed)
    check(layers, circuit, ring_lines=layers.lines * 2 // 3, stalls=0.2, seed=seed)


def test_tiles_of_many_rows(circuit: Circuit) -> None:
    """From the array's least tile to the accumulators' all rows, with partial tiles of k and n."""
    layers = Layers(ENGINE, 21)
    for rows, k, n in ((1, 33, 17), (3, 16, 16), (4, 47, 16), (17, 20, 32), (64, 33, 20)):
        layers.add_linear(rows, k, n, wide=rows % 2 == 0, residual=rows == 64)
    check(layers, circuit)


def test_tables_of_the_smallest_layers(circuit: Circuit) -> None:
    """A single beat of weights, whose first row could look up before its table is copied."""
    layers = Layers(ENGINE, 22)
    for _ in range(4):
        layers.add_linear(3, 1, 16, table=True)
    check(layers, circuit, alone=frozenset(range(4)))
    check(layers, circuit)


@pytest.mark.parametrize("seed", seeds(32, slow=(31,)))
def test_cycles_are_those_of_the_model(seed: int, circuit: Circuit) -> None:
    """Without stalls every layer ends as many cycles behind the first as the cycle simulator says.

    A table may wait until the one before is copied, 33 cycles; it leaves that out, and there is one of them here.
    """
    layers = draw(seed, most=40, tables=1)
    bench = check(layers, circuit)
    model = np.array(ends_of(layers))
    np.testing.assert_array_equal(np.array(bench.done) - bench.done[0], model - model[0])


@pytest.mark.parametrize("seed", seeds(0, 1, slow=(2, 3)))
def test_bits_of_attention(seed: int, circuit: Circuit) -> None:
    """MIX among LINEARs, whose weights are loaded before the MIX in front of them has ended."""
    alone = frozenset(np.flatnonzero(np.random.default_rng(seed).random(12) < 0.3).tolist())
    check(draw_mixed(seed, 9), circuit, stalls=0.4 * (seed % 2), alone=alone if seed % 2 else frozenset(), seed=seed)


@pytest.mark.parametrize("seed", seeds(0, 1, slow=(2, 3)))
def test_bits_of_experts(seed: int, circuit: Circuit) -> None:
    """Slots with more and fewer tokens than rows, with none left and without an entry; gathers behind each other."""
    layers, rng = Layers(ENGINE, 60 + seed), np.random.default_rng(seed)
    for _ in range(12):
        slot = {"slot": int(rng.integers(1, EXPERTS + 3)), "skip": int(rng.choice([0, 3, 7, 30]))}
        slot |= {"gather": int(rng.integers(0, 2))}
        rows, k, n = (int(rng.integers(1, end, endpoint=True)) for end in (12, 70, 40))
        layers.add_linear(rows, k, n, wide=True, **(slot if rng.integers(0, 5) else {}))
    alone = frozenset(np.flatnonzero(rng.random(12) < 0.3).tolist())
    check(layers, circuit, stalls=0.4 * (seed % 2), alone=alone if seed % 2 else frozenset(), seed=seed)


def test_cycles_of_attention(circuit: Circuit) -> None:
    """Tiles bound by their rows, also behind LINEARs, and tiles bound by loading, take exactly the model's cycles."""
    layers = Layers(ENGINE, 41)
    for _ in range(3):
        layers.add_mix(5, 160, 16)
    for rows, count, n in ((40, 70, 32), (64, 100, 16), (45, 32, 40)):
        layers.add_mix(rows, count, n)
        layers.add_linear(rows, count // 2, n)
    for rows, count, heads in ((48, 60, 2), (64, 20, 1), (50, 33, 2)):
        layers.add_scores(rows, count, heads, 32)
    bench = check(layers, circuit)
    # A row's largest score is known so many cycles after its last scores.
    later = [LARGEST_LATENCY * (instruction.name == "SCORES") for instruction in layers.instructions]
    model = np.array(ends_of(layers)) + later
    np.testing.assert_array_equal(np.array(bench.done) - bench.done[0], model - model[0])


def test_attention_is_not_slower_than_the_model(circuit: Circuit) -> None:
    """What is read ahead from regions takes less than the model's loads, never more."""
    layers = Layers(ENGINE, 43)
    for _ in range(4):
        layers.add_linear(8, 40, 20)
        layers.add_mix(8, 60, 20)
        layers.add_scores(8, 60, 2, 32)
    bench = check(layers, circuit)
    assert (np.array(bench.done) <= np.array(ends_of(layers)) + bench.started[0]).all()


@pytest.mark.slow
def test_the_array_of_the_zcu104() -> None:
    """96 x 32, three heads at once, 3 granules of a region to beats of 4 rows; cycles bound by loading and by rows."""
    engine = engine_of(96, 32)
    mixed, timed = Layers(engine, 51), Layers(engine, 52)
    for heads in (1, 2, 3):
        mixed.add_linear(40, 250, 70, wide=True, residual=True)
        mixed.add_scores(5, 70, heads, 96)
        mixed.add_mix(7, 70, 33)
        mixed.add_linear(3, 96, 50, table=True)
    for rows in (5, 60):
        timed.add_linear(rows, 200, 90)
        timed.add_linear(rows, 100, 33, wide=True, residual=True)
    with Circuit(design(engine), seed=3) as circuit:
        check(mixed, circuit, stalls=0.3)
        bench = check(timed, circuit)
    model = np.array(ends_of(timed))
    np.testing.assert_array_equal(np.array(bench.done) - bench.done[0], model - model[0])
