"""The smallest modules, on everything they can be given or at the ends of every range, against the arithmetic."""

from __future__ import annotations

import numpy as np

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
