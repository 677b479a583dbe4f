"""The energy estimate: the sum by hand, its digits, and whether its range holds what others measured."""

from dataclasses import replace

import pytest

from edgemtl.hw.sim.energy import COEFFICIENTS, estimate
from edgemtl.hw.sim.trace import Timing
from edgemtl.hw.spec import read_spec

NOTHING = Timing(0, 300_000, 0, (), {}, {}, (), {})
"""A millisecond at 300 MHz in which nothing is done."""


@pytest.fixture
def spec():
    return read_spec("zcu104")


def part(energy, name):
    return next(part for part in energy.parts if part.name == name)


def test_parts_are_amounts_times_coefficients(spec):
    timing = replace(
        NOTHING,
        macs=10**9,
        busy={"softmax": 1000, "vector": 2000, "matrix": 5, "memory": 7},
        traffic={"weights": 10**6, "load": 10**5},
        on_chip={"array": 300, "ring": 1000, "residual": 2000, "scores0": 30, "scores1": 4, "constants": 5},
    )
    energy = estimate(timing, spec)
    amounts = {made.name: made.amount for made in energy.parts}
    luts = amounts.pop("clock") / 300_000
    assert 50_000 < luts < spec.board.part.lut
    assert amounts == {
        "mac": 10**9,
        "array": 300,
        "bram36": 39,
        "uram288": 3000,
        "lane": 64 * 1000 + 32 * 2000,
        "memory": 1_100_000,
        "memory_idle": 0.001,
        "static": pytest.approx(0.001 * 2.304),
        "processors": 0.001,
    }
    assert part(energy, "mac").joules.typical == pytest.approx(1.5e-3)
    assert part(energy, "processors").joules.high == pytest.approx(4e-3)
    typical = sum(made.joules.typical * part(energy, made.name).amount for made in COEFFICIENTS)
    assert energy.joules.typical == pytest.approx(typical, rel=0.05)
    assert energy.watts.typical == pytest.approx(typical * 1000, rel=0.05)


def test_no_more_digits_than_it_carries(spec):
    energy = estimate(replace(NOTHING, macs=123_456_789), spec)
    for made in [energy.joules, energy.watts, *(part.joules for part in energy.parts)]:
        for value in (made.low, made.typical, made.high):
            assert value == float(f"{value:.1e}")


def test_coefficients_are_ordered_and_have_a_source():
    for made in COEFFICIENTS:
        assert 0 < made.joules.low < made.joules.typical < made.joules.high
        assert "ISSCC" in made.source or "assumption" in made.source


def test_an_engine_at_work_draws_what_such_boards_draw(spec):
    """Full array, full memory. Measured by others on the ZCU102: 9.8 and 11.5 W; the range must hold both."""
    traffic = {"weights": round(300_000 * spec.sustained_bytes_per_cycle)}
    on_chip = {"array": 128 * 300_000, "ring": 256 * 300_000, "input": 96 * 300_000, "residual": 64 * 300_000}
    busy = dict.fromkeys(("softmax", "vector", "matrix", "memory"), 300_000)
    energy = estimate(replace(NOTHING, macs=3072 * 300_000, traffic=traffic, on_chip=on_chip, busy=busy), spec)
    assert energy.watts.low < 9.8
    assert energy.watts.high > 11.5
    assert 5 < energy.watts.typical < 11.5
    assert estimate(replace(NOTHING, end=0), spec).joules.high == 0
