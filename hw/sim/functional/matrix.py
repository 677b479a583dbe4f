"""LINEAR: rows times weights of the ring or of the cache, with a slot rows of an expert's queue."""

from __future__ import annotations

import numpy as np

from edgemtl.hw.isa import LINE_BYTES, Instruction
from edgemtl.hw.sim.functional.chip import Chip
from edgemtl.hw.sim.functional.faults import Fault, in_range, set_to_something
from edgemtl.hw.sim.functional.memory import Bytes, Mask
from edgemtl.hw.sim.functional.products import finish, product, unpack_weights, weight_lines
from edgemtl.hw.sim.functional.routing import Entry


def linear(chip: Chip, word: Instruction) -> None:
    """Execute a LINEAR. Raises Fault for operands the machine cannot follow."""
    in_range(word, rows=chip.engine.accumulator_rows)
    set_to_something(word, "k", "n")
    _check_flags(word)
    entry = chip.router.entry(word["slot"]) if word["slot"] else None
    if word["slot"] and entry is None:
        return
    rows = rows_made(word, entry)
    if rows:
        _make(chip, word, entry, rows)
    chip.ring.release(word["release"])


def rows_made(word: Instruction, entry: Entry | None) -> int:
    """Rows of a block: what the queue has left of it, or all where there is no entry."""
    if entry is None:
        return word["rows"]
    return min(max(len(entry.tokens) - word["skip"], 0), word["rows"])


def block_of(word: Instruction, entry: Entry, rows: int) -> slice:
    """The places of the block's rows in the queue."""
    first = word["skip"]
    return slice(first, first + rows)


def _check_flags(word: Instruction) -> None:
    for name in ("gather", "cached", "skip"):
        if word[name] and not word["slot"]:
            raise Fault(f"{name} must be 0 without a slot, not {word[name]}")
    if word["cached"] and word["release"]:
        raise Fault(f"release must be 0 where weights are in the cache, not {word['release']}")
    if word["residual"] and not word["wide"]:
        raise Fault("residual must be 0 where results are bytes, not 1")
    if word["wide"] and word["table"]:
        raise Fault("table must be 0 where results are 16 bits, not 1")


def _make(chip: Chip, word: Instruction, entry: Entry | None, rows: int) -> None:
    source, target = chip.region(word, "src"), chip.region(word, "dst")
    which = entry.tokens[block_of(word, entry, rows)] if entry is not None and word["gather"] else rows
    at = source.rows_at(word["src"], which, word["src_stride"], source.span(word["k"]), apart=False)
    x = source.read(at, word["k"]).view(np.int8)
    held = unpack_weights(_weights(chip, word, entry), chip.columns, word["k"], word["n"], word["table"])
    tiles, span = -(-word["n"] // chip.columns), 1 + word["wide"]
    out = target.tiles_at(word["dst"], rows, word["dst_stride"], tiles, word["dst_tile"], span)
    added, known = _residual(chip, word, rows) if word["residual"] else (None, None)
    made = finish(product(x, held.w), held, word, None if added is None else added.view("<i2"))
    target.write(out, made, known, apart=True)


def _residual(chip: Chip, word: Instruction, rows: int) -> tuple[Bytes, Mask]:
    """The rows at `add`, [rows, 2 N]; columns beyond n may never have been written."""
    memory, tiles = chip.region(word, "add"), -(-word["n"] // chip.columns)
    at = memory.tiles_at(word["add"], rows, word["dst_stride"], tiles, word["dst_tile"], 2)
    # In place each element is read just before it is written.
    in_place = all(word[f"add{part}"] == word[f"dst{part}"] for part in ("", "_region"))
    data, written = memory.read_loose(at, record=not in_place)
    memory.check_written(at, written, 2 * word["n"])
    return data, written


def _weights(chip: Chip, word: Instruction, entry: Entry | None) -> Bytes:
    lines = weight_lines(chip.columns, word["k"], word["n"], word["table"])
    if entry is None or not word["cached"]:
        return chip.ring.read(word["offset"], lines)
    if entry.line is None or word["offset"] + lines > entry.lines:
        has = "none" if entry.line is None else f"{entry.lines} lines"
        raise Fault(f"weights of an entry must lie in its place in the cache, which has {has}, not need {lines}")
    at = np.arange(lines)[None] + entry.line + word["offset"]
    return np.asarray(chip.cache.read(at, lines * LINE_BYTES)[0])
