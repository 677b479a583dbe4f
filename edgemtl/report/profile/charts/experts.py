"""How many tokens each expert got in each layer of experts."""

from __future__ import annotations

from typing import Final

import plotly.graph_objects as go

from edgemtl.report.look import BAD
from edgemtl.report.profile.charts.look import INK, lay_out, safe
from edgemtl.report.profile.model import TaskProfile

MOST_NAMED: Final = 32
"""Experts of which each has its number written down."""


def draw_experts(task: TaskProfile) -> go.Figure:
    """Layers downwards, experts to the right; a frame marks an expert fetched before the router knew."""
    names = [safe(task.layers[loads.layer].label) for loads in task.experts]
    most = max(len(loads.tokens) for loads in task.experts)
    early = [(expert, row) for row, loads in enumerate(task.experts) for expert in loads.early]
    figure = go.Figure(_cells(task, names, most))
    _mark(figure, early)
    title = "expert, by its index among the task's candidates"
    lay_out(figure, 34 * len(names) + 150, title, "", showlegend=bool(early))
    figure.update_xaxes(showgrid=False, dtick=1 if most <= MOST_NAMED else 8, range=[-0.5, most - 0.5])
    rows = list(range(len(names)))
    figure.update_yaxes(showgrid=False, tickvals=rows, ticktext=names, range=[len(names) - 0.5, -0.5])
    return figure


def _cells(task: TaskProfile, names: list[str], most: int) -> go.Heatmap:
    return go.Heatmap(
        z=[[*loads.tokens, *[None] * (most - len(loads.tokens))] for loads in task.experts],
        x=list(range(most)),
        y=list(range(len(names))),
        zmin=0,
        zmax=max(1, *(max(loads.tokens, default=0) for loads in task.experts)),
        colorscale=[[0, "#f4f6f8"], [1, "#5b8fc0"]],
        colorbar={"title": {"text": "tokens"}, "thickness": 14},
        xgap=2,
        ygap=2,
        texttemplate="%{z}" if most <= MOST_NAMED else None,
        textfont={"size": 11, "color": INK},
        customdata=[[name] * most for name in names],
        hovertemplate="%{customdata}<br>expert %{x}: %{z} tokens<extra></extra>",
    )


def _mark(figure: go.Figure, early: list[tuple[int, int]]) -> None:
    for expert, row in early:
        x, y = {"x0": expert - 0.46, "x1": expert + 0.46}, {"y0": row - 0.44, "y1": row + 0.44}
        figure.add_shape(type="rect", line={"color": BAD, "width": 2}, **x, **y)
    if early:
        marker = {"symbol": "square-open", "color": BAD, "size": 11, "line": {"width": 2}}
        figure.add_trace(go.Scatter(name="in the prefetch list", x=[None], y=[None], mode="markers", marker=marker))
