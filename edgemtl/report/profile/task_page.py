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
from edgemtl.report.profile.frame_page import frame_section
from edgemtl.report.profile.model import TaskProfile
from edgemtl.report.profile.task_tables import (
    dram_table,
    energy_table,
    expert_table,
    layer_table,
    memory_table,
    traffic_table,
)

SIMULATED = "simulated"


def task_group(index: int, task: TaskProfile, spec: AcceleratorSpec, most: int) -> PageGroup:
    """All sections of a task; ``most`` bars a picture of time."""
    sections = (
        frame_section(task.frame),
        *_time(index, task, spec, most),
        *_memory(index, task, spec, most),
        *_rest(index, task),
    )
    return PageGroup(f"task-{index}", f"Task {task.task}", sections)


def _time(index: int, task: TaskProfile, spec: AcceleratorSpec, most: int) -> Iterator[PageSection]:
    clock = spec.engine.clock_mhz
    yield PageSection(
        "Roofline", SIMULATED,
        "Each point is a layer: y is MAC/s between its first start and last end, x is MAC per byte of DRAM traffic. "
        "The red line is the limit of the DRAM, the grey one that of the array. A layer above the red line had its "
        "weights prefetched. Layers that move no bytes are not shown.",
        embed(draw_roofline(task, spec), f"roofline-{index}"),
    )  # fmt: skip
    yield PageSection(
        "Timeline by unit", SIMULATED,
        "One frame lies between the dotted lines, with frames of the same task before and after it. Units work on "
        "several layers at once, and weights are fetched while the frame before ends. Adjacent instructions of a "
        "layer are drawn as one bar; trace.json has each of them.",
        embed(draw_timeline(task, clock, most), f"timeline-{index}"),
    )  # fmt: skip
    yield PageSection(
        "Where the cycles of each unit went", SIMULATED,
        "Share of the frame's cycles that each unit worked, or stalled, by reason. The weights unit also works "
        "outside the frame.",
        embed(draw_units(task), f"units-{index}"),
    )  # fmt: skip
    yield PageSection(
        "Stalls of the matrix unit by layer", SIMULATED,
        "Green: cycles of work. Other colours: cycles stalled before or during an instruction of the layer, by reason.",
        embed(draw_stalls(task), f"stalls-{index}"),
    )  # fmt: skip


def _memory(index: int, task: TaskProfile, spec: AcceleratorSpec, most: int) -> Iterator[PageSection]:
    clock = spec.engine.clock_mhz
    if task.buffers:
        yield PageSection(
            "On-chip memory over time", SIMULATED,
            "Each rectangle is a buffer. It reaches from the first instruction that uses the buffer to the last, and "
            "from its first byte to its last. The colour is that of the layer that writes it. Each memory is drawn as"
            " high as its plan.",
            embed(draw_memory_map(task, clock, most), f"memory-{index}"),
        )  # fmt: skip
    yield PageSection(
        "On-chip memory: plan and lower bound", "calculated",
        "Bytes that the plan uses of each memory. No plan of the same order of steps can use less than the lower "
        "bound. The weight ring and the router's table are not planned. Moved: bytes read and written in a frame.",
        tables=(memory_table(task),),
    )  # fmt: skip
    if task.ring:
        yield PageSection(
            "Weight ring", SIMULATED,
            "Bytes of weights that have arrived and are not yet released. The dashed line is the size of the ring. "
            "The line begins with the first change in the frame; weights that are there by then were fetched in the "
            "frame before.",
            embed(draw_ring(task, clock), f"ring-{index}"),
        )  # fmt: skip
    yield PageSection(
        "DRAM traffic by layer", SIMULATED,
        "Bytes of weights, and of activations loaded and stored. Bytes of instructions are in the table only.",
        embed(draw_traffic(task), f"traffic-{index}"), (traffic_table(task),),
    )  # fmt: skip
    if task.dram:
        assumed = spec.board.memory.sustained_bytes_per_s / spec.board.memory.peak_bytes_per_s
        yield PageSection(
            "Latency by DRAM efficiency", SIMULATED,
            "Steady-state latency where DRAM sustains another share of its peak, everything else being the same. All "
            f"other figures assume {assumed:.0%}. Rows, refresh and the host CPU's traffic decide what a board gets; "
            "the last row, where there is one, has rows and refresh alone.",
            tables=(dram_table(task),),
        )  # fmt: skip


def _rest(index: int, task: TaskProfile) -> Iterator[PageSection]:
    if task.experts:
        yield PageSection(
            "Expert loads", SIMULATED,
            "Tokens in each expert's queue. A red frame marks an expert of the prefetch list: its weights are fetched"
            " before the router has decided.",
            embed(draw_experts(task), f"experts-{index}"), (expert_table(task),),
        )  # fmt: skip
    if task.energy:
        yield PageSection(
            "Energy of a frame", "estimated",
            "Event counts of the simulation times coefficients from the literature, listed under Energy coefficients."
            " Whiskers reach from the lowest to the highest coefficient. Nothing was measured.",
            embed(draw_energy(task.energy), f"energy-{index}"), (energy_table(task),),
        )  # fmt: skip
    yield PageSection(
        "Layers", SIMULATED,
        "Begin, end: of the layer's instructions without prefetches. Layers overlap, so these do not add up to the "
        "frame. Matrix busy: cycles the array worked for the layer; these do not overlap. Array: MAC utilisation in "
        "those cycles. Stalls: cycles the matrix unit waited for the layer.",
        tables=(layer_table(task),),
    )  # fmt: skip
    if task.left:
        rows: tuple[tuple[Cell, ...], ...] = tuple((text,) for text in task.left)
        how = "These steps run on the host CPU. Only the frame from image to result includes their time."
        yield PageSection(
            "Left to the host CPU", "calculated", how, tables=(PageTable(columns("step and reason"), rows),)
        )
