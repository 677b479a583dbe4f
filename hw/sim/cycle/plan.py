"""From frames to programs: everything that depends on the data is decided here, before time starts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from edgemtl.errors import IntegrityError
from edgemtl.hw.isa import LINE_BYTES, Instruction
from edgemtl.hw.sim.cycle.costs import COSTS, macs_of, on_chip_of
from edgemtl.hw.sim.cycle.frames import Frame, early_lists, routers
from edgemtl.hw.sim.cycle.instructions import Moved, Program, ScheduledInstruction, Tiled
from edgemtl.hw.sim.cycle.lists import Entry, by_expert, by_token
from edgemtl.hw.sim.cycle.work import Place, links_of
from edgemtl.hw.spec import Engine

Lists = Sequence[tuple[int, tuple[Entry, ...]]]
"""Every router's list of a frame, with the index of the ROUTE that writes it."""


def plan(frames: Sequence[Frame], engine: Engine) -> list[Program]:
    """Every frame as a program.

    Raises what `early_lists` raises, and IntegrityError for a region that is none and for a slot before every list.
    """
    programs, head, ring = [], 0, None
    for number, frame in enumerate(frames):
        size = frame.stream.ring_lines
        # A ring of another size wraps elsewhere: its instructions wait until the lines of the old one have left.
        program = _program(number, frame, engine, head, ring in (None, size))
        works = (instruction.work for instruction in program.instructions)
        head += sum(work.release for work in works if isinstance(work, Tiled)) // LINE_BYTES
        ring = size
        programs.append(program)
    return programs


def _program(number: int, frame: Frame, engine: Engine, head: int, same_ring: bool) -> Program:
    lists = _lists(frame)
    instructions, macs = [], 0
    walked: dict[tuple[str, int], int] = {}
    on_chip: Counter[str] = Counter()
    traffic: Counter[str] = Counter()
    for at, instruction in enumerate(frame.stream.instructions):
        place = _place(instruction, at, lists, head, frame.stream.ring_lines)
        if instruction.operands.get("end"):
            walked.clear()
        queue = instruction.unit, instruction.operands.get("slot", 0)
        place = replace(place, walked=walked.get(queue, 0))
        walked[queue] = place.walked + links_of(instruction, place)
        work = COSTS[instruction.name].work(instruction, engine, place)
        ahead = instruction.unit == "weights" and same_ring
        waits, signals = tuple(sorted(instruction.waits)), tuple(sorted(instruction.signals))
        instructions.append(
            ScheduledInstruction(number, at, instruction.name, instruction.unit, waits, signals, work, ahead)
        )
        macs += macs_of(instruction, work)
        on_chip.update(on_chip_of(instruction, work, engine))
        if isinstance(work, Moved):
            traffic[work.kind] += work.size
        elif isinstance(work, Tiled):
            head += work.release // LINE_BYTES
    return Program(tuple(instructions), macs, on_chip, traffic)


def _lists(frame: Frame) -> Lists:
    routes, early = routers(frame.stream), early_lists(frame)
    return [
        (at, by_token(choices, route["cache"]) if route["cache"] else by_expert(choices, first))
        for (at, route), choices, first in zip(routes, frame.routes, early, strict=True)
    ]


def _place(instruction: Instruction, at: int, lists: Lists, head: int, ring: int) -> Place:
    """A slot is an index into the list of the last ROUTE with `end` before the instruction."""
    slot = instruction.operands.get("slot", 0)
    if not slot:
        return Place(True, None, head, ring)
    before = [entries for place, entries in lists if place < at]
    if not before:
        raise IntegrityError(f"word {at} ({instruction.name}) has slot {slot} and must stand behind a ROUTE with end")
    entry = before[-1][slot - 1] if slot <= len(before[-1]) else None
    return Place(entry is not None, entry, head, ring)
