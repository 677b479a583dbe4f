"""A specification as a report shows it: every figure with where it comes from, and the sum against the part."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

from edgemtl.hw.resources import Resource, Row, available, resource_sum, totals
from edgemtl.hw.spec import AcceleratorSpec, Engine
from edgemtl.records import leaves


@dataclass(frozen=True)
class Figure:
    """One number or word.

    basis: "published" by whoever made or measured the board, "estimated", "chosen" by us, "target" for the clock, which
    only place and route can confirm, "calculated" from the others, or "hypothetical" for everything about a board that
    was never made.
    """

    name: str
    value: float | str
    basis: str


@dataclass(frozen=True)
class Total:
    """One resource: what the engine ``needs`` of what the part ``has``; ``share`` is None where the part has none."""

    resource: Resource
    needs: float
    has: int

    @property
    def share(self) -> float | None:
        """Needs over has."""
        return self.needs / self.has if self.has else None


@dataclass(frozen=True)
class Datasheet:
    """All that `edgemtl targets show` prints of a board."""

    name: str
    title: str
    hypothetical: bool
    figures: tuple[Figure, ...]
    rows: tuple[Row, ...]
    totals: tuple[Total, ...]

    def to_json(self) -> dict[str, Any]:
        """The fields as JSON values."""
        return {**asdict(self), "totals": [{**asdict(total), "share": total.share} for total in self.totals]}


def describe_clocks(engine: Engine) -> str:
    """The clock in MHz, and that of the array's DSP blocks where it is another."""
    dsp = f", DSP blocks at {engine.clock_mhz * engine.dsp_clock_ratio} MHz" if engine.dsp_clock_ratio > 1 else ""
    return f"{engine.clock_mhz} MHz{dsp}"


def describe_spec(spec: AcceleratorSpec) -> Datasheet:
    """The data sheet of a specification."""
    rows, has = resource_sum(spec), available(spec.board.part)
    sums = tuple(Total(name, need, has[name]) for name, need in totals(rows).items())
    figures = (*_board(spec), *_engine(spec), *_rates(spec))
    return Datasheet(spec.name, spec.board.title, spec.hypothetical, figures, rows, sums)


def _board(spec: AcceleratorSpec) -> Iterator[Figure]:
    for name, value in leaves(spec.board):
        guessed = "estimated" if f"board.{name}" in spec.estimated else "published"
        yield Figure(f"board.{name}", value, "hypothetical" if spec.hypothetical else guessed)


def _engine(spec: AcceleratorSpec) -> Iterator[Figure]:
    for name, value in leaves(spec.engine):
        yield Figure(f"engine.{name}", value, "target" if name == "clock_mhz" else "chosen")
    yield Figure("dsp_clock_mhz", spec.engine.clock_mhz * spec.engine.dsp_clock_ratio, "target")


def _rates(spec: AcceleratorSpec) -> Iterator[Figure]:
    """What the numbers above amount to, at a clock that is a target."""
    engine, memory = spec.engine, spec.board.memory
    hertz = engine.clock_mhz * 1e6
    yield Figure("peak_macs_per_cycle", engine.macs_per_cycle, "calculated")
    yield Figure("peak_gmac_per_s", engine.macs_per_cycle * hertz / 1e9, "calculated")
    yield Figure("memory_peak_bytes_per_s", memory.peak_bytes_per_s, "calculated")
    yield Figure("memory_peak_bytes_per_cycle", round(memory.peak_bytes_per_s / hertz, 2), "calculated")
    yield Figure("memory_sustained_bytes_per_cycle", round(spec.sustained_bytes_per_cycle, 2), "calculated")
