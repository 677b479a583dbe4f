"""A profile of a CPU as sections of the page: what was measured, and nothing that a CPU does not show."""

from __future__ import annotations

from collections.abc import Iterator

from edgemtl.report.profile.blocks import Card, PageGroup, PageSection, PageTable, columns, embed, kib, short
from edgemtl.report.profile.charts.kernels import draw_kernels
from edgemtl.report.profile.model import CpuTaskProfile, Profile
from edgemtl.report.profile.parts import KernelTime
from edgemtl.report.profile.task_tables import named


def cpu_cards(profile: Profile) -> Iterator[Card]:
    """Of the slowest task."""
    if not profile.cpu_tasks:
        return
    slow = max(profile.cpu_tasks, key=lambda task: task.median_ms)
    macs = sum(kernel.macs for kernel in slow.kernels)
    of = f"task {slow.task}" + (", the slowest" if len(profile.cpu_tasks) > 1 else "")
    spread = f"{slow.least_ms:.3f} to {slow.most_ms:.3f} over {slow.runs} runs"
    yield Card("one frame, median", f"{slow.median_ms:.3f} ms", f"{of}; {spread}", profile.figures)
    yield Card("throughput", f"{macs / slow.median_ms / 1e6:.1f} GMAC/s", of, profile.figures)
    if slow.kernels:
        most = max(slow.kernels, key=lambda kernel: kernel.median_ms)
        yield Card("slowest kernel", f"{most.median_ms:.3f} ms", f"{of}; {most.name}", profile.figures)


def cpu_groups(profile: Profile) -> Iterator[PageGroup]:
    """A group a task."""
    for index, task in enumerate(profile.cpu_tasks, 1):
        yield PageGroup(f"task-{index}", f"Task {task.task}", (_kernels(index, task, profile.figures),))


def _kernels(index: int, task: CpuTaskProfile, basis: str) -> PageSection:
    how = (
        "Median of each kernel over all runs; whiskers reach from the fastest to the slowest run. Kernels were timed "
        "one by one, so their sum is not the time of a frame. KiB: what a kernel must read and write."
    )
    names = ("kernel", "nodes of the model", "#median, ms", "#least", "#most", "#share", "#MMAC", "#GMAC/s", "#KiB")
    total = sum(kernel.median_ms for kernel in task.kernels) or 1.0
    rows = tuple(_row(kernel, total) for kernel in task.kernels)
    return PageSection(
        "Kernels", basis, how, embed(draw_kernels(task), f"kernels-{index}"), (PageTable(columns(*names), rows),)
    )


def _row(kernel: KernelTime, total: float) -> tuple[str | float, ...]:
    return (
        kernel.name,
        named(kernel.origin),
        *(f"{ms:.4f}" for ms in (kernel.median_ms, kernel.least_ms, kernel.most_ms)),
        kernel.median_ms / total,
        f"{kernel.macs / 1e6:,.2f}",
        short(kernel.gmac_per_s),
        kib(kernel.bytes),
    )
