"""What each layer reached, against what the array and the memory allow."""

from __future__ import annotations

import plotly.graph_objects as go

from edgemtl.hw.datasheet import describe_clocks
from edgemtl.hw.spec import AcceleratorSpec
from edgemtl.report.look import GREY
from edgemtl.report.profile.charts.look import INK, colour_of, kinds_of, lay_out, safe
from edgemtl.report.profile.model import TaskProfile
from edgemtl.report.profile.parts import LayerProfile

GIGA = 1e9


def draw_roofline(task: TaskProfile, spec: AcceleratorSpec) -> go.Figure:
    """Both axes logarithmic; layers without products or without bytes have no place on it."""
    shown = [layer for layer in task.layers if layer.macs and layer.intensity and layer.end > layer.start]
    hertz = spec.engine.clock_mhz * 1e6
    figure = go.Figure()
    whole = _whole(task, hertz)
    reaches = [layer.intensity or 1.0 for layer in shown] + [whole[0]]
    figure.add_traces(_roof(spec, min(reaches) / 2, max(reaches) * 2))
    for kind in kinds_of(shown):
        figure.add_trace(_layers(kind, [layer for layer in shown if layer.name == kind], hertz))
    figure.add_trace(
        go.Scatter(
            name="whole frame", x=[whole[0]], y=[whole[1]], mode="markers",
            marker={"symbol": "diamond", "size": 14, "color": INK}, hoverinfo="text",
            hovertext=[f"<b>whole frame</b><br>{whole[1]:.1f} GMAC/s<br>{whole[0]:.1f} MAC a byte"],
        )
    )  # fmt: skip
    lay_out(figure, 460, "MAC per byte of DRAM traffic", "GMAC/s")
    ticks = [step * 10.0**power for power in range(-6, 9) for step in (1, 2, 5)]
    axis = {"type": "log", "tickvals": ticks, "ticktext": [f"{tick:,g}" for tick in ticks]}
    figure.update_xaxes(**axis)
    figure.update_yaxes(**axis)
    return figure


def _whole(task: TaskProfile, hertz: float) -> tuple[float, float]:
    """Products a byte and GMAC/s of the frame, instructions counted among the bytes."""
    moved = max(sum(task.traffic.values()), 1)
    cycles = max(task.latency.steady_cycles, 1)
    return max(task.macs, 1) / moved, max(task.macs, 1) / cycles * hertz / GIGA


def _roof(spec: AcceleratorSpec, low: float, high: float) -> list[go.Scatter]:
    hertz = spec.engine.clock_mhz * 1e6
    peak = spec.engine.macs_per_cycle * hertz / GIGA
    slope = spec.sustained_bytes_per_cycle * hertz / GIGA
    ridge = peak / slope
    low, high = min(low, ridge / 4), max(high, ridge * 4)
    engine = spec.engine
    array = f"array: {engine.array_rows} x {engine.array_columns} at {describe_clocks(engine)}, {peak:,.1f} GMAC/s"
    memory = f"memory: {slope:.1f} GB/s sustained"
    return [
        _line(memory, [low, ridge], [low * slope, peak], "#c0392b"),
        _line(array, [ridge, high], [peak, peak], GREY),
    ]


def _line(name: str, x: list[float], y: list[float], colour: str) -> go.Scatter:
    return go.Scatter(name=name, x=x, y=y, mode="lines", line={"color": colour, "width": 2.5}, hoverinfo="name")


def _layers(kind: str, layers: list[LayerProfile], hertz: float) -> go.Scatter:
    reached = [layer.macs / (layer.end - layer.start) * hertz / GIGA for layer in layers]
    return go.Scatter(
        name=safe(kind),
        x=[layer.intensity for layer in layers],
        y=reached,
        mode="markers",
        marker={"color": colour_of(kind), "size": 9, "opacity": 0.8, "line": {"color": "white", "width": 1}},
        hovertext=[_hover(layer, rate) for layer, rate in zip(layers, reached, strict=True)],
        hoverinfo="text",
    )


def _hover(layer: LayerProfile, reached: float) -> str:
    return (
        f"<b>{safe(layer.label)}</b><br>{reached:.1f} GMAC/s from begin to end<br>{layer.intensity or 0:.1f} MAC a byte"
        f"<br>{layer.macs / 1e6:.2f} MMAC in {layer.end - layer.start:,} cycles"
        f"<br>array {layer.utilisation:.0%} full while it worked"
    )
