"""Joules of everything that is counted, each with the range in which it may lie and where that comes from.

Coefficients named as assumptions are that; others scale published numbers of other circuits. None was measured here.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

DIGITS: Final = 2
"""Significant digits that a result is given with; the coefficients carry hardly one."""


@dataclass(frozen=True)
class Range:
    """A value that is ``typical`` and lies somewhere between ``low`` and ``high``."""

    low: float
    typical: float
    high: float

    def times(self, amount: float) -> Range:
        """Of so many."""
        return Range(self.low * amount, self.typical * amount, self.high * amount)

    def plus(self, other: Range) -> Range:
        """The sum where both err the same way: the widest there can be."""
        return Range(self.low + other.low, self.typical + other.typical, self.high + other.high)

    def rounded(self) -> Range:
        """To the digits it carries."""
        return Range(_rounded(self.low), _rounded(self.typical), _rounded(self.high))


def _rounded(value: float) -> float:
    return round(value, DIGITS - 1 - math.floor(math.log10(value))) if value > 0 else 0.0


@dataclass(frozen=True)
class Coefficient:
    """Joules of one ``unit`` of what was counted; ``source`` says where the range comes from."""

    name: str
    unit: str
    joules: Range
    source: str


_PICO: Final = 1e-12
_HOROWITZ: Final = "Horowitz, ISSCC 2014, 45 nm"
_SCALED: Final = "times 0.35 for 16 nm at 0.85 V"

COEFFICIENTS: Final = (
    Coefficient(
        "mac",
        "int8 product and sum in a DSP48E2, with its share of accumulators and finish",
        Range(0.5, 1.5, 4).times(_PICO),
        f"{_HOROWITZ}: 8-bit multiply 0.2 pJ, 32-bit add 0.1 pJ; {_SCALED}; assumption: 5 to 40 times that in an FPGA "
        "(Kuon and Rose, TCAD 2007: 14 times the dynamic power of an ASIC on average, in LUTs alone)",
    ),
    Coefficient(
        "array",
        "byte loaded into the array",
        Range(0.1, 0.5, 1.5).times(_PICO),
        "assumption: eight flip-flops and their wires",
    ),
    Coefficient(
        "bram36",
        "byte read or written",
        Range(0.4, 1.5, 4).times(_PICO),
        f"{_HOROWITZ}: 10 pJ for 8 bytes of 8 KiB; {_SCALED}; assumption: up to 9 times that for wires of the FPGA",
    ),
    Coefficient(
        "uram288",
        "byte read or written",
        Range(0.9, 2, 5).times(_PICO),
        f"{_HOROWITZ}: 20 pJ for 8 bytes of 32 KiB; {_SCALED}; assumption: up to 6 times that for wires of the FPGA",
    ),
    Coefficient(
        "lane",
        "lane of the softmax or vector unit at work for a cycle",
        Range(1.5, 5, 15).times(_PICO),
        "assumption: some hundred LUTs that switch; the router is left out",
    ),
    Coefficient(
        "clock",
        "LUT of the engine for a cycle, at work or not",
        Range(0.015, 0.04, 0.1).times(_PICO),
        "assumption: clock tree and control without gating, about 1 W for 80,000 LUTs at 300 MHz",
    ),
    Coefficient(
        "memory",
        "byte of the board's DDR4, its pins and the controller",
        Range(100, 180, 320).times(_PICO),
        f"{_HOROWITZ}: 1.3 to 2.6 nJ for 8 bytes of DRAM, the upper half of the range; DDR4 alone 12 to 25 pJ a bit",
    ),
    Coefficient(
        "memory_idle",
        "second of the board's DDR4, open and refreshed",
        Range(0.2, 0.4, 0.8),
        "assumption: four chips of 50 to 200 mW, as data sheets' standby and refresh currents at 1.2 V give",
    ),
    Coefficient(
        "static",
        "second of 100,000 LUTs of the part, leakage of the programmable logic",
        Range(0.15, 0.3, 0.7),
        "assumption: 0.7 W typical for an XCZU7EV; leakage doubles with some 30 degrees",
    ),
    Coefficient(
        "processors",
        "second of the processing system that waits for the accelerator",
        Range(1.5, 2.5, 4),
        "assumption; the sum of all must leave room for what others measured on the ZCU102: 11.5 W (UbiMoE), 9.8 W "
        "(CoQMoE); M3ViT's table takes 10 W flat",
    ),
)
