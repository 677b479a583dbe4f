"""How many tokens each expert got in each layer of experts."""

from __future__ import annotations

import plotly.graph_objects as go

from edgemtl.report.look import BAD
from edgemtl.report.profile.charts.look import lay_out, safe
from edgemtl.report.profile.model import TaskProfile


def draw_experts(task: TaskProfile) -> go.Figure:
    """Layers downwards, experts to the right; a frame marks an expert fetched before the router knew."""
    most = max(len(loads.tokens) for loads in task.experts)
    names = [safe(task.layers[loads.layer].label) for loads in task.experts]
    grid = [[*loads.tokens, *[None] * (most - len(loads.tokens))] for loads in task.experts]
    shown = most <= 32
    figure = go.Figure(
        go.Heatmap(
            z=grid, x=list(range(most)), y=list(range(len(names))), colorscale=[[0, "#f4f6f8"], [1, "#2b5c8a"]], zmin=0,
            zmax=max(1, *(max(loads.tokens, default=0) for loads in task.experts)),
            xgap=2, ygap=2, colorbar={"title": {"text": "tokens"}, "thickness": 14},
            texttemplate="%{z}" if shown else None, textfont={"size": 11},
            customdata=[[name] * most for name in names],
            hovertemplate="%{customdata}<br>expert %{x}: %{z} tokens<extra></extra>",
        )
    )  # fmt: skip
    early = [(expert, row) for row, loads in enumerate(task.experts) for expert in loads.early]
    for expert, row in early:
        figure.add_shape(
            type="rect",
            x0=expert - 0.46,
            x1=expert + 0.46,
            y0=row - 0.44,
            y1=row + 0.44,
            line={"color": BAD, "width": 2},
        )
    if early:
        marker = {"symbol": "square-open", "color": BAD, "size": 11, "line": {"width": 2}}
        figure.add_trace(go.Scatter(name="fetched early", x=[None], y=[None], mode="markers", marker=marker))
    lay_out(
        figure, 34 * len(names) + 150, "expert, by its place among the task's candidates", "", showlegend=bool(early)
    )
    figure.update_xaxes(showgrid=False, dtick=1 if shown else 8, range=[-0.5, most - 0.5])
    figure.update_yaxes(
        showgrid=False, tickvals=list(range(len(names))), ticktext=names, range=[len(names) - 0.5, -0.5]
    )
    return figure
