"""One task on the accelerator as sections of the page."""

from __future__ import annotations

from collections.abc import Iterator

from edgemtl.hw.spec import AcceleratorSpec
from edgemtl.report.profile.blocks import Cell, PageGroup, PageSection, PageTable, columns, embed
from edgemtl.report.profile.charts.bars import draw_energy, draw_stalls, draw_traffic, draw_units
from edgemtl.report.profile.charts.experts import draw_experts
from edgemtl.report.profile.charts.memory_map import draw_memory_map, draw_ring
from edgemtl.report.profile.charts.roofline import draw_roofline
from edgemtl.report.profile.charts.timeline import draw_timeline
from edgemtl.report.profile.model import TaskProfile
from edgemtl.report.profile.task_tables import energy_table, expert_table, layer_table, memory_table, traffic_table

SIMULATED = "simulated"


def task_group(index: int, task: TaskProfile, spec: AcceleratorSpec, most: int) -> PageGroup:
    """All sections of a task; ``most`` bars a picture of time."""
    sections = (*_time(index, task, spec, most), *_memory(index, task, spec, most), *_rest(index, task))
    return PageGroup(f"task-{index}", f"Task {task.task}", sections)


def _time(index: int, task: TaskProfile, spec: AcceleratorSpec, most: int) -> Iterator[PageSection]:
    clock = spec.engine.clock_mhz
    yield PageSection(
        "Roofline", SIMULATED,
        "Every layer with products: how many it makes for a byte of the board's memory, and how many a second it "
        "reached between its first begin and its last end. The red line is the memory, the grey one the array. A layer "
        "above the red line had its bytes fetched before it began; layers that move no bytes are not on it.",
        embed(draw_roofline(task, spec), f"roofline-{index}"),
    )  # fmt: skip
    yield PageSection(
        "Timeline by unit", SIMULATED,
        "One steady frame between the dotted lines. Units work at several layers at once; weights for a frame are "
        "fetched while the frame before ends. Neighbouring instructions of a layer are one bar; trace.json has each.",
        embed(draw_timeline(task, clock, most), f"timeline-{index}"),
    )  # fmt: skip
    yield PageSection(
        "Where the cycles of each unit went", SIMULATED,
        "Of 100% of the frame: at work, or standing for a reason. The weights unit also works outside the frame.",
        embed(draw_units(task), f"units-{index}"),
    )  # fmt: skip
    yield PageSection(
        "Stalls of the matrix unit by layer", SIMULATED,
        "Green cycles worked; the others stood, before or during an instruction of the layer, for the reason named.",
        embed(draw_stalls(task), f"stalls-{index}"),
    )  # fmt: skip


def _memory(index: int, task: TaskProfile, spec: AcceleratorSpec, most: int) -> Iterator[PageSection]:
    clock = spec.engine.clock_mhz
    if task.buffers:
        yield PageSection(
            "On-chip memory over time", SIMULATED,
            "Each rectangle is a buffer: from the first instruction that touches it to the last one, and from its "
            "first byte to its last. The colour is the layer that makes it. Each memory is drawn as high as its plan.",
            embed(draw_memory_map(task, clock, most), f"memory-{index}"),
        )  # fmt: skip
    yield PageSection(
        "On-chip memory: plan and lower bound", "calculated",
        "Bytes the plan takes of each memory; no plan in this order of steps can take less than the bound. The ring "
        "and the router's table are not planned. Moved: bytes read and written in a frame.",
        tables=(memory_table(task),),
    )  # fmt: skip
    if task.ring:
        yield PageSection(
            "Weight ring", SIMULATED,
            "Bytes of weights that have come and not been released; the dashed line is the ring's size. The "
            "line begins with the first change in the frame; what is held then was fetched in the frame before.",
            embed(draw_ring(task, clock), f"ring-{index}"),
        )  # fmt: skip
    yield PageSection(
        "Traffic of the board's memory by layer", SIMULATED,
        "Bytes of weights, and of activations loaded and stored. The instructions themselves are in the table alone.",
        embed(draw_traffic(task), f"traffic-{index}"), (traffic_table(task),),
    )  # fmt: skip


def _rest(index: int, task: TaskProfile) -> Iterator[PageSection]:
    if task.experts:
        yield PageSection(
            "Expert loads", SIMULATED,
            "Tokens in each expert's queue. A red frame: weights fetched before the router had decided.",
            embed(draw_experts(task), f"experts-{index}"), (expert_table(task),),
        )  # fmt: skip
    if task.energy:
        yield PageSection(
            "Energy of a frame", "estimated",
            "Counted amounts times coefficients from elsewhere, both in the units of the table of coefficients; the "
            "whiskers reach from the least to the most. Nothing was measured.",
            embed(draw_energy(task.energy), f"energy-{index}"), (energy_table(task),),
        )  # fmt: skip
    yield PageSection(
        "Layers", SIMULATED,
        "Begin and end: of its instructions but those that fetch ahead; layers overlap, so these do not add up to the "
        "frame. Matrix busy: cycles the array worked for the layer; these do not overlap. Array: products over what "
        "the array makes in those busy cycles. Stalls: cycles the matrix unit stood for it.",
        tables=(layer_table(task),),
    )  # fmt: skip
    if task.left:
        rows: tuple[tuple[Cell, ...], ...] = tuple((text,) for text in task.left)
        how = "These steps run on the CPU beside the accelerator; their time is in no figure of this page."
        yield PageSection("Left to the CPU", "calculated", how, tables=(PageTable(columns("step and reason"), rows),))
