"""The addresses of buffers: one plan for each region, made and checked by `edgemtl.schedule`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from edgemtl import schedule
from edgemtl.codegen.fpga.instructions import OnChipBuffer, PendingInstruction
from edgemtl.errors import BudgetError
from edgemtl.hw.isa import REGIONS
from edgemtl.schedule import Plan

HINT = "take a board with larger buffers, or a smaller model"


@dataclass(frozen=True)
class Placement:
    """addresses: granule of each buffer in its region. plans: offsets in bytes, with lower bounds, by region.

    lives: first and last instruction that touches each buffer.
    """

    addresses: Mapping[str, int]
    plans: Mapping[str, Plan]
    lives: Mapping[str, tuple[int, int]]
    buffers: tuple[OnChipBuffer, ...]


class RegionFull(BudgetError):
    """A region that has no room. ``live``: its buffers by the instruction at which most of it is taken, ``peak``."""

    def __init__(
        self, what: str, region: str, needed: int, there: int, peak: int, live: Sequence[OnChipBuffer]
    ) -> None:
        super().__init__(f"{what}: memory {region!r}", needed, there, HINT)
        self.peak, self.live = peak, tuple(live)


def place(
    instructions: Sequence[PendingInstruction], capacities: Mapping[str, int], granule: int, what: str
) -> Placement:
    """Addresses for every buffer of ``instructions``. Raises BudgetError where a region is too small."""
    lives: dict[str, tuple[int, int]] = {}
    buffers: dict[str, OnChipBuffer] = {}
    for index, instruction in enumerate(instructions):
        for rows in (*instruction.reads, *instruction.writes):
            buffer = rows.at.buffer
            buffers[buffer.name] = buffer
            lives[buffer.name] = (lives.get(buffer.name, (index, 0))[0], index)
    plans = {
        region: _plan(instructions, [b for b in buffers.values() if b.region == region], granule, lives)
        for region in REGIONS
    }
    for region, plan in plans.items():
        if plan.arena_bytes > capacities[region]:
            peak, live = _peak([b for b in buffers.values() if b.region == region], lives)
            raise RegionFull(what, region, plan.arena_bytes, capacities[region], peak, live)
    addresses = {name: offset // granule for plan in plans.values() for name, offset in plan.offsets.items()}
    return Placement(addresses, plans, lives, tuple(buffers.values()))


def _peak(buffers: Sequence[OnChipBuffer], lives: Mapping[str, tuple[int, int]]) -> tuple[int, list[OnChipBuffer]]:
    """The first instruction at which these buffers take most, and those that live then."""

    def live(index: int) -> list[OnChipBuffer]:
        return [b for b in buffers if lives[b.name][0] <= index <= lives[b.name][1]]

    begins = sorted({lives[b.name][0] for b in buffers})
    peak = max(begins, key=lambda index: (sum(b.granules for b in live(index)), -index))
    return peak, live(peak)


def _plan(
    instructions: Sequence[PendingInstruction],
    buffers: Sequence[OnChipBuffer],
    granule: int,
    lives: Mapping[str, tuple[int, int]],
) -> Plan:
    sizes = [schedule.Buffer(buffer.name, buffer.granules * granule) for buffer in buffers]
    timeline = {buffer.name: schedule.Lifetime(*lives[buffer.name]) for buffer in buffers}
    plan = schedule.plan(sizes, [timeline])
    schedule.check(plan, sizes, [_steps(instructions, {buffer.name for buffer in buffers})], 0)
    return plan


def _steps(instructions: Sequence[PendingInstruction], names: set[str]) -> list[schedule.Slot]:
    """Instructions as the plan's checker sees them: the buffers of one region that each reads and writes."""
    steps = []
    for instruction in instructions:
        reads = tuple(dict.fromkeys(r.at.buffer.name for r in instruction.reads if r.at.buffer.name in names))
        writes = tuple(dict.fromkeys(r.at.buffer.name for r in instruction.writes if r.at.buffer.name in names))
        if reads or writes:
            steps.append(schedule.Slot(reads, writes))
    return steps
