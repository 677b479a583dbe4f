"""The cells of DSP blocks: what simulation runs against a model of the vendor's block, and both against integers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edgemtl.hw.sim.rtl.build import SOURCES, Design
from edgemtl.hw.sim.rtl.circuit import Circuit, signed

BLOCK = (SOURCES / "dsp_slice.sv", Path(__file__).with_name("dsp48e2.sv"))
CYCLES = 20_000


@pytest.mark.parametrize("first", [0, 1])
def test_two_products_with_weights_that_wait(first: int) -> None:
    """Weights, activations, loads, swaps and the cascade at random and at their ends."""
    rng = np.random.default_rng(first)
    weight = rng.choice([-127, 127, 0], (2, CYCLES)) * (rng.random((2, CYCLES)) < 0.5)
    weight = np.where(rng.random((2, CYCLES)) < 0.5, weight, rng.integers(-127, 128, (2, CYCLES)))
    packed = (weight[1] << 18) + weight[0]
    activation = np.where(rng.random(CYCLES) < 0.3, -128, rng.integers(-128, 128, CYCLES))
    cascade = rng.integers(-(2**47), 2**47, CYCLES)
    load, swap = rng.random((2, CYCLES)) < 0.4
    load[0] = swap[1] = True  # from cycle 1 on the weights are known
    common = {"load": load, "swap": swap, "cascade_in": cascade & (2**48 - 1)}
    with Circuit(Design("dsp_mac2", {"FIRST": first}, (SOURCES / "dsp_mac2.sv",))) as circuit:
        cell = circuit.run(common | {"weights": packed, "activation": activation})
    with Circuit(Design("dsp_slice", {"HELD": 1, "CASCADE": 1 - first}, BLOCK)) as circuit:
        block = circuit.run(common | {"a": packed, "b": activation})
    waiting, working, sums = 0, 0, [0] * 3
    for cycle in range(CYCLES):
        swapped = waiting if swap[cycle] else working
        waiting = int(packed[cycle]) if load[cycle] else waiting
        working = swapped
        sums.append(working * int(activation[cycle]))
    expected = np.array(sums[3:CYCLES]) + (0 if first else cascade[2:-1])
    wrapped = (expected + 2**47) % 2**48 - 2**47
    for out in (signed(cell["sum"], 48), signed(block["product"], 48)):
        np.testing.assert_array_equal(out[4:], wrapped[1:])


def test_a_product() -> None:
    rng = np.random.default_rng(2)
    a = np.concatenate([[-(2**26), 2**26 - 1] * 2, rng.integers(-(2**26), 2**26, CYCLES)])
    b = np.concatenate([[-(2**17)] * 2, [2**17 - 1] * 2, rng.integers(-(2**17), 2**17, CYCLES)])
    designs = (Design("dsp_mulc", {}, (SOURCES / "dsp_mulc.sv",)), Design("dsp_slice", {}, BLOCK))
    for design in designs:
        with Circuit(design) as circuit:
            out = circuit.run({"a": a, "b": b})
        np.testing.assert_array_equal(signed(out["product"], 48)[3:], (a * b)[:-3])
