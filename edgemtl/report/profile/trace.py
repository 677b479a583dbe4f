"""trace.json: every instruction as a slice on the track of its unit, in the form that Perfetto and Chrome open.

One process for each task, its steady frame; one track for each unit. The last result of an instruction may arrive while
its unit already works on the next one: its slice then ends where the next begins, since slices of a track must not
cross, and ``end_cycle`` says when the result arrived. Times are microseconds from the first cycle of the trace.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import zip_longest
from typing import Any, Final

from edgemtl.hw.isa import UNITS
from edgemtl.report.profile.model import CpuTaskProfile, Profile, TaskProfile
from edgemtl.report.profile.parts import InstructionSpan

TRAFFIC_STEPS: Final = 500
"""Points of the DRAM traffic counter over a frame."""

Event = dict[str, Any]


def trace_json(profile: Profile) -> dict[str, Any]:
    """The document."""
    events: list[Event] = []
    for process, task in enumerate(profile.tasks, 1):
        assert profile.board is not None
        events += _named(process, f"{task.task} (simulated, one steady frame)", UNITS)
        events += _task(process, task, profile.board.engine.clock_mhz)
    for process, measured in enumerate(profile.cpu_tasks, 1):
        events += _named(process, f"{measured.task} (measured, median of each kernel)", ("kernels",))
        events += _kernels(process, measured)
    about = {"model": profile.model, "bundle": profile.bundle, "figures": profile.figures}
    return {"displayTimeUnit": "ns", "otherData": about, "traceEvents": events}


def _named(process: int, name: str, tracks: tuple[str, ...]) -> Iterator[Event]:
    yield {"ph": "M", "name": "process_name", "pid": process, "args": {"name": name}}
    yield {"ph": "M", "name": "process_sort_index", "pid": process, "args": {"sort_index": process}}
    for place, track in enumerate(tracks, 1):
        yield {"ph": "M", "name": "thread_name", "pid": process, "tid": place, "args": {"name": track}}
        yield {"ph": "M", "name": "thread_sort_index", "pid": process, "tid": place, "args": {"sort_index": place}}


def _task(process: int, task: TaskProfile, clock_mhz: int) -> list[Event]:
    """Slices and counters in order of time."""
    first = min([0, *(span.start for span in task.spans)])
    events = [*_slices(task), *_ring(task), *_traffic(task)]
    events.sort(key=lambda event: event["ts"])
    for event in events:
        event["pid"] = process
        event["ts"] = round((event["ts"] - first) / clock_mhz, 4)
        if "dur" in event:
            event["dur"] = round(event["dur"] / clock_mhz, 4)
    return events


def _slices(task: TaskProfile) -> Iterator[Event]:
    """In cycles."""
    for place, unit in enumerate(UNITS, 1):
        spans = sorted((span for span in task.spans if span.unit == unit), key=lambda span: (span.start, span.end))
        nexts = [span.start for span in spans[1:]]
        for span, following in zip_longest(spans, nexts):
            end = span.end if following is None else min(span.end, following)
            yield _slice(task, span, place, end)


def _slice(task: TaskProfile, span: InstructionSpan, track: int, end: int) -> Event:
    args: dict[str, Any] = {
        "layer": task.layers[span.layer].label,
        "text": span.text,
        "instruction": span.instruction,
        "segment": span.segment,
        "start_cycle": span.start,
        "end_cycle": span.end,
        "busy_cycles": span.busy,
    }
    if span.bytes:
        args["bytes"] = span.bytes
    if span.stalls:
        args["stall_cycles"] = dict(span.stalls)
    name = span.text.split(maxsplit=1)[0]
    return {
        "ph": "X",
        "name": name,
        "cat": span.unit,
        "tid": track,
        "ts": span.start,
        "dur": end - span.start,
        "args": args,
    }


def _ring(task: TaskProfile) -> Iterator[Event]:
    for cycle, size in task.ring:
        yield {"ph": "C", "name": "weight ring, bytes", "ts": cycle, "args": {"bytes": size}}


def _traffic(task: TaskProfile) -> Iterator[Event]:
    """Bytes per cycle by kind; the bytes of an instruction are spread evenly over its cycles."""
    end = max([1, *(span.end for span in task.spans)])
    first = min([0, *(span.start for span in task.spans)])
    step = max(-(-(end - first) // TRAFFIC_STEPS), 1)
    for name, unit in (("weights", ("weights",)), ("activations", ("data",))):
        rates = spread((span for span in task.spans if span.unit in unit and span.bytes), first, end, step)
        for place, size in enumerate(rates):
            args: Mapping[str, float] = {"bytes per cycle": round(size / step, 3)}
            yield {"ph": "C", "name": f"memory, {name}", "ts": first + place * step, "args": args}


def spread(spans: Iterator[InstructionSpan], first: int, end: int, step: int) -> list[float]:
    """Bytes in each ``step`` cycles from ``first`` to ``end``."""
    sums = [0.0] * (-(-(end - first) // step) + 1)
    for span in spans:
        length = max(span.end - span.start, 1)
        at = span.start
        while at < span.start + length:
            place = (at - first) // step
            until = min(first + (place + 1) * step, span.start + length)
            sums[place] += span.bytes * (until - at) / length
            at = until
    return sums


def _kernels(process: int, task: CpuTaskProfile) -> Iterator[Event]:
    """Medians one after the other: no run had exactly these times."""
    at = 0.0
    for kernel in task.kernels:
        args = {"macs": kernel.macs, "bytes": kernel.bytes, "origin": list(kernel.origin)}
        took = kernel.median_ms * 1e3
        yield {
            "ph": "X",
            "name": kernel.name,
            "pid": process,
            "tid": 1,
            "ts": round(at, 4),
            "dur": round(took, 4),
            "args": args,
        }
        at += took
