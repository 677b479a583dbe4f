"""Pictures of sums: bytes and stalls by layer, the cycles of each unit, joules, and frames of changing tasks."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import plotly.graph_objects as go

from edgemtl.hw.isa import UNITS
from edgemtl.report.look import GREY, LINE
from edgemtl.report.profile.charts.look import (
    REASON_COLOURS,
    TRAFFIC_COLOURS,
    lay_out,
    layer_axis,
    reason_name,
    safe,
    scale_bytes,
)
from edgemtl.report.profile.model import Switches, TaskProfile
from edgemtl.report.profile.parts import EnergyPart, LayerProfile


def draw_traffic(task: TaskProfile) -> go.Figure:
    """Bytes of each layer by kind, one upon the other."""
    unit, name = scale_bytes(max([0, *(sum(layer.traffic.values()) for layer in task.layers)]))
    kinds = ("weights", "load", "store")
    parts = {kind: TRAFFIC_COLOURS[kind] for kind in kinds if any(layer.traffic.get(kind) for layer in task.layers)}
    figure = _stacked(task.layers, parts, lambda layer, kind: layer.traffic.get(kind, 0) / unit, str, name)
    lay_out(figure, 420, "", f"moved, {name}", barmode="stack", bargap=0.15)
    layer_axis(figure, task.layers)
    return figure


def draw_stalls(task: TaskProfile) -> go.Figure:
    """Cycles of the matrix unit by layer: at work, and standing by reason."""

    def cycles(layer: LayerProfile, part: str) -> float:
        return layer.matrix_busy if part == "busy" else layer.stalls.get("matrix", {}).get(part, 0)

    reasons = dict.fromkeys(reason for layer in task.layers for reason in layer.stalls.get("matrix", {}))
    parts = {part: REASON_COLOURS.get(part, GREY) for part in ("busy", *reasons)}
    figure = _stacked(task.layers, parts, cycles, reason_name, "cycles")
    lay_out(figure, 440, "", "cycles of the matrix unit", barmode="stack", bargap=0.15)
    layer_axis(figure, task.layers)
    return figure


def _stacked(
    layers: Sequence[LayerProfile],
    parts: dict[str, str],
    amount: Callable[[LayerProfile, str], float],
    named: Callable[[str], str],
    unit: str,
) -> go.Figure:
    figure = go.Figure()
    labels = [safe(layer.label) for layer in layers]
    for part, colour in parts.items():
        figure.add_trace(
            go.Bar(
                name=safe(named(part)), x=list(range(len(layers))), hovertext=labels,
                y=[round(amount(layer, part), 3) for layer in layers],
                marker={"color": colour, "line": {"width": 0}},
                hovertemplate=f"<b>%{{hovertext}}</b><br>{safe(named(part))}: %{{y:,}} {unit}<extra></extra>",
            )
        )  # fmt: skip
    return figure


def draw_units(task: TaskProfile) -> go.Figure:
    """Where the cycles of each unit went, in percent of the frame."""
    frame = max(task.latency.steady_cycles, 1)
    spent: dict[str, dict[str, int]] = {unit: {} for unit in UNITS}
    for span in task.spans:
        for part, cycles in (("busy", span.busy), *span.stalls.items()):
            spent[span.unit][part] = spent[span.unit].get(part, 0) + cycles
    figure = go.Figure()
    units = list(reversed(UNITS))
    for part in dict.fromkeys(part for cycles_by_part in spent.values() for part in cycles_by_part):
        shares = [round(100 * spent[unit].get(part, 0) / frame, 2) for unit in units]
        name = safe(reason_name(part))
        figure.add_trace(
            go.Bar(
                name=name, orientation="h", y=units, x=shares, marker={"color": REASON_COLOURS.get(part, GREY)},
                hovertemplate=f"%{{y}}, {name}: %{{x}}%<extra></extra>",
            )
        )  # fmt: skip
    return lay_out(figure, 380, "share of the frame's cycles, %", "", barmode="stack", bargap=0.3)


def draw_energy(parts: Sequence[EnergyPart]) -> go.Figure:
    """Typical millijoules of each part; the bars' whiskers reach from the least to the most."""
    named = sorted(parts, key=lambda part: -part.typical)
    figure = go.Figure(
        go.Bar(
            x=[safe(part.part) for part in named], y=[part.typical * 1e3 for part in named], marker={"color": LINE},
            error_y={
                "type": "data", "symmetric": False, "thickness": 1.4, "width": 6, "color": "#1d2126",
                "array": [(part.high - part.typical) * 1e3 for part in named],
                "arrayminus": [(part.typical - part.low) * 1e3 for part in named],
            },
            customdata=[[part.low * 1e3, part.high * 1e3] for part in named],
            hovertemplate="%{x}: %{y:.3f} mJ, from %{customdata[0]:.3f} to %{customdata[1]:.3f}<extra></extra>",
        )
    )  # fmt: skip
    lay_out(figure, 340, "", "energy of a frame, mJ", bargap=0.45)
    figure.update_xaxes(type="category", showgrid=False)
    return figure


def draw_switches(switches: Switches, clock_mhz: int) -> go.Figure:
    """Each frame in order: its task's steady-state latency, and how much more or less it took."""
    names = [f"{index}. {safe(task)}" for index, task in enumerate(switches.order, 1)]
    per_ms = clock_mhz * 1e3
    steady = [switches.steady[task] / per_ms for task in switches.order]
    extra = [cycles / per_ms for cycles in switches.extra]
    hover = "%{x}: %{y:.4f} ms<extra></extra>"
    text = [f"{cycles:+,} cycles" for cycles in switches.extra]
    label = {"text": text, "textposition": "outside", "textangle": 0, "constraintext": "none", "cliponaxis": False}
    red = {"color": "#c0392b"}
    figure = go.Figure(
        [
            go.Bar(name="steady-state latency", x=names, y=steady, marker={"color": LINE}, hovertemplate=hover),
            go.Bar(name="extra after a switch", x=names, y=extra, marker=red, hovertemplate=hover, **label),
        ]
    )
    lay_out(figure, 340, "frame", "latency, ms", barmode="relative", bargap=0.35)
    figure.update_yaxes(range=[min(0, *extra), 1.15 * max(a + max(b, 0) for a, b in zip(steady, extra, strict=True))])
    figure.update_xaxes(type="category", showgrid=False)
    return figure
