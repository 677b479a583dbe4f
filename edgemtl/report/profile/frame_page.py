"""What a page says of a frame from image to result."""

from __future__ import annotations

from typing import Final

from edgemtl.report.profile.blocks import Card, PageSection, PageTable, columns
from edgemtl.report.profile.frame import BASIS, FrameTime

HOW: Final = (
    "One frame while others of its task come before and after it, step by step in order. Segments are simulated. Times "
    "of the host CPU are estimated: instructions of the compiled kernels, one a cycle, counted under an emulator, over "
    "{threads} cores, or bytes over what the cores get of the memory, whichever takes longer. Copies by a driver, "
    "interrupts and the operating system are in no figure. A result every: where the host CPU works on other frames "
    "while the accelerator runs."
)


def show_ms(time: float | None) -> str:
    """Milliseconds, or that nobody knows them."""
    return "not known" if time is None else f"{time:.3f}"


def frame_card(frame: FrameTime, of: str) -> Card:
    """The headline figure of a whole frame, or which steps keep it from being one."""
    if frame.latency_ms is None:
        steps = ", ".join(dict.fromkeys(frame.unknown))
        return Card("image to result", "not known", f"{of}; no time model of {steps}", BASIS)
    text = f"{of}; with the host CPU; a result every {show_ms(frame.interval_ms)} ms"
    return Card("image to result", f"{show_ms(frame.latency_ms)} ms", text, BASIS)


def frame_section(frame: FrameTime) -> PageSection:
    """The steps of a frame and their sums."""
    steps = tuple((step.name, step.where, show_ms(step.ms)) for step in frame.steps)
    sums = (
        ("host CPU, in front", show_ms(frame.host_before_ms)),
        ("accelerator", show_ms(frame.accelerator_ms)),
        ("host CPU, between segments", show_ms(frame.host_between_ms)),
        ("host CPU, behind", show_ms(frame.host_after_ms)),
        ("image to result", show_ms(frame.latency_ms)),
        ("a result every", show_ms(frame.interval_ms)),
    )
    tables = (PageTable(columns("part of a frame", "#ms"), sums), PageTable(columns("step", "runs on", "#ms"), steps))
    return PageSection("A frame from image to result", BASIS, HOW.format(threads=frame.threads), tables=tables)
