"""The page of a profile: small, complete, honest about its figures, loads nothing, and a browser draws all of it."""

from __future__ import annotations

import re
from dataclasses import replace
from itertools import pairwise

import pytest
from plotly.offline import get_plotlyjs

from edgemtl.report.profile.charts.memory_map import thin
from edgemtl.report.profile.charts.timeline import merge
from edgemtl.report.profile.html import render_profile
from tests.report.browser import Seen, open_page
from tests.report.profiles import make_cpu_profile, make_profile

MEBIBYTE = 2**20
CHARTS = ("roofline", "timeline", "units", "stalls", "memory", "ring", "traffic", "experts", "energy")
HOSTILE = "<img src=x onerror=alert(1)></script><b>"


def own(page: str) -> str:
    """The page without the library."""
    assert page.count(get_plotlyjs()) == 1
    return page.replace(get_plotlyjs(), "")


@pytest.fixture(scope="module")
def page():
    return render_profile(make_profile())


def test_ten_thousand_instructions_of_five_tasks_stay_small():
    tasks = ("semseg", "normals", "edge", "sal", "human_parts")
    profile = make_profile(tasks=tasks, instructions=10_000, model="m3vit_small")
    assert all(len(task.spans) > 10_000 for task in profile.tasks)
    assert len(render_profile(profile).encode()) < 8 * MEBIBYTE


def test_the_page_loads_nothing(page):
    text = own(page)
    assert "default-src 'none'" in text
    assert not re.findall(r"""(?:src|href|action)\s*=\s*["']?(?!#|data:)[^"'\s>]""", text)
    assert not re.findall(r"https?:|url\(|@import|//cdn", text)


def test_every_figure_says_what_it_is(page):
    text = own(page)
    for basis in ("simulated", "estimated", "calculated", "published"):
        assert f'<span class="basis {basis}">{basis}</span>' in text
    assert "no board ran" in text
    assert "a target that only place and route can confirm" in text
    assert "measured</span>" not in text
    titles = re.findall(r"<h3>(.*?)</h3>", text)
    cards = re.findall(r'<div class="card">(.*?)</div>', text, re.DOTALL)
    assert all('class="basis' in part for part in (*titles, *cards))


def test_a_hypothetical_board_is_called_so():
    warning = "hypothetical: no such board was ever made"
    assert warning in own(render_profile(make_profile(tasks=("depth",), instructions=60, hypothetical=True)))
    assert warning not in own(render_profile(make_profile(tasks=("depth",), instructions=60)))


def test_published_rows_only_where_they_fit(page):
    assert "Edge-MoE" in own(page)
    assert "RTX 8000" not in own(page)
    assert "Edge-MoE" not in own(render_profile(make_profile(tasks=("depth",), instructions=60, model="m3vit_demo")))


def test_a_cpu_shows_nothing_it_does_not_have():
    text = own(render_profile(make_cpu_profile()))
    assert "All times are measured." in text
    assert "simulated" not in re.sub(r"<style>.*?</style>", "", text, flags=re.DOTALL)
    for absent in ("Roofline", "Weight ring", "Energy", "Resources"):
        assert absent not in text


def test_names_are_text():
    profile = make_profile(tasks=(HOSTILE,), instructions=60)
    layers = tuple(replace(layer, label=HOSTILE, origin=(HOSTILE,)) for layer in profile.tasks[0].layers)
    task = replace(profile.tasks[0], layers=layers, left=(HOSTILE,))
    text = own(render_profile(replace(profile, model=HOSTILE, bundle=HOSTILE, tasks=(task,), notes=(HOSTILE,))))
    assert "<img" not in text
    assert "onerror=alert(1)></script>" not in text


def test_merged_bars_cover_the_same_time():
    (task,) = make_profile(tasks=("depth",), instructions=3000).tasks
    bars = merge(task.spans, 400)
    assert len(bars) <= 400
    assert sum(bar.instructions for bar in bars) == sum(span.end > span.start for span in task.spans)
    assert sum(bar.busy for bar in bars) == sum(span.busy for span in task.spans)
    assert merge(task.spans, 10**6) != bars
    assert merge((), 10) == ()


def test_thinned_points_keep_the_extremes():
    points = [(at, at * 7919 % 1000) for at in range(10_000)]
    kept = thin(points, 300)
    assert len(kept) <= 301
    assert kept == sorted(kept)
    assert {kept[-1], max(points, key=lambda point: point[1])} <= set(kept) <= set(points)
    assert thin(points[:5], 300) == points[:5]


@pytest.fixture(scope="module", params=[1400, 500], ids=["desk", "phone"])
def seen(request, page, tmp_path_factory) -> Seen:
    return open_page(page, tmp_path_factory.mktemp("browser"), request.param)


def test_a_browser_has_nothing_to_complain_of(seen):
    assert seen.console == ()
    assert seen.found["width"] <= seen.found["window"], "the page itself must not scroll sideways"


def test_every_chart_is_drawn(seen):
    charts = {chart["id"]: chart for chart in seen.found["charts"]}
    assert set(charts) == {f"{name}-{task}" for name in CHARTS for task in (1, 2)} | {"switches"}
    for chart in charts.values():
        assert chart["marks"] > 0, chart["id"]
        assert chart["plot"]
        assert all(right - left > 200 and bottom - top > 40 for left, top, right, bottom in chart["plot"])
        assert any(title["text"] for title in chart["titles"]), chart["id"]
        assert len(chart["ticks"]) >= 6, chart["id"]


def test_texts_of_charts_are_inside_and_apart(seen):
    for chart in seen.found["charts"]:
        left, top, right, bottom = chart["box"]
        for text in chart["titles"] + chart["ticks"] + chart["legend"]:
            a, b, c, d = text["box"]
            inside = left - 1 <= a and c <= right + 1 and top - 1 <= b and d <= bottom + 1
            assert inside or a == c, (chart["id"], text)
        highest = min(box[1] for box in chart["plot"])
        assert all(entry["box"][3] <= highest + 3 for entry in chart["legend"]), chart["id"]
        level = [tick["box"] for tick in chart["ticks"] if tick["box"][3] - tick["box"][1] < 22]
        for a, b in pairwise(sorted(level, key=lambda box: (round(box[1]), box[0]))):
            assert round(a[1]) != round(b[1]) or a[2] <= b[0] + 1, chart["id"]


def test_texts_are_there_and_whole(seen):
    shown = {text["text"] for text in seen.found["texts"]}
    wanted = (
        "Profile of m3vit_tiny on zcu104",
        "Task semseg",
        "Task depth",
        "Task switching",
        "Board",
        "accelerator, steady state",
    )
    assert all(any(text.startswith(start) for text in shown) for start in wanted)
    for text in seen.found["texts"]:
        assert not text["clipped"], text
        assert text["box"][2] - text["box"][0] > 5, text
    cells = seen.found["cells"]
    assert len(cells) > 500
    assert not [cell for cell in cells if cell["clipped"]]


def test_the_page_of_a_cpu_is_drawn(tmp_path):
    seen = open_page(render_profile(make_cpu_profile()), tmp_path)
    assert seen.console == ()
    assert {chart["id"]: chart["marks"] > 0 for chart in seen.found["charts"]} == {"kernels-1": True, "kernels-2": True}
