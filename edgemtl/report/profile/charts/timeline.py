"""Which unit worked for which layer and when: instructions of a layer that follow each other are one bar."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

import plotly.graph_objects as go

from edgemtl.hw.isa import UNITS
from edgemtl.report.profile.charts.look import GRID, colour_of, kinds_of, lay_out, safe
from edgemtl.report.profile.model import TaskProfile
from edgemtl.report.profile.parts import InstructionSpan

MOST_BARS: Final = 1500
"""Of a picture: more cannot be told apart, and every one costs bytes and time to draw."""


@dataclass(frozen=True)
class Bar:
    """Instructions of one layer on one unit; ``busy`` cycles of those from ``start`` to ``end``."""

    unit: str
    layer: int
    start: int
    end: int
    busy: int
    instructions: int


def merge(spans: Iterable[InstructionSpan], most: int = MOST_BARS) -> tuple[Bar, ...]:
    """At most about ``most`` bars: neighbours of one layer are joined, over gaps as long as needed and no longer.

    Where layers alternate too often for that, the shortest bars are left out.
    """
    by_start = sorted(spans, key=lambda span: span.start)
    lanes = [[span for span in by_start if span.unit == unit] for unit in UNITS]
    gap, bars = 0, [bar for lane in lanes for bar in _join(lane, 0)]
    reach = max((bar.end for bar in bars), default=0) - min((bar.start for bar in bars), default=0)
    while len(bars) > most and gap < reach:
        gap = max(2 * gap, reach // 8000, 1)
        bars = [bar for lane in lanes for bar in _join(lane, gap)]
    bars.sort(key=lambda bar: bar.start - bar.end)
    return tuple(sorted(bars[:most], key=lambda bar: bar.start))


def _join(lane: Sequence[InstructionSpan], gap: int) -> list[Bar]:
    joined: list[Bar] = []
    for span in lane:
        if span.end <= span.start:
            continue
        last = joined[-1] if joined else None
        if last is not None and last.layer == span.layer and span.start - last.end <= gap:
            end, count = max(last.end, span.end), last.instructions + 1
            joined[-1] = Bar(last.unit, last.layer, last.start, end, last.busy + span.busy, count)
        else:
            joined.append(Bar(span.unit, span.layer, span.start, span.end, span.busy, 1))
    return joined


def draw_timeline(task: TaskProfile, clock_mhz: int, most: int = MOST_BARS) -> go.Figure:
    """A row for each unit; the frame's begin and end are lines."""
    bars, per_us = merge(task.spans, most), float(clock_mhz)
    figure = go.Figure()
    for kind in kinds_of(task.layers):
        of_kind = [bar for bar in bars if task.layers[bar.layer].name == kind]
        if of_kind:
            figure.add_trace(_bars(task, kind, of_kind, per_us))
    lay_out(figure, 360, "time since the start of the frame, µs", "", barmode="overlay")
    figure.update_yaxes(categoryorder="array", categoryarray=list(reversed(UNITS)), type="category", showgrid=False)
    for cycle in (0, task.latency.steady_cycles):
        figure.add_vline(x=cycle / per_us, line={"color": "#1d2126", "width": 1, "dash": "dot"})
    figure.update_xaxes(gridcolor=GRID)
    return figure


def _bars(task: TaskProfile, kind: str, bars: Sequence[Bar], per_us: float) -> go.Bar:
    return go.Bar(
        name=safe(kind),
        orientation="h",
        y=[bar.unit for bar in bars],
        base=[round(bar.start / per_us, 3) for bar in bars],
        x=[round((bar.end - bar.start) / per_us, 3) for bar in bars],
        width=0.7,
        marker={"color": colour_of(kind), "line": {"width": 0}},
        hovertext=[_hover(task, bar) for bar in bars],
        hoverinfo="text",
    )


def _hover(task: TaskProfile, bar: Bar) -> str:
    return (
        f"<b>{safe(task.layers[bar.layer].label)}</b><br>{bar.unit}: cycles {bar.start:,} to {bar.end:,}"
        f"<br>at work {bar.busy:,}, {bar.instructions} instr."
    )
