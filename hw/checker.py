"""What is proved of a stream before hardware runs it: it ends whatever the timing, and no counter overflows.

The proof is by stream order. If every credit is posted by an instruction that comes before its taker, and every
instruction has its room or its lines in the ring once those before it have ended, then the earliest instruction that
has not ended can always go on: no stream stands still, with queues of any length. Lines of missing entries are never
read, so they enter and leave the ring together or not at all.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np

from edgemtl.errors import IntegrityError
from edgemtl.hw.encoding import Stream
from edgemtl.hw.extents import extents, window_end
from edgemtl.hw.geometry import depth_of, weight_lines
from edgemtl.hw.isa import INT8_WEIGHTS, REGIONS, UNITS, Instruction
from edgemtl.hw.regions import ROW_STATES, capacities
from edgemtl.hw.rules import MOST_EXPERTS
from edgemtl.hw.spec import Engine

CREDIT_BITS: Final = 6
"""Of the counter between two units."""
MOST_CREDITS: Final = 2**CREDIT_BITS - 1

STATEFUL: Final = ("SCORES", "SOFTMAX", "MIX")
"""Instructions whose rows of scores have row state."""


def check_stream(stream: Stream, engine: Engine, windows: Mapping[str, int]) -> None:
    """Raise IntegrityError, with the instruction, for a stream that hardware must not run.

    windows: bytes of each window of DRAM, by name.
    """
    _check_order(stream.instructions)
    check_credits(stream.instructions)
    _check_ring(stream, engine)
    check_accesses(stream.instructions, engine, windows)


def check_accesses(instructions: Sequence[Instruction], engine: Engine, windows: Mapping[str, int]) -> None:
    """Raise IntegrityError for an instruction that may access what lies outside its region, window or row state.

    Of a STREAM with a slot it takes as many experts as the stream has slots for. Which of them it reads the router
    decides, so whoever executes it must look at the address as well.
    """
    sizes = {name: size // engine.array_columns for name, size in capacities(engine).items()}
    experts = _experts_of_lists(instructions)
    tokens = 0
    for place, instruction in enumerate(instructions):
        if instruction.name == "ROUTE":
            tokens = instruction["token"] + instruction["rows"]
        for name, last in extents(instruction, engine.array_columns, tokens).items():
            region = REGIONS[instruction[f"{name}_region"]]
            if last >= sizes[region]:
                _fail(
                    place, instruction, f"{name} must lie in the {sizes[region]} granules of {region}, not reach {last}"
                )
        rows = instruction["rows"] * instruction.operands.get("heads", 1) if instruction.name in STATEFUL else 0
        if rows > ROW_STATES:
            _fail(place, instruction, f"rows of scores must be at most {ROW_STATES}, not {rows}")
        window, end = window_end(instruction, engine.array_columns, experts[place]) or ("parameters", 0)
        if end > windows[window]:
            _fail(place, instruction, f"it must end in the {windows[window]} bytes of window {window}, not at {end}")


def _experts_of_lists(instructions: Sequence[Instruction]) -> list[int]:
    """For each instruction, the largest slot of the router's list at that place."""
    largest, by_place = 0, []
    for instruction in reversed(instructions):
        largest = max(largest, instruction.operands.get("slot", 0))
        by_place.append(largest)
        if instruction.operands.get("end"):
            largest = 0
    forward, current = [], 0
    for instruction, slots in zip(instructions, reversed(by_place), strict=True):
        forward.append(current)
        if instruction.operands.get("end"):
            current = slots
    return forward


def is_token_order(stream: Stream) -> bool:
    """Whether the router writes a list in order of tokens, which simulators alone can follow."""
    return any(instruction.name == "ROUTE" and instruction["cache"] for instruction in stream.instructions)


def _fail(place: int, instruction: Instruction, why: str) -> None:
    raise IntegrityError(f"instruction {place} ({instruction.name}): {why}; compile the stream again")


def _check_order(instructions: Sequence[Instruction]) -> None:
    """Token order is for simulators alone; a STREAM that may run ahead of its frame posts no credit there."""
    ahead = True
    for place, instruction in enumerate(instructions):
        for name in ("cache", "cached"):
            if instruction.operands.get(name):
                _fail(place, instruction, f"{name} must be 0: hardware has no token order, it is for simulators")
        if instruction.operands.get("slot", 0) > MOST_EXPERTS:
            _fail(place, instruction, f"slot must be at most {MOST_EXPERTS}, not {instruction['slot']}")
        ahead = ahead and not (instruction.unit == "weights" and instruction.waits)
        if instruction.unit == "weights" and instruction.signals and ahead:
            _fail(place, instruction, "it must signal no unit, since it may run before its frame has begun")


def check_credits(instructions: Sequence[Instruction]) -> dict[tuple[str, str], int]:
    """The most credits that each counter, by poster and taker, can hold.

    Raises IntegrityError for a credit that is taken before it is posted in stream order or never, and for a counter
    that may exceed `MOST_CREDITS`.
    """
    posts: dict[tuple[str, str], list[int]] = {(a, b): [] for a in UNITS for b in UNITS}
    takers: dict[tuple[str, str], list[int]] = {(a, b): [] for a in UNITS for b in UNITS}
    clocks = np.zeros((len(instructions), len(UNITS)), np.int64)
    last, most = dict.fromkeys(UNITS, np.zeros(len(UNITS), np.int64)), dict.fromkeys(posts, 0)
    for place, instruction in enumerate(instructions):
        unit = instruction.unit
        clock = last[unit].copy()
        for poster in instruction.waits:
            pair = poster, unit
            if len(takers[pair]) == len(posts[pair]):
                _fail(place, instruction, f"a credit of {poster} must be posted before it in the stream, and none is")
            clock = np.maximum(clock, clocks[posts[pair][len(takers[pair])]])
            takers[pair].append(place)
        clock[UNITS.index(unit)] = place + 1
        clocks[place] = last[unit] = clock
        for taker in instruction.signals:
            pair = unit, taker
            posts[pair].append(place)
            taken = int(np.searchsorted(takers[pair], clock[UNITS.index(taker)]))
            most[pair] = max(most[pair], len(posts[pair]) - taken)
            if most[pair] > MOST_CREDITS:
                must = f"credits for {taker} must be at most {MOST_CREDITS} at a time, and may be {most[pair]}"
                _fail(place, instruction, must)
    for pair, posted in posts.items():
        if len(posted) > len(takers[pair]):
            place = posted[len(takers[pair])]
            _fail(place, instructions[place], f"its credit must be taken by {pair[1]} before END, and is not")
    return most


class _Ring:
    """Lines in the ring in stream order: those always there, and those of entries that the list may lack."""

    def __init__(self) -> None:
        self.always = 0
        self.by_slot: dict[int, int] = {}
        self.early: int | None = None

    def most(self) -> int:
        """Lines where every entry is there."""
        return self.always + sum(self.by_slot.values())

    def least(self, slot: int) -> int:
        """Lines in front of those of later entries, where the list ends with this one; slot 0 is always there."""
        return self.always + sum(lines for of, lines in self.by_slot.items() if of <= slot)

    def add(self, slot: int, lines: int) -> None:
        """Lines enter, or leave where negative."""
        if slot <= (self.early or 0):
            self.always += lines
        else:
            self.by_slot[slot] = self.by_slot.get(slot, 0) + lines
            if not self.by_slot[slot]:
                del self.by_slot[slot]


def _check_ring(stream: Stream, engine: Engine) -> None:
    """Room for what enters, lines for what is read and released, nothing left; for lists of any length."""
    ring = _Ring()
    for place, instruction in enumerate(stream.instructions):
        slot = instruction.operands.get("slot", 0)
        if slot and ring.early is None:
            _fail(place, instruction, "a slot must stand behind a ROUTE with end")
        if instruction.name == "ROUTE" and instruction["end"]:
            if ring.by_slot:
                _fail(place, instruction, f"weights of slots {sorted(ring.by_slot)} must have left the ring before it")
            ring.early = instruction["early"]
        elif instruction.name == "STREAM":
            ring.add(slot, instruction["lines"])
            if ring.most() > stream.ring_lines:
                _fail(place, instruction, f"the ring must hold {ring.most()} lines, and has {stream.ring_lines}")
        elif instruction.name in ("LINEAR", "CONV"):
            _check_read(place, instruction, ring, engine)
            ring.add(slot, -instruction["release"])
    if left := ring.most():
        raise IntegrityError(f"the ring must be empty at END, and holds {left} lines; compile the stream again")


def _check_read(place: int, instruction: Instruction, ring: _Ring, engine: Engine) -> None:
    slot, release = instruction.operands.get("slot", 0), instruction["release"]
    how = instruction["table"], instruction.operands.get("format", INT8_WEIGHTS)
    lines = weight_lines(engine.array_columns, depth_of(instruction), instruction["n"], *how)
    needed, there = max(instruction["offset"] + lines, release), ring.least(slot)
    if needed > there:
        _fail(place, instruction, f"the ring must hold the {needed} lines it needs, and may hold {there}")
    own = ring.always if slot <= (ring.early or 0) else ring.by_slot.get(slot, 0)
    if release > own:
        _fail(place, instruction, f"it must release lines of its own entry, {own}, not {release}")
