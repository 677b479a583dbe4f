"""What stands above and around the tasks: headline figures, all tasks side by side, switching, the board."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from edgemtl.hw.datasheet import describe_spec
from edgemtl.hw.resources import count as blocks
from edgemtl.hw.spec import AcceleratorSpec
from edgemtl.report.profile.blocks import Card, PageGroup, PageSection, PageTable, columns, count, embed, joules
from edgemtl.report.profile.charts.bars import draw_switches
from edgemtl.report.profile.frame_page import frame_card, share_card, show_ms, show_share
from edgemtl.report.profile.model import Profile, Switches, TaskProfile
from edgemtl.report.profile.parts import Coefficient
from edgemtl.report.profile.task_tables import show_energy

TOTAL_NAMES: Final = ("resource", "#needs", "#there is", "#share")
UNIT_NAMES: Final = ("unit", "resource", "#amount", "formula", "basis")
BASES: Final = "prototype: synthesised; calculated: from bytes and widths; estimated: the rest."


def cards(profile: Profile) -> Iterator[Card]:
    """Of the slowest task, and of all together."""
    slow = max(profile.tasks, key=lambda task: task.latency.steady_cycles)
    latency, basis = slow.latency, profile.figures
    of = f"task {slow.task}" + (", the slowest" if len(profile.tasks) > 1 else "")
    yield Card(
        "accelerator, steady state",
        f"{latency.steady_ms:.3f} ms",
        f"{of}; {1e3 / max(latency.steady_ms, 1e-9):,.0f} a second",
        basis,
    )
    yield Card(
        "accelerator, latency", f"{latency.first_ms:.3f} ms", f"{of}; {count(latency.first_cycles)} cycles", basis
    )
    yield frame_card(slow.frame, of)
    yield share_card(slow.frame, of)
    yield Card("MAC utilisation", f"{slow.utilisation.get('array', 0):.1%}", f"{of}; of the array's peak", basis)
    yield Card("DRAM busy", f"{slow.utilisation.get('memory', 0):.1%}", f"{of}; of the frame", basis)
    if slow.energy:
        text = show_energy(slow)
        yield Card("energy of a frame", f"{text.split(' (')[0]} mJ", f"{of}; {text} mJ", "estimated")
    if profile.switches and len(profile.switches.extra) > 1:
        most = max(profile.switches.extra[1:])
        yield Card(
            "task switch, at most", f"{count(most)} cycles", "more than a frame that follows one of its task", basis
        )


def tasks_section(profile: Profile) -> PageSection:
    """All tasks side by side."""
    rows = tuple(_task_row(task) for task in profile.tasks)
    names = (
        "task",
        "#steady state",
        "#latency",
        "#image to result",
        "#a result every",
        "#GMAC",
        "#of all MACs",
        "#array",
        "#matrix",
        "#DRAM",
        "#traffic, MiB",
        "#energy, mJ",
    )
    how = (
        "Times in ms. Latency is one frame on an idle accelerator; steady state is a frame when the same task runs "
        "back to back; both are of the accelerator alone. Image to result adds the host CPU, and a result every is the "
        "time from one to the next where frames overlap (both estimated). Of all MACs: those on the accelerator. "
        "Array: MAC utilisation. Matrix, DRAM: share of the frame's cycles that they were busy."
    )
    return PageSection("All tasks", profile.figures, how, tables=(PageTable(columns(*names), rows),))


def _task_row(task: TaskProfile) -> tuple[str | float, ...]:
    latency, use = task.latency, task.utilisation
    return (
        task.task,
        f"{latency.steady_ms:.3f}",
        f"{latency.first_ms:.3f}",
        show_ms(task.frame.latency_ms),
        show_ms(task.frame.interval_ms),
        f"{task.macs / 1e9:.3f}",
        show_share(task.frame),
        *(use.get(unit, 0.0) for unit in ("array", "matrix", "memory")),
        f"{sum(task.traffic.values()) / 2**20:,.2f}",
        show_energy(task),
    )


def switch_group(switches: Switches, clock_mhz: int, basis: str) -> PageGroup:
    """The task-switch experiment."""
    rows = tuple(
        (f"{index}. {task}", count(cycles), count(switches.steady[task]), f"{extra:+,}", f"{extra / clock_mhz:+,.2f}")
        for index, (task, cycles, extra) in enumerate(
            zip(switches.order, switches.cycles, switches.extra, strict=True), 1
        )
    )
    names = ("frame", "#cycles", "#steady-state", "#extra cycles", "#extra, µs")
    how = (
        "Frames of alternating tasks, back to back. Switching tasks costs only a new stream address, so the extra "
        "cycles are the difference to the steady-state latency of the same task. Nothing is prefetched for the first "
        "frame."
    )
    chart = embed(draw_switches(switches, clock_mhz), "switches")
    return PageGroup(
        "switching",
        "Task switching",
        (PageSection("Alternating tasks", basis, how, chart, (PageTable(columns(*names), rows),)),),
    )


def board_group(spec: AcceleratorSpec, coefficients: tuple[Coefficient, ...]) -> PageGroup:
    """What the engine needs of the part, and the coefficients of the energy."""
    sheet = describe_spec(spec)
    totals = tuple(
        (t.resource, blocks(t.needs), blocks(t.has), "" if t.share is None else t.share) for t in sheet.totals
    )
    rows = tuple((row.unit, row.resource, blocks(row.amount), row.formula, row.basis) for row in sheet.rows)
    how = f"What the engine needs of a {spec.board.part.name}. Nothing was placed or routed."
    sections = [
        PageSection("Resources", "estimated", how, tables=(PageTable(columns(*TOTAL_NAMES), totals),)),
        PageSection("Resources by unit", "estimated", BASES, tables=(PageTable(columns(*UNIT_NAMES), rows),)),
    ]
    if coefficients:
        sections.append(_coefficients(coefficients))
    return PageGroup("board", "Board", tuple(sections))


def _coefficients(coefficients: tuple[Coefficient, ...]) -> PageSection:
    rows = tuple((c.name, c.unit, joules(c.low), joules(c.typical), joules(c.high), c.source) for c in coefficients)
    names = ("coefficient", "of a", "#low", "#typical", "#high", "source")
    return PageSection(
        "Energy coefficients",
        "estimated",
        "The energy assumed for each event, with its source.",
        tables=(PageTable(columns(*names), rows),),
    )
