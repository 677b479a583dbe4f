"""Measured times of the kernels of a task on a CPU."""

from __future__ import annotations

import plotly.graph_objects as go

from edgemtl.report.look import LINE
from edgemtl.report.profile.charts.look import lay_out, safe
from edgemtl.report.profile.model import CpuTaskProfile

MOST_KERNELS = 120
"""Of a picture; the table has all."""


def draw_kernels(task: CpuTaskProfile) -> go.Figure:
    """The slowest kernels first, medians with the least and the most of all runs."""
    shown = sorted(task.kernels, key=lambda kernel: -kernel.median_ms)[:MOST_KERNELS]
    names = [f"{place}. {safe(kernel.name)}" for place, kernel in enumerate(shown, 1)]
    figure = go.Figure(
        go.Bar(
            orientation="h", y=names, x=[kernel.median_ms for kernel in shown], marker={"color": LINE},
            error_x={
                "type": "data", "symmetric": False, "thickness": 1.2, "width": 3, "color": "#1d2126",
                "array": [kernel.most_ms - kernel.median_ms for kernel in shown],
                "arrayminus": [kernel.median_ms - kernel.least_ms for kernel in shown],
            },
            customdata=[[f"{kernel.gmac_per_s:.1f}", safe("; ".join(kernel.origin)[:200])] for kernel in shown],
            hovertemplate="%{y}: %{x:.4f} ms, %{customdata[0]} GMAC/s<br>%{customdata[1]}<extra></extra>",
        )
    )  # fmt: skip
    lay_out(figure, max(18 * len(shown) + 120, 220), "time of one call, ms", "")
    figure.update_yaxes(autorange="reversed", type="category", showgrid=False, tickfont={"size": 11})
    return figure
