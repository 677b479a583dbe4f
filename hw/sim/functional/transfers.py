"""LOAD, STORE and STREAM: transfers between DRAM and the chip."""

from __future__ import annotations

import numpy as np

from edgemtl.hw.isa import LINE_BYTES, WINDOWS, Instruction
from edgemtl.hw.sim.functional.chip import Chip
from edgemtl.hw.sim.functional.faults import Fault, set_to_something
from edgemtl.hw.sim.functional.memory import Mask
from edgemtl.hw.sim.functional.routing import Entry


def load(chip: Chip, instruction: Instruction) -> None:
    """Execute a LOAD; bytes that a STORE left as padding stay padding."""
    set_to_something(instruction, "rows", "size")
    target, window = chip.region(instruction, "dst"), WINDOWS[instruction["window"]]
    size = instruction["size"] * target.granule
    at = target.rows_at(instruction["dst"], instruction["rows"], instruction["stride"], instruction["size"])
    data, written = chip.board.read(window, instruction["address"], instruction["step"], instruction["rows"], size)
    _check_granules(written, target.granule, f"window {window}")
    target.write(at, data, written)


def store(chip: Chip, instruction: Instruction) -> None:
    """Execute a STORE; padding of a row is not written to memory."""
    set_to_something(instruction, "rows", "size")
    source, window = chip.region(instruction, "src"), WINDOWS[instruction["window"]]
    chip.board.check_write(
        window, instruction["address"], instruction["step"], instruction["rows"], instruction["size"] * source.granule
    )
    at = source.rows_at(
        instruction["src"], instruction["rows"], instruction["stride"], instruction["size"], apart=False
    )
    data, written = source.read_loose(at)
    _check_granules(written, source.granule, source.name)
    chip.board.write(window, instruction["address"], instruction["step"], data, written)


def _check_granules(written: Mask, granule: int, name: str) -> None:
    """Raise Fault where nothing of a granule was ever written."""
    granules = written.reshape(len(written), -1, granule).any(2)
    if not granules.all():
        row, place = (int(part[0]) for part in np.nonzero(~granules))
        raise Fault(f"granules copied must have been written, and granule {place} of row {row} in {name} never was")


def stream(chip: Chip, instruction: Instruction, place: int) -> None:
    """Execute a STREAM, of the instruction at ``place``."""
    set_to_something(instruction, "lines")
    entry = chip.router.entry(instruction["slot"], queue=False) if instruction["slot"] else None
    if (instruction["slot"] and entry is None) or (instruction["cached"] and not _loads(instruction, entry)):
        return
    address = instruction["address"] + (0 if entry is None else entry.expert * instruction["stride"])
    if instruction["cached"] and entry is not None and instruction["lines"] > entry.lines:
        raise Fault(f"lines must be at most those of a place in the cache, {entry.lines}, not {instruction['lines']}")
    data = chip.board.read("parameters", address, 0, 1, instruction["lines"] * LINE_BYTES)[0]
    if instruction["cached"] and entry is not None and entry.line is not None:
        chip.cache.write(np.arange(instruction["lines"])[None] + entry.line, data)
    else:
        chip.ring.push(data[0], place)


def _loads(instruction: Instruction, entry: Entry | None) -> bool:
    """Whether a cached STREAM has anything to load."""
    if entry is None or entry.line is None:
        raise Fault("cached must be 0 where the slot's list is not in order of tokens, not 1")
    return entry.load


def lines_to_ring(chip: Chip, instruction: Instruction) -> int:
    """Lines of room that a STREAM needs in the ring before it can go on."""
    nothing = instruction["cached"] or (instruction["slot"] and chip.router.peek(instruction["slot"]) is None)
    return 0 if nothing else instruction["lines"]
