"""The tables of a task's sections."""

from __future__ import annotations

from edgemtl.report.profile.blocks import PageTable, columns, count, kib, range_of, short
from edgemtl.report.profile.charts.look import TRAFFIC_COLOURS
from edgemtl.report.profile.model import TaskProfile
from edgemtl.report.profile.parts import EnergyPart, LayerProfile


def memory_table(task: TaskProfile) -> PageTable:
    """Plans, bounds and what there is."""
    rows = tuple(
        (
            memory.memory,
            kib(memory.bytes),
            "not planned" if memory.lower_bound is None else kib(memory.lower_bound),
            "" if memory.gap is None else f"{100 * memory.gap:.2f}%",
            kib(memory.capacity),
            memory.bytes / memory.capacity if memory.capacity else 0.0,
            "" if memory.moved is None else kib(memory.moved),
        )
        for memory in task.memories
    )
    names = ("memory", "#plan, KiB", "#lower bound, KiB", "#gap", "#size, KiB", "#share", "#moved a frame, KiB")
    return PageTable(columns(*names), rows)


def traffic_table(task: TaskProfile) -> PageTable:
    """Bytes of the frame by kind."""
    total = sum(task.traffic.values())
    order = [kind for kind in TRAFFIC_COLOURS if kind in task.traffic]
    rows = [(kind, kib(task.traffic[kind]), task.traffic[kind] / max(total, 1)) for kind in order]
    return PageTable(columns("kind", "#KiB a frame", "#share"), (*rows, ("all", kib(total), "")))


def dram_table(task: TaskProfile) -> PageTable:
    """Latencies by what DRAM sustains of its peak, and against the task's own; a task may run on the host CPU alone."""
    own = max(task.latency.steady_cycles, 1)
    rows = tuple(
        (
            "by rows, banks, refresh" if at.percent is None else f"{at.percent}%",
            count(at.steady_cycles),
            f"{at.steady_ms:.3f}",
            f"{(at.steady_cycles - task.latency.steady_cycles) / own:+.1%}",
        )
        for at in task.dram
    )
    return PageTable(columns("of the peak", "#steady cycles", "#ms", "#against this page"), rows)


def expert_table(task: TaskProfile) -> PageTable:
    """How uneven the loads are."""
    rows = tuple(
        (
            task.layers[loads.layer].label,
            count(sum(loads.tokens)),
            count(max(loads.tokens, default=0)),
            f"{len(loads.empty)} of {len(loads.tokens)}",
            ", ".join(map(str, loads.early)) or "none",
            ", ".join(str(expert) for expert in loads.early if expert in loads.empty) or "none",
        )
        for loads in task.experts
    )
    names = (
        "layer",
        "#queue entries",
        "#longest queue",
        "#experts without tokens",
        "prefetched",
        "early, without tokens",
    )
    return PageTable(columns(*names), rows)


def energy_of(task: TaskProfile) -> tuple[float, float, float]:
    """Joules of a frame: the least, what is typical, the most."""
    parts = task.energy
    return sum(part.low for part in parts), sum(part.typical for part in parts), sum(part.high for part in parts)


def show_energy(task: TaskProfile) -> str:
    """Millijoules of a frame with their range; "" where there are none."""
    return range_of(*(1e3 * joules for joules in energy_of(task))) if task.energy else ""


def _amount(amount: float) -> str:
    if not amount:
        return ""
    return count(amount) if amount >= 1000 else short(amount)


def energy_table(task: TaskProfile) -> PageTable:
    """Millijoules by part and together."""
    parts = [*task.energy, EnergyPart("all", 0, *energy_of(task))]
    rows = tuple(
        (
            part.part,
            _amount(part.amount),
            *(short(1e3 * joules) for joules in (part.low, part.typical, part.high)),
        )
        for part in parts
    )
    return PageTable(columns("part", "#amount", "#low, mJ", "#typical, mJ", "#high, mJ"), rows)


LAYER_NAMES = (
    "layer",
    "nodes of the model",
    "#MMAC",
    "#start, cycle",
    "#end, cycle",
    "#matrix busy",
    "#of all matrix",
    "#array",
    "#stalls",
    "#weights, KiB",
    "#load, KiB",
    "#store, KiB",
    "#MAC/byte",
)


def layer_table(task: TaskProfile) -> PageTable:
    """All figures of every layer."""
    return PageTable(columns(*LAYER_NAMES), tuple(_layer(layer) for layer in task.layers))


def _layer(layer: LayerProfile) -> tuple[str | float, ...]:
    return (
        layer.label,
        named(layer.origin),
        f"{layer.macs / 1e6:,.2f}",
        count(layer.start),
        count(layer.end),
        count(layer.matrix_busy),
        f"{100 * layer.matrix_share:.1f}%",
        layer.utilisation if layer.matrix_busy else "",
        count(sum(layer.stalls.get("matrix", {}).values())),
        *(kib(layer.traffic.get(kind, 0)) for kind in ("weights", "load", "store")),
        short(layer.intensity) if layer.intensity else "",
    )


def named(origin: tuple[str, ...]) -> str:
    """The first node and how many more there are."""
    if not origin:
        return ""
    return origin[0] if len(origin) == 1 else f"{origin[0]} and {len(origin) - 1} more"
