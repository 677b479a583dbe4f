"""What all pictures share: colours, axes, and names that a browser shows as they are."""

from __future__ import annotations

import html
from collections.abc import Iterable
from typing import Any, Final

import plotly.graph_objects as go

from edgemtl.report.look import GREY
from edgemtl.report.profile.parts import LayerProfile

GRID: Final = "#e4e7ea"
INK: Final = "#1d2126"
KIND_COLOURS: Final = {
    "attention": "#2b5c8a",
    "mlp": "#2e7d4f",
    "experts": "#c0392b",
    "norm": "#d9a521",
    "picture": "#7d4f9e",
    "class picture": "#a07bbd",
    "patch": "#3a9aa5",
}
"""Of layers by what they are; others are grey."""
REASON_COLOURS: Final = {
    "busy": "#2e7d4f",
    "weights": "#c0392b",
    "memory": "#e07b39",
    "load": "#d9a521",
    "ring": "#7d4f9e",
    "port": "#4a6b5d",
    "queue": "#c3c9cf",
    "tokens:matrix": "#2b5c8a",
    "tokens:vector": "#5b8fc0",
    "tokens:softmax": "#3a9aa5",
    "tokens:router": "#8c6d5a",
    "tokens:data": "#9bb7d4",
    "tokens:weights": "#e6a39b",
}
"""Of what the cycles of a unit went into."""
REASON_NAMES: Final = {
    "busy": "at work",
    "weights": "weights not yet there",
    "memory": "DRAM",
    "load": "loading weights into the array",
    "ring": "no room in the weight ring",
    "port": "a port of the memory input",
    "queue": "no instruction in the queue",
}
TRAFFIC_COLOURS: Final = {"weights": "#2b5c8a", "load": "#3a9aa5", "store": "#d9a521", "instructions": GREY}


def colour_of(kind: str) -> str:
    """The colour of a kind of layer."""
    return KIND_COLOURS.get(kind, GREY)


def reason_name(reason: str) -> str:
    """A reason of `hw.sim.trace.Span` in words."""
    if reason.startswith("tokens:"):
        return f"results of {reason.removeprefix('tokens:')}"
    return REASON_NAMES.get(reason, reason)


def kinds_of(layers: Iterable[LayerProfile]) -> list[str]:
    """The kinds there are, each once, in order of their first layer."""
    return list(dict.fromkeys(layer.name for layer in layers))


def safe(name: str) -> str:
    """A name as text of a picture, where plotly would read tags."""
    return html.escape(name)


def tick_names(layers: Iterable[LayerProfile]) -> list[str]:
    """Labels short enough for an axis; they stay apart."""
    labels = [layer.label for layer in layers]
    return [safe(label if len(label) <= 26 else f"{label[:12]}…{label[-13:]} #{i}") for i, label in enumerate(labels)]


def lay_out(figure: go.Figure, height: int, x: str, y: str, **more: Any) -> go.Figure:
    """The common look, with titles of both axes."""
    figure.update_layout(
        template="none",
        height=height,
        margin={"l": 78, "r": 18, "t": 40, "b": 64},
        plot_bgcolor="white",
        paper_bgcolor="white",
        hovermode="closest",
        hoverlabel={"align": "left"},
        legend={"orientation": "h", "y": 1.0, "yanchor": "bottom", "x": 0.0, "xanchor": "left", "traceorder": "normal"},
        font={"family": "system-ui, sans-serif", "size": 13, "color": INK},
    )
    plain = {
        "gridcolor": GRID,
        "zeroline": False,
        "automargin": True,
        "separatethousands": True,
        "exponentformat": "none",
    }
    figure.update_xaxes(**plain)
    figure.update_yaxes(**plain, ticks="outside", ticklen=5, tickcolor="white")
    figure.update_xaxes(title={"text": x, "standoff": 10}, selector=-1)
    if y:
        figure.update_yaxes(title={"text": y, "standoff": 8})
    figure.update_layout(**more)
    return figure


def layer_axis(figure: go.Figure, layers: Iterable[LayerProfile]) -> None:
    """Every layer a place on the x axis, with its name where there is room for all."""
    names = tick_names(layers)
    step = max(1, -(-len(names) // 64))
    figure.update_xaxes(
        tickvals=list(range(0, len(names), step)),
        ticktext=names[::step],
        showgrid=False,
        tickangle=-55,
        tickfont={"size": 10 if len(names) > 30 else 12},
        range=[-0.6, len(names) - 0.4],
    )


def scale_bytes(largest: int) -> tuple[int, str]:
    """The unit in which the largest of some sizes reads well."""
    return (2**20, "MiB") if largest >= 2**21 else (2**10, "KiB")
