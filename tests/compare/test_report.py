"""The page: whole, readable by name, and closed to the network."""

from __future__ import annotations

import math
import re
from dataclasses import replace

from edgemtl.compare import Comparison, LayerFigures, Limits, RouterFigures
from edgemtl.report.comparison import draw_layers, group_ticks, render_comparison, show_db, write_comparison

LAYERS = (
    LayerFigures("backbone.blocks.0.attn.qkv/Add", 4, 31.0, 0.999, 0.1),
    LayerFigures("backbone.blocks.0.mlp/Gelu", 4, math.inf, 1.0, 0.0),
    LayerFigures("depth/backbone.blocks.1.mlp.gate.0/MatMul", 4, 12.5, 0.9, 0.5),
    LayerFigures("depth/Add<b>", 4, -math.inf, 0.0, 1.0),
    LayerFigures("depth/decoders.depth/Resize", 4, 18.0, 0.9, 0.5),
)
FOUND = Comparison(
    "fp32",
    "int8",
    "depth",
    2,
    LAYERS,
    (RouterFigures("depth/backbone.blocks.1.mlp/MoE", 10, 0.9, 0.95, 3),),
    ("alone",),
    (),
    Limits(20.0, 0.97),
    ("a note",),
)


def test_the_page_names_what_it_shows_and_loads_nothing(tmp_path):
    write_comparison(FOUND, tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert [path.name for path in tmp_path.iterdir()] == ["page.html"]
    assert "int8 against fp32, task depth" in page
    assert all(text in page for text in ("alone", "a note", "12.5 dB", "90.00%", "first below 20 dB"))
    assert "depth/Add&lt;b&gt;" in page
    assert "<b>depth/Add<b>" not in page
    assert not re.search(r"<(script|link|img)[^>]+(src|href)=", page)
    assert "default-src &#39;none&#39;" in page or "default-src 'none'" in page


def test_every_layer_has_one_place_in_the_picture():
    traces = {trace.name: trace for trace in draw_layers(FOUND).data}
    assert traces["SQNR"].y == (31.0, None, 12.5, None, 18.0)
    assert traces["below the limit"].x == (3, 5)
    assert traces["equal to the bit"].x == (2,)
    assert traces["nothing left"].x == (4,)
    assert (traces["routers agree"].x, traces["routers agree"].y) == ((3.5,), (90.0,))


def test_pictures_of_the_extremes_are_drawn():
    equal = replace(FOUND, layers=(LAYERS[1],), routers=(), limits=Limits())
    assert [trace.name for trace in draw_layers(equal).data] == ["equal to the bit"]
    assert "equal" in render_comparison(equal)
    assert render_comparison(replace(FOUND, layers=(LAYERS[3],)))


def test_ticks_stand_where_a_part_of_the_model_begins():
    names = [layer.name for layer in LAYERS]
    assert group_ticks(names) == [(1, "blocks.0"), (3, "blocks.1"), (5, "decoders.depth")]
    assert group_ticks(["Add", "conv1/Conv"]) == []


def test_decibels_for_people():
    assert [show_db(value) for value in (12.34, math.inf, -math.inf)] == ["12.3 dB", "equal", "none"]
