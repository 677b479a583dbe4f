"""A comparison as one page that needs nothing from elsewhere: a picture of all layers, and their figures."""

from __future__ import annotations

import html
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jinja2
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from edgemtl.compare import Comparison, LayerFigures
from edgemtl.paths import write_aside
from edgemtl.report.look import BAD, GOOD, GREY, LINE, group_ticks
from edgemtl.report.page import COMPARISON_PAGE


def write_comparison(comparison: Comparison, path: Path) -> None:
    """Write the page; a reader sees the old one or the new one, never half of one. Raises OutputError."""
    page = render_comparison(comparison)
    with write_aside(path) as aside:
        aside.write_text(page, encoding="utf-8")


def render_comparison(comparison: Comparison) -> str:
    """The page as HTML: it loads nothing, and its policy forbids it to."""
    options = {"displayModeBar": False, "responsive": True}
    picture = draw_layers(comparison).to_html(include_plotlyjs=True, full_html=False, config=options, div_id="layers")
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True)
    page = environment.from_string(COMPARISON_PAGE)
    return page.render(comparison=comparison, cards=_cards(comparison), rows=_rows(comparison), picture=picture)


def draw_layers(comparison: Comparison) -> go.Figure:
    """SQNR of every layer in the order of the graph; under it, where there are routers, how far they agree."""
    routed = bool(comparison.routers)
    heights = [0.72, 0.28] if routed else [1.0]
    figure = make_subplots(rows=len(heights), cols=1, shared_xaxes=True, vertical_spacing=0.05, row_heights=heights)
    ceiling = _ceiling(comparison)
    for trace in _layer_traces(comparison, ceiling):
        figure.add_trace(trace, row=1, col=1)
    if comparison.limits.sqnr_db is not None:
        _draw_limit(figure, comparison, comparison.limits.sqnr_db)
    if routed:
        figure.add_trace(_router_trace(comparison), row=2, col=1)
        _draw_agreement_axis(figure, comparison)
    _lay_out(figure, comparison, ceiling)
    return figure


def _ceiling(comparison: Comparison) -> float:
    """Where layers that are equal to the bit stand: above all others."""
    finite = [layer.sqnr_db for layer in comparison.layers if math.isfinite(layer.sqnr_db)]
    return max(finite, default=90.0) * 1.1 + 5


def _layer_traces(comparison: Comparison, ceiling: float) -> list[go.Scatter]:
    limit = comparison.limits.sqnr_db if comparison.limits.sqnr_db is not None else -math.inf
    numbered = list(enumerate(comparison.layers, 1))
    finite = [(i, layer) for i, layer in numbered if math.isfinite(layer.sqnr_db)]
    equal = [(i, layer) for i, layer in numbered if layer.sqnr_db == math.inf]
    lost = [(i, layer) for i, layer in numbered if layer.sqnr_db == -math.inf]
    below = [(i, layer) for i, layer in finite if layer.sqnr_db < limit]
    traces = [
        _scatter("SQNR", numbered, [_or_gap(layer.sqnr_db) for _, layer in numbered], LINE, "lines+markers", "circle"),
        _scatter("below the limit", below, [layer.sqnr_db for _, layer in below], BAD, "markers", "circle"),
        _scatter("equal to the bit", equal, [ceiling] * len(equal), GOOD, "markers", "circle-open"),
        _scatter("nothing left", lost, [0.0] * len(lost), BAD, "markers", "x"),
    ]
    return [trace for trace, layers in zip(traces, (finite, below, equal, lost), strict=True) if layers]


def _or_gap(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _scatter(
    name: str,
    layers: Sequence[tuple[int, LayerFigures]],
    heights: Sequence[float | None],
    colour: str,
    mode: str,
    symbol: str,
) -> go.Scatter:
    return go.Scatter(
        name=name,
        x=[index for index, _ in layers],
        y=list(heights),
        mode=mode,
        line={"color": colour, "width": 1.6},
        marker={"color": colour, "size": 6 if mode != "markers" else 9, "symbol": symbol},
        hovertext=[_hover(layer) for _, layer in layers],
        hoverinfo="text",
    )


def _hover(layer: LayerFigures) -> str:
    figures = f"SQNR {show_db(layer.sqnr_db)}<br>cosine {layer.cosine:.6f}<br>max abs {layer.max_abs:.3g}"
    return f"<b>{html.escape(layer.name)}</b><br>{figures}"


def show_db(value: float) -> str:
    """A figure in decibel for people."""
    if value == math.inf:
        return "equal"
    return f"{value:.1f} dB" if math.isfinite(value) else "none"


def _draw_limit(figure: go.Figure, comparison: Comparison, limit: float) -> None:
    figure.add_hline(y=limit, line={"color": BAD, "width": 1, "dash": "dash"}, row=1, col=1)
    figure.add_annotation(
        x=0, xref="paper", xanchor="left", y=limit, yanchor="bottom", text=f"limit {limit:g} dB", showarrow=False,
        font={"color": BAD, "size": 12}, row=1, col=1,
    )  # fmt: skip
    if (first := comparison.first) is None:
        return
    index = comparison.layers.index(first) + 1
    figure.add_annotation(
        x=index, y=max(first.sqnr_db, 0.0), text=f"first below: {html.escape(first.name)}", arrowcolor=BAD, ay=-48,
        ax=0, xanchor="left" if index * 2 < len(comparison.layers) else "right", font={"color": BAD, "size": 13},
        bgcolor="rgba(255,255,255,0.85)", row=1, col=1,
    )  # fmt: skip


def _router_trace(comparison: Comparison) -> go.Bar:
    limit = comparison.limits.agreement if comparison.limits.agreement is not None else 0.0
    return go.Bar(
        name="routers agree",
        x=[router.behind + 0.5 for router in comparison.routers],
        y=[100 * router.agreement for router in comparison.routers],
        width=min(0.8, max(0.35, len(comparison.layers) / 120)),
        marker={"color": [GREY if router.agreement >= limit else BAD for router in comparison.routers]},
        text=[f"{100 * router.agreement:.1f}" for router in comparison.routers],
        textposition="outside",
        textangle=0,
        constraintext="none",
        textfont={"size": 12},
        cliponaxis=False,
        hovertext=[
            f"<b>{html.escape(r.name)}</b><br>agree {r.agreement:.2%}<br>by weight {r.weighted:.2%}"
            for r in comparison.routers
        ],
        hoverinfo="text",
    )


def _draw_agreement_axis(figure: go.Figure, comparison: Comparison) -> None:
    lowest = min(100 * router.agreement for router in comparison.routers)
    start = max(0, 10 * math.floor(lowest / 10) - 10)
    figure.update_yaxes(title="same experts, %", range=[start, 100 + (100 - start) * 0.25], row=2, col=1)
    if comparison.limits.agreement is not None:
        line = {"color": BAD, "width": 1, "dash": "dash"}
        figure.add_hline(y=100 * comparison.limits.agreement, line=line, row=2, col=1)


def _lay_out(figure: go.Figure, comparison: Comparison, ceiling: float) -> None:
    ticks = group_ticks([layer.name for layer in comparison.layers])
    lowest = min((layer.sqnr_db for layer in comparison.layers if math.isfinite(layer.sqnr_db)), default=0.0)
    span: dict[str, Any] = {"tickvals": [i for i, _ in ticks], "ticktext": [text for _, text in ticks]}
    figure.update_xaxes(
        range=[0, len(comparison.layers) + 1], tickangle=-40, gridcolor="#e4e7ea", zeroline=False, **span
    )
    figure.update_yaxes(gridcolor="#e4e7ea", zeroline=False)
    bounds = [min(0.0, lowest - 5), ceiling + 8]
    figure.update_yaxes(title="SQNR, dB", range=bounds, row=1, col=1)
    figure.update_layout(
        height=560, margin={"l": 64, "r": 16, "t": 36, "b": 96}, plot_bgcolor="white", hovermode="closest",
        legend={"orientation": "h", "y": 1.0, "yanchor": "bottom", "x": 1.0, "xanchor": "right"},
        font={"family": "system-ui, sans-serif", "size": 13},
    )  # fmt: skip


def _cards(comparison: Comparison) -> list[tuple[str, str, str]]:
    """Title, figure and what it is of."""
    worst = min(comparison.layers, key=lambda layer: layer.sqnr_db)
    cards = [
        ("last layer", show_db(comparison.layers[-1].sqnr_db), comparison.layers[-1].name),
        ("worst layer", show_db(worst.sqnr_db), worst.name),
    ]
    if comparison.limits.sqnr_db is not None:
        first = comparison.first
        text = show_db(first.sqnr_db) if first is not None else "none"
        cards.append((f"first below {comparison.limits.sqnr_db:g} dB", text, first.name if first is not None else ""))
    if comparison.routers:
        least = min(comparison.routers, key=lambda router: router.agreement)
        cards.append(("router that agrees least", f"{least.agreement:.2%}", least.name))
    return cards


def _rows(comparison: Comparison) -> list[dict[str, Any]]:
    """One for each layer; ``share`` is the length of its bar in percent."""
    ceiling, limit, first = _ceiling(comparison), comparison.limits.sqnr_db, comparison.first
    rows = []
    for index, layer in enumerate(comparison.layers, 1):
        below = limit is not None and not layer.sqnr_db >= limit
        kind = "first" if first is not None and layer.name == first.name else "below" if below else ""
        share = 100 * min(max(layer.sqnr_db / ceiling, 0.0), 1.0)
        rows.append({"index": index, "layer": layer, "sqnr": show_db(layer.sqnr_db), "share": share, "kind": kind})
    return rows
