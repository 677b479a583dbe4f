"""What lies in the memories on chip over time: buffers as rectangles, and how full the weight ring is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from edgemtl.report.profile.charts.look import colour_of, kinds_of, lay_out, safe
from edgemtl.report.profile.model import TaskProfile
from edgemtl.report.profile.parts import BufferLife, MemoryUse

MOST_BUFFERS: Final = 1500
MOST_POINTS: Final = 1200
ROW_PIXELS: Final = 112


def mapped(task: TaskProfile) -> list[MemoryUse]:
    """The memories that have buffers."""
    with_buffers = {buffer.memory for buffer in task.buffers}
    return [memory for memory in task.memories if memory.memory in with_buffers]


def draw_memory_map(task: TaskProfile, clock_mhz: int, most: int = MOST_BUFFERS) -> go.Figure:
    """A row for each memory, as high as the plan's arena; a rectangle for each buffer, the largest ones first."""
    memories = mapped(task)
    titles = [f"{m.memory}: {m.bytes / 1024:,.1f} of {m.capacity / 1024:,.1f} KiB" for m in memories]
    figure = make_subplots(
        rows=len(memories), cols=1, shared_xaxes=True, vertical_spacing=0.34 / len(memories), subplot_titles=titles
    )
    largest = sorted(task.buffers, key=lambda buffer: buffer.bytes * (buffer.start - buffer.end))[:most]
    per_us = float(clock_mhz)
    for row, memory in enumerate(memories, 1):
        for kind in kinds_of(task.layers):
            buffers = [b for b in largest if b.memory == memory.memory and task.layers[b.layer].name == kind]
            if buffers:
                figure.add_trace(_rectangles(task, kind, buffers, per_us), row=row, col=1)
        _draw_axis(figure, memory, row)
    _draw_legend(figure, task, largest)
    height = ROW_PIXELS * len(memories) + 140
    lay_out(figure, height, "", "", barmode="overlay")
    figure.update_layout(margin={"t": 72}, legend={"y": 1 + 30 / (height - 140)})
    figure.update_xaxes(title={"text": "time since the start of the frame, µs"}, row=len(memories), col=1)
    figure.update_annotations(x=0, xanchor="left", font={"size": 12})
    return figure


def _draw_axis(figure: go.Figure, memory: MemoryUse, row: int) -> None:
    top = max(memory.bytes, 1) / 1024
    ticks = [0.0, top / 2, top]
    figure.update_yaxes(
        title={"text": "KiB"},
        range=[0, top * 1.04],
        tickvals=ticks,
        ticktext=[f"{tick:,.0f}" if top >= 20 else f"{tick:,.1f}" for tick in ticks],
        row=row,
        col=1,
    )


def _draw_legend(figure: go.Figure, task: TaskProfile, buffers: Sequence[BufferLife]) -> None:
    """Each kind once, whichever rows it is in."""
    seen = {task.layers[buffer.layer].name for buffer in buffers}
    for kind in kinds_of(task.layers):
        if kind in seen:
            marker = {"color": colour_of(kind), "symbol": "square", "size": 11}
            figure.add_trace(
                go.Scatter(name=safe(kind), x=[None], y=[None], mode="markers", marker=marker), row=1, col=1
            )


def _rectangles(task: TaskProfile, kind: str, buffers: Sequence[BufferLife], per_us: float) -> go.Bar:
    return go.Bar(
        name=safe(kind),
        showlegend=False,
        orientation="h",
        base=[round(buffer.start / per_us, 3) for buffer in buffers],
        x=[round((buffer.end - buffer.start) / per_us, 3) for buffer in buffers],
        y=[round((buffer.offset + buffer.bytes / 2) / 1024, 4) for buffer in buffers],
        width=[round(buffer.bytes / 1024, 4) for buffer in buffers],
        marker={"color": colour_of(kind), "opacity": 0.75, "line": {"color": "white", "width": 0.6}},
        hovertext=[_hover(task, buffer) for buffer in buffers],
        hoverinfo="text",
    )


def _hover(task: TaskProfile, buffer: BufferLife) -> str:
    return (
        f"<b>{safe(buffer.name)}</b><br>{safe(task.layers[buffer.layer].label)}"
        f"<br>{buffer.bytes:,} B at {buffer.offset:,}<br>cycles {buffer.start:,} to {buffer.end:,}"
    )


def draw_ring(task: TaskProfile, clock_mhz: int, most: int = MOST_POINTS) -> go.Figure:
    """Bytes the weight ring holds; the dashed line is its size."""
    points = thin(task.ring, most)
    figure = go.Figure(
        go.Scatter(
            name="held", x=[round(cycle / clock_mhz, 3) for cycle, _ in points],
            y=[round(size / 1024, 2) for _, size in points], mode="lines", fill="tozeroy",
            line={"color": "#2b5c8a", "width": 1, "shape": "hv"}, fillcolor="rgba(43,92,138,0.25)",
            hovertemplate="%{x} µs: %{y} KiB<extra></extra>",
        )
    )  # fmt: skip
    lay_out(figure, 270, "time since the start of the frame, µs", "weights in the ring, KiB", showlegend=False)
    ring = next((memory for memory in task.memories if memory.memory == "ring"), None)
    if ring is not None:
        line = {"color": "#c0392b", "width": 1, "dash": "dash"}
        figure.add_hline(y=ring.bytes / 1024, line=line)
        figure.update_yaxes(range=[0, ring.bytes / 1024 * 1.08])
    return figure


def thin(points: Sequence[tuple[int, int]], most: int) -> list[tuple[int, int]]:
    """At most ``most`` points: of as many neighbours as needed the least and the largest stay, and the last of all."""
    step = max(-(-2 * len(points) // most), 1)
    if step <= 2:
        return list(points)
    thinned: list[tuple[int, int]] = []
    for at in range(0, len(points), step):
        part = points[at : at + step]
        ends = {min(part, key=lambda point: point[1]), max(part, key=lambda point: point[1])}
        thinned += sorted(ends)
    return [*thinned, points[-1]] if points and thinned[-1] != points[-1] else thinned
