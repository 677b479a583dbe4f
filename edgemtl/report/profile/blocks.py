"""The parts of a page: groups of sections, each a chart or tables with a sentence on how to read them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import plotly.graph_objects as go

Cell = str | float
"""A text, or a share from 0 to 1 that is shown as a meter."""


@dataclass(frozen=True)
class PageTable:
    """columns: title, and whether its cells are numbers."""

    columns: tuple[tuple[str, bool], ...]
    rows: tuple[tuple[Cell, ...], ...]


@dataclass(frozen=True)
class PageSection:
    """basis: "simulated", "measured", "published", "estimated" or "calculated". chart: HTML, "" for none."""

    title: str
    basis: str
    how: str
    chart: str = ""
    tables: tuple[PageTable, ...] = ()


@dataclass(frozen=True)
class PageGroup:
    """Sections under one heading; ``id`` is where links lead."""

    id: str
    title: str
    sections: tuple[PageSection, ...]


@dataclass(frozen=True)
class Card:
    """A headline figure."""

    title: str
    figure: str
    text: str
    basis: str


OPTIONS: Final = {"displayModeBar": False, "responsive": True}


def embed(figure: go.Figure, name: str) -> str:
    """A picture as HTML that finds plotly in the page; ``name`` is its id."""
    markup: str = figure.to_html(include_plotlyjs=False, full_html=False, config=OPTIONS, div_id=name)
    return markup


def columns(*names: str) -> tuple[tuple[str, bool], ...]:
    """Columns by name; those that begin with # hold numbers."""
    return tuple((name.removeprefix("#"), name.startswith("#")) for name in names)


def count(amount: float) -> str:
    """A whole number with its thousands apart."""
    return f"{amount:,.0f}"


def kib(size: float) -> str:
    """Bytes in KiB."""
    return f"{size / 1024:,.1f}"


def range_of(low: float, typical: float, high: float) -> str:
    """ "typical (low to high)", three digits each."""
    return f"{short(typical)} ({short(low)} to {short(high)})"


def joules(value: float) -> str:
    """Joules in pJ where they are few."""
    return f"{short(value * 1e12)} pJ" if value < 1e-6 else f"{short(value)} J"


def short(value: float) -> str:
    """Three digits, never in powers of ten where a person can read it without."""
    if value == 0:
        return "0"
    if 1e-3 <= abs(value) < 1e6:
        digits = 2 if abs(value) < 10 else 1 if abs(value) < 100 else 0
        return f"{value:,.{digits}f}" if abs(value) >= 0.1 else f"{value:.3g}"
    return f"{value:.3g}"
