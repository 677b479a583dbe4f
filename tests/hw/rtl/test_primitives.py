"""The smallest modules, on everything they can be given or at the ends of every range, against the arithmetic."""

from __future__ import annotations

from collections import deque

import numpy as np
import pytest

from edgemtl.hw import arith
from edgemtl.hw.sim.rtl.build import SOURCES, Design
from edgemtl.hw.sim.rtl.circuit import Circuit


def test_exp2_of_every_distance() -> None:
    """Every distance that differs, and the largest, from both ends of the scores."""
    distances = np.concatenate([np.arange(1024), [2**16 - 1]])
    pairs = np.concatenate(
        [np.stack([32767 - distances * 0, 32767 - distances]), np.stack([distances - 32768, distances * 0 - 32768])],
        axis=1,
    )
    with Circuit(Design("exp2", {}, (SOURCES / "exp2.sv",))) as circuit:
        out = circuit.run({"largest": pairs[0], "score": pairs[1]}, len(pairs[0]))
    np.testing.assert_array_equal(out["weight"][4:], arith.exp2_byte(pairs[0] - pairs[1])[:-4])


@pytest.mark.parametrize("depth", [1, 3, 4])
def test_a_fifo_against_a_deque(depth: int) -> None:
    """20,000 cycles with words offered and taken at random, seldom and often by turns."""
    rng = np.random.default_rng(depth)
    cycles = 20_000
    often = rng.choice([0.1, 0.5, 0.9], (2, cycles // 50)).repeat(50, axis=1)
    offered, asked = rng.random((2, cycles)) < often
    data = rng.integers(0, 256, cycles)
    with Circuit(Design("fifo", {"WIDTH": 8, "DEPTH": depth}, (SOURCES / "fifo.sv",))) as circuit:
        circuit.run({"reset": 1}, 2)
        out = circuit.run({"in_valid": offered, "in_data": data, "out_ready": asked})
    queue: deque[int] = deque()
    for cycle in range(cycles):
        assert out["in_ready"][cycle] == (len(queue) < depth), cycle
        assert out["out_valid"][cycle] == bool(queue), cycle
        takes = bool(offered[cycle] and len(queue) < depth)
        if queue and out["out_data"][cycle] != queue[0]:
            raise AssertionError(f"cycle {cycle}: the oldest word must come first")
        if queue and asked[cycle]:
            queue.popleft()
        if takes:
            queue.append(int(data[cycle]))
