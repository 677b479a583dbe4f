"""A profile as one page that needs nothing from elsewhere."""

from __future__ import annotations

from collections.abc import Iterator

import jinja2
from plotly.offline import get_plotlyjs

from edgemtl.hw.datasheet import describe_clocks
from edgemtl.report.profile.blocks import PageGroup
from edgemtl.report.profile.charts.timeline import MOST_BARS
from edgemtl.report.profile.cpu_page import cpu_cards, cpu_groups
from edgemtl.report.profile.model import Profile
from edgemtl.report.profile.others import published_group
from edgemtl.report.profile.overview import board_group, cards, switch_group, tasks_section
from edgemtl.report.profile.page import PROFILE_PAGE
from edgemtl.report.profile.task_page import task_group

MOST_TOTAL = 6000
"""Bars of all pictures of one kind together: what keeps a page of many tasks small."""


def render_profile(profile: Profile) -> str:
    """The page as HTML: it loads nothing, and its policy forbids it to."""
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True)
    page = environment.from_string(PROFILE_PAGE)
    measured = profile.device == "cpu"
    return page.render(
        title=f"Profile of {profile.model} on {_device(profile)}",
        lead=_lead(profile),
        warning=_warning(profile),
        cards=tuple(cpu_cards(profile) if measured else cards(profile)),
        groups=tuple(cpu_groups(profile) if measured else _groups(profile)),
        notes=profile.notes,
        plotly=get_plotlyjs(),
    )


def _device(profile: Profile) -> str:
    if profile.board is not None:
        return profile.board.name + (" (hypothetical)" if profile.board.hypothetical else "")
    return profile.cpu.name if profile.cpu is not None else "nothing"


def _lead(profile: Profile) -> str:
    images = len(profile.images)
    shown = ", ".join(profile.images[:4]) + (f" and {images - 4} more" if images > 4 else "")
    of = f"Bundle {profile.bundle}; {images} image{'s' if images != 1 else ''}: {shown}."
    if (spec := profile.board) is not None:
        target = "a target" if spec.engine.dsp_clock_ratio == 1 else "targets"
        clock = f"{describe_clocks(spec.engine)}, {target} that only place and route can confirm"
        return f"{of} Board {spec.board.title}, {clock}. All times are simulated, cycle by cycle; no board ran."
    assert profile.cpu is not None
    cpu, threads = profile.cpu, profile.cpu.threads
    ran = f"{threads} thread{'s' if threads != 1 else ''}"
    return f"{of} Code for {cpu.target} on {cpu.name}, {ran}. All times are measured."


def _warning(profile: Profile) -> str:
    if profile.board is None or not profile.board.hypothetical:
        return ""
    return (
        f"The board {profile.board.name} is hypothetical: no such board was ever made. Every figure on this page says "
        "what it would do if its numbers were true."
    )


def _groups(profile: Profile) -> Iterator[PageGroup]:
    spec = profile.board
    assert spec is not None
    yield PageGroup("tasks", "Tasks", (tasks_section(profile),))
    most = min(MOST_BARS, MOST_TOTAL // max(len(profile.tasks), 1))
    yield from (task_group(index, task, spec, most) for index, task in enumerate(profile.tasks, 1))
    if profile.switches is not None:
        yield switch_group(profile.switches, spec.engine.clock_mhz, profile.figures)
    yield board_group(spec, profile.coefficients)
    published = published_group(profile)
    if published is not None:
        yield published
