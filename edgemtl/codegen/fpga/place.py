"""Where buffers lie: one plan for each region, by the planner of `edgemtl.schedule`, and its check."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from edgemtl import schedule
from edgemtl.codegen.fpga.words import Buffer, Word
from edgemtl.errors import BudgetError
from edgemtl.hw.isa import REGIONS
from edgemtl.schedule import Plan


@dataclass(frozen=True)
class Placement:
    """addresses: granule of each buffer in its region. plans: offsets in bytes, with lower bounds, by region.

    lives: first and last word of each buffer.
    """

    addresses: Mapping[str, int]
    plans: Mapping[str, Plan]
    lives: Mapping[str, tuple[int, int]]
    buffers: tuple[Buffer, ...]


def place(words: Sequence[Word], capacities: Mapping[str, int], granule: int, what: str) -> Placement:
    """Addresses for every buffer of ``words``. Raises BudgetError where a region is too small."""
    lives: dict[str, tuple[int, int]] = {}
    found: dict[str, Buffer] = {}
    for index, word in enumerate(words):
        for rows in (*word.reads, *word.writes):
            held = rows.at.buffer
            found[held.name] = held
            lives[held.name] = (lives.get(held.name, (index, 0))[0], index)
    plans = {
        region: _plan(words, [b for b in found.values() if b.region == region], granule, lives) for region in REGIONS
    }
    for region, made in plans.items():
        if made.arena_bytes > capacities[region]:
            hint = "take a board with larger buffers, or a smaller model"
            raise BudgetError(f"{what}: memory {region!r}", made.arena_bytes, capacities[region], hint)
    addresses = {name: offset // granule for plan in plans.values() for name, offset in plan.offsets.items()}
    return Placement(addresses, plans, lives, tuple(found.values()))


def _plan(words: Sequence[Word], buffers: Sequence[Buffer], granule: int, lives: Mapping[str, tuple[int, int]]) -> Plan:
    sizes = [schedule.Buffer(held.name, held.granules * granule) for held in buffers]
    timeline = {held.name: schedule.Lifetime(*lives[held.name]) for held in buffers}
    plan = schedule.plan(sizes, [timeline])
    schedule.check(plan, sizes, [_steps(words, {held.name for held in buffers})], 0)
    return plan


def _steps(words: Sequence[Word], names: set[str]) -> list[schedule.Step]:
    """Words as the planner's checker sees them: the buffers of one region that each reads and writes."""
    steps = []
    for word in words:
        reads = tuple(dict.fromkeys(r.at.buffer.name for r in word.reads if r.at.buffer.name in names))
        writes = tuple(dict.fromkeys(r.at.buffer.name for r in word.writes if r.at.buffer.name in names))
        if reads or writes:
            steps.append(schedule.Step(reads, writes))
    return steps
