"""A task's steps on the accelerator, compiled and simulated: what the tables of the accelerator are made of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.m3vit_models import Choices, busiest
from edgemtl import operators as ops
from edgemtl.codegen.fpga.compile import BY_EXPERT, compile_segments
from edgemtl.codegen.fpga.segment import BoardSegment
from edgemtl.codegen.fpga.site import ExpertOrder
from edgemtl.hw import encoding
from edgemtl.hw.sim.cycle import Frame, simulate
from edgemtl.hw.sim.energy import estimate
from edgemtl.hw.sim.trace import Timing
from edgemtl.hw.spec import AcceleratorSpec
from edgemtl.lowering.ir import Step

FRAMES = 3
"""Frames of one simulation; the second one counts: the first has nothing fetched for it, the last fetches for none."""
TOKEN_ORDER_FRAMES = 2
"""In token order frames take long to simulate, and what the next one's weights do under the last layer is nothing."""


@dataclass(frozen=True)
class Simulated:
    """One task in its steady state, simulated."""

    segment: BoardSegment
    timing: Timing
    spec: AcceleratorSpec

    @property
    def ms(self) -> float:
        """Latency of a frame."""
        return self.timing.cycles / self.spec.engine.clock_mhz / 1e3

    @property
    def utilisation(self) -> float:
        """Products that count over those the array could have made."""
        return self.timing.macs / self.timing.cycles / self.spec.engine.macs_per_cycle

    @property
    def on_chip_bytes(self) -> int:
        """Bytes of all memories on chip that the stream uses."""
        return sum(self.segment.on_chip.values())

    @property
    def joules(self) -> tuple[float, float, float]:
        """Estimated: low, typical, high."""
        joules = estimate(self.timing, self.spec).joules
        return joules.low, joules.typical, joules.high

    @property
    def stalls(self) -> dict[str, float]:
        """Shares of the frame in which the array stood, by reason."""
        shares: dict[str, float] = {}
        for span in self.timing.spans:
            for reason, cycles in span.stalls if span.unit == "matrix" else ():
                shares[reason] = shares.get(reason, 0) + cycles / self.timing.cycles
        return dict(sorted(shares.items(), key=lambda item: -item[1]))


def compile_one(
    steps: Sequence[Step],
    spec: AcceleratorSpec,
    early: Sequence[tuple[int, ...]] = (),
    order: ExpertOrder = BY_EXPERT,
) -> BoardSegment:
    """The one segment of a task; ``early`` for each layer of experts."""
    gates = [step["logits"].buffer for step in steps if isinstance(step.operator, ops.QRouter)]
    lists = dict(zip(gates, early, strict=False))
    program = compile_segments({"task": steps}, spec, early={"task": lists}, order=order)
    (segment,) = program.tasks[0].segments
    return segment


def frame_of(segment: BoardSegment, spec: AcceleratorSpec, routes: Sequence[Choices]) -> Frame:
    """A frame of the segment on an image that is routed so."""
    return Frame(encoding.decode_stream(segment.stream, spec.engine), tuple(routes), segment.early)


def simulated(
    segment: BoardSegment, spec: AcceleratorSpec, routes: Sequence[Choices], frames: int = FRAMES, banks: bool = False
) -> Simulated:
    """The segment in its steady state; ``banks``: with DRAM by rows, banks and refresh."""
    return Simulated(segment, simulate([frame_of(segment, spec, routes)] * frames, spec, banks)[1], spec)


def popular(routes: Sequence[Choices], experts: int, most: int) -> list[tuple[int, ...]]:
    """For each layer the experts with most tokens on the same routes: a list that is right."""
    return [busiest([int((chosen == e).sum()) for e in range(experts)], most) for chosen in routes]


def markdown(title: str, header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table."""
    lines = [f"### {title}", "", f"| {' | '.join(header)} |", f"|{'---|' * len(header)}"]
    return "\n".join([*lines, *(f"| {' | '.join(row)} |" for row in rows), ""])
