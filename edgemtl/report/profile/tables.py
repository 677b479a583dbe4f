"""layers.csv: one row for each layer of each task on the accelerator, or for each kernel on a CPU."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from typing import Any, Final

from edgemtl.report.profile.model import Profile
from edgemtl.report.profile.parts import KernelTime, LayerProfile

LAYER_COLUMNS: Final = (
    "task",
    "layer",
    "kind",
    "origin",
    "segment",
    "instructions",
    "macs",
    "start_cycle",
    "end_cycle",
    "matrix_busy_cycles",
    "matrix_share",
    "array_utilisation",
    "weight_bytes",
    "load_bytes",
    "store_bytes",
    "macs_per_byte",
    "matrix_stall_cycles",
    "matrix_stalls",
)
KERNEL_COLUMNS: Final = (
    "task",
    "kernel",
    "origin",
    "median_ms",
    "least_ms",
    "most_ms",
    "macs",
    "bytes",
    "gmac_per_s",
)


def layers_csv(profile: Profile) -> str:
    """The table with a line of names first; origins and stalls are joined by semicolons."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(LAYER_COLUMNS if profile.tasks else KERNEL_COLUMNS)
    writer.writerows(_rows(profile))
    return text.getvalue()


def _rows(profile: Profile) -> Iterator[tuple[Any, ...]]:
    for task in profile.tasks:
        yield from (_layer(task.task, layer) for layer in task.layers)
    for measured in profile.cpu_tasks:
        yield from (_kernel(measured.task, kernel) for kernel in measured.kernels)


def _layer(task: str, layer: LayerProfile) -> tuple[Any, ...]:
    stalls = layer.stalls.get("matrix", {})
    intensity = "" if layer.intensity is None else f"{layer.intensity:.3f}"
    return (
        task,
        layer.label,
        layer.name,
        ";".join(layer.origin),
        layer.segment,
        layer.instructions,
        layer.macs,
        layer.start,
        layer.end,
        layer.matrix_busy,
        f"{layer.matrix_share:.6f}",
        f"{layer.utilisation:.6f}",
        *(layer.traffic.get(kind, 0) for kind in ("weights", "load", "store")),
        intensity,
        sum(stalls.values()),
        ";".join(f"{reason}={cycles}" for reason, cycles in stalls.items()),
    )


def _kernel(task: str, kernel: KernelTime) -> tuple[Any, ...]:
    times = (f"{kernel.median_ms:.6f}", f"{kernel.least_ms:.6f}", f"{kernel.most_ms:.6f}")
    origin = ";".join(kernel.origin)
    return (task, kernel.name, origin, *times, kernel.macs, kernel.bytes, f"{kernel.gmac_per_s:.3f}")
