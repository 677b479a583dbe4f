"""LOAD, STORE and STREAM: what moves between the board's memory and the chip."""

from __future__ import annotations

import numpy as np

from edgemtl.hw.isa import LINE_BYTES, WINDOWS, Instruction
from edgemtl.hw.sim.functional.chip import Chip
from edgemtl.hw.sim.functional.faults import Fault, set_to_something
from edgemtl.hw.sim.functional.memory import Mask
from edgemtl.hw.sim.functional.routing import Entry


def load(chip: Chip, word: Instruction) -> None:
    """Execute a LOAD; bytes that a STORE left as padding stay padding."""
    set_to_something(word, "rows", "size")
    target, window = chip.region(word, "dst"), WINDOWS[word["window"]]
    size = word["size"] * target.granule
    at = target.rows_at(word["dst"], word["rows"], word["stride"], word["size"])
    data, written = chip.board.read(window, word["address"], word["step"], word["rows"], size)
    _check_granules(written, target.granule, f"window {window}")
    target.write(at, data, written)


def store(chip: Chip, word: Instruction) -> None:
    """Execute a STORE; padding of a row is not written to memory."""
    set_to_something(word, "rows", "size")
    source, window = chip.region(word, "src"), WINDOWS[word["window"]]
    chip.board.check_write(window, word["address"], word["step"], word["rows"], word["size"] * source.granule)
    at = source.rows_at(word["src"], word["rows"], word["stride"], word["size"], apart=False)
    data, written = source.read_loose(at)
    _check_granules(written, source.granule, source.name)
    chip.board.write(window, word["address"], word["step"], data, written)


def _check_granules(written: Mask, granule: int, name: str) -> None:
    """Raise Fault where nothing of a granule was ever written."""
    granules = written.reshape(len(written), -1, granule).any(2)
    if not granules.all():
        row, place = (int(part[0]) for part in np.nonzero(~granules))
        raise Fault(f"granules copied must have been written, and granule {place} of row {row} in {name} never was")


def stream(chip: Chip, word: Instruction, place: int) -> None:
    """Execute a STREAM, of the instruction at ``place``."""
    set_to_something(word, "lines")
    entry = chip.router.entry(word["slot"], queue=False) if word["slot"] else None
    if (word["slot"] and entry is None) or (word["cached"] and not _loads(word, entry)):
        return
    address = word["address"] + (0 if entry is None else entry.expert * word["stride"])
    if word["cached"] and entry is not None and word["lines"] > entry.lines:
        raise Fault(f"lines must be at most those of a place in the cache, {entry.lines}, not {word['lines']}")
    data = chip.board.read("parameters", address, 0, 1, word["lines"] * LINE_BYTES)[0]
    if word["cached"] and entry is not None and entry.line is not None:
        chip.cache.write(np.arange(word["lines"])[None] + entry.line, data)
    else:
        chip.ring.push(data[0], place)


def _loads(word: Instruction, entry: Entry | None) -> bool:
    """Whether a cached STREAM has anything to load."""
    if entry is None or entry.line is None:
        raise Fault("cached must be 0 where the slot's list is not in order of tokens, not 1")
    return entry.load


def lines_to_ring(chip: Chip, word: Instruction) -> int:
    """Lines of room that a STREAM needs in the ring before it can go on."""
    nothing = word["cached"] or (word["slot"] and chip.router.peek(word["slot"]) is None)
    return 0 if nothing else word["lines"]
