"""From frames to programs: what the data decides is decided here, before any time passes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from edgemtl.errors import IntegrityError
from edgemtl.hw.isa import LINE_BYTES, Instruction
from edgemtl.hw.sim.cycle.costs import COSTS, macs_of, on_chip_of
from edgemtl.hw.sim.cycle.frames import Frame, early_lists, routers
from edgemtl.hw.sim.cycle.lists import Entry, by_expert, by_token
from edgemtl.hw.sim.cycle.words import Moved, Program, Tiled, Word
from edgemtl.hw.sim.cycle.work import Place
from edgemtl.hw.spec import Engine

Lists = Sequence[tuple[int, tuple[Entry, ...]]]
"""Every list of a frame with the place of the ROUTE that makes it."""


def plan(frames: Sequence[Frame], engine: Engine) -> list[Program]:
    """Every frame as a program.

    Raises what `early_lists` raises, and IntegrityError for a region that is none and for a slot before every list.
    """
    made, head, ring = [], 0, None
    for number, frame in enumerate(frames):
        size = frame.stream.ring_lines
        # A ring of another size wraps elsewhere: its words wait until the lines of the old one are gone.
        program = _program(number, frame, engine, head, ring in (None, size))
        head += sum(word.work.release for word in program.words if isinstance(word.work, Tiled)) // LINE_BYTES
        ring = size
        made.append(program)
    return made


def _program(number: int, frame: Frame, engine: Engine, head: int, same_ring: bool) -> Program:
    lists = _lists(frame)
    words, macs = [], 0
    on_chip: Counter[str] = Counter()
    traffic: Counter[str] = Counter()
    for at, made in enumerate(frame.stream.instructions):
        place = _place(made, at, lists, head, frame.stream.ring_lines)
        work = COSTS[made.name].work(made, engine, place)
        ahead = made.unit == "weights" and same_ring
        waits, signals = tuple(sorted(made.waits)), tuple(sorted(made.signals))
        words.append(Word(number, at, made.name, made.unit, waits, signals, work, ahead))
        macs += macs_of(made, work)
        on_chip.update(on_chip_of(made, work, engine))
        if isinstance(work, Moved):
            traffic[work.kind] += work.size
        elif isinstance(work, Tiled):
            head += work.release // LINE_BYTES
    return Program(tuple(words), macs, on_chip, traffic)


def _lists(frame: Frame) -> Lists:
    made, early = routers(frame.stream), early_lists(frame)
    return [
        (at, by_token(choices, route["cache"]) if route["cache"] else by_expert(choices, first))
        for (at, route), choices, first in zip(made, frame.routes, early, strict=True)
    ]


def _place(made: Instruction, at: int, lists: Lists, head: int, ring: int) -> Place:
    """The list a slot means is that of the last ROUTE with `end` before the word in the stream."""
    slot = made.operands.get("slot", 0)
    if not slot:
        return Place(True, None, head, ring)
    before = [entries for place, entries in lists if place < at]
    if not before:
        raise IntegrityError(f"word {at} ({made.name}) has slot {slot} and must stand behind a ROUTE with end")
    entry = before[-1][slot - 1] if slot <= len(before[-1]) else None
    return Place(entry is not None, entry, head, ring)
