"""What a page says of a frame from image to result."""

from __future__ import annotations

from math import floor
from typing import Final

from edgemtl.report.profile.blocks import Card, PageSection, PageTable, columns
from edgemtl.report.profile.frame import BASIS, FrameTime

HOW: Final = (
    "One frame while others of its task come before and after it, step by step in order. Segments are simulated. Times "
    "of the host CPU are estimated: instructions of the compiled kernels, one a cycle, counted under an emulator, over "
    "{threads} cores, or bytes over what the cores get of the memory, whichever takes longer. Copies by a driver, "
    "interrupts and the operating system are in no figure."
)
OVERLAP: Final = (
    " Image to result is the sum of all steps. A result every: assumes that frames overlap, so that the host CPU "
    "prepares the next frame and finishes the one before while the accelerator computes this one, and that neither "
    "slows the other down; then the larger of the two sums is from one result to the next."
)
NO_SUM: Final = " {steps} on the host CPU: nobody counted the instructions, so there is no figure of a whole frame."


def show_ms(time: float | None) -> str:
    """Milliseconds, or that nobody knows them."""
    return "not known" if time is None else f"{time:.3f}"


def frame_card(frame: FrameTime, of: str) -> Card:
    """The headline figure of a whole frame, or which steps keep it from being one."""
    if frame.latency_ms is None:
        return Card("image to result", "not known", f"{of}; no time model of {_names(frame)}", BASIS)
    text = f"{of}; with the host CPU; a result every {show_ms(frame.interval_ms)} ms"
    return Card("image to result", f"{show_ms(frame.latency_ms)} ms", text, BASIS)


def share_card(frame: FrameTime, of: str) -> Card:
    """How much of the work the accelerator does."""
    left = sum(step.macs for step in frame.steps if step.where == "host CPU")
    text = f"{of}; {left / 1e6:,.1f} MMAC stay on the host CPU"
    return Card("MACs on the accelerator", show_share(frame), text, "calculated")


def show_share(frame: FrameTime) -> str:
    """The accelerator's part of the multiply-accumulates; never rounded up to all of them."""
    share = frame.accelerator_share
    return "none" if share is None else f"{floor(share * 1e4) / 1e4:.2%}"


def frame_section(frame: FrameTime) -> PageSection:
    """The steps of a frame and their sums."""
    steps = tuple((step.name, step.where, f"{step.macs / 1e6:,.1f}", show_ms(step.ms)) for step in frame.steps)
    host = _sum(frame.host_before_ms, frame.host_between_ms, frame.host_after_ms)
    sums = (
        ("host CPU, in front", show_ms(frame.host_before_ms)),
        ("accelerator", show_ms(frame.accelerator_ms)),
        ("host CPU, between segments", show_ms(frame.host_between_ms)),
        ("host CPU, behind", show_ms(frame.host_after_ms)),
        ("host CPU, all its steps", show_ms(host)),
        ("image to result", show_ms(frame.latency_ms)),
        ("a result every", show_ms(frame.interval_ms)),
    )
    how = HOW.format(threads=frame.threads)
    how += NO_SUM.format(steps=_names(frame)) if frame.unknown else OVERLAP
    steps_table = PageTable(columns("step", "runs on", "#MMAC", "#ms"), steps)
    tables = (PageTable(columns("part of a frame", "#ms"), sums), steps_table)
    return PageSection("A frame from image to result", BASIS, how, tables=tables)


def _names(frame: FrameTime) -> str:
    return ", ".join(dict.fromkeys(frame.unknown))


def _sum(*times: float | None) -> float | None:
    return None if None in times else sum(time for time in times if time is not None)
