"""LINEAR: rows times weights from the ring or the cache; with a slot, the rows of an expert's queue."""

from __future__ import annotations

import numpy as np

from edgemtl.hw.geometry import weight_lines
from edgemtl.hw.isa import CODED_WEIGHTS, LINE_BYTES, Instruction
from edgemtl.hw.sim.functional.chip import Chip
from edgemtl.hw.sim.functional.faults import Fault, in_range, set_to_something
from edgemtl.hw.sim.functional.memory import Bytes, Mask
from edgemtl.hw.sim.functional.products import finish, product, unpack_coded, unpack_weights
from edgemtl.hw.sim.functional.routing import Entry


def linear(chip: Chip, instruction: Instruction) -> None:
    """Execute a LINEAR. Raises Fault for operands the machine cannot follow."""
    in_range(instruction, rows=chip.engine.accumulator_rows)
    set_to_something(instruction, "k", "n")
    _check_flags(instruction)
    entry = chip.router.entry(instruction["slot"]) if instruction["slot"] else None
    if instruction["slot"] and entry is None:
        return
    rows = rows_of_block(instruction, entry)
    if rows:
        _make(chip, instruction, entry, rows)
    chip.ring.release(instruction["release"])


def rows_of_block(instruction: Instruction, entry: Entry | None) -> int:
    """Rows of a block: those the queue still has, or all where there is no entry."""
    if entry is None:
        return instruction["rows"]
    return min(max(len(entry.tokens) - instruction["skip"], 0), instruction["rows"])


def block_of(instruction: Instruction, entry: Entry, rows: int) -> slice:
    """The block's rows in the queue."""
    first = instruction["skip"]
    return slice(first, first + rows)


def _check_flags(instruction: Instruction) -> None:
    for name in ("gather", "cached", "skip"):
        if instruction[name] and not instruction["slot"]:
            raise Fault(f"{name} must be 0 without a slot, not {instruction[name]}")
    if instruction["cached"] and instruction["release"]:
        raise Fault(f"release must be 0 where weights are in the cache, not {instruction['release']}")
    if instruction["residual"] and not instruction["wide"]:
        raise Fault("residual must be 0 where results are bytes, not 1")
    if instruction["wide"] and instruction["table"]:
        raise Fault("table must be 0 where results are 16 bits, not 1")


def _make(chip: Chip, instruction: Instruction, entry: Entry | None, rows: int) -> None:
    source, target = chip.region(instruction, "src"), chip.region(instruction, "dst")
    which = entry.tokens[block_of(instruction, entry, rows)] if entry is not None and instruction["gather"] else rows
    at = source.rows_at(
        instruction["src"], which, instruction["src_stride"], source.span(instruction["k"]), apart=False
    )
    x = source.read(at, instruction["k"]).view(np.int8)
    unpack = unpack_coded if instruction["format"] == CODED_WEIGHTS else unpack_weights
    data = _weights(chip, instruction, entry)
    weights = unpack(data, chip.engine, instruction["k"], instruction["n"], instruction["table"])
    tiles, span = -(-instruction["n"] // chip.columns), 1 + instruction["wide"]
    out = target.tiles_at(instruction["dst"], rows, instruction["dst_stride"], tiles, instruction["dst_tile"], span)
    added, known = _residual(chip, instruction, rows) if instruction["residual"] else (None, None)
    results = finish(product(x, weights.w), weights, instruction, None if added is None else added.view("<i2"))
    target.write(out, results, known, apart=True)


def _residual(chip: Chip, instruction: Instruction, rows: int) -> tuple[Bytes, Mask]:
    """The rows at `add`, [rows, 2 N]; columns beyond n may never have been written."""
    memory, tiles = chip.region(instruction, "add"), -(-instruction["n"] // chip.columns)
    at = memory.tiles_at(instruction["add"], rows, instruction["dst_stride"], tiles, instruction["dst_tile"], 2)
    # In place each element is read just before it is written.
    in_place = all(instruction[f"add{part}"] == instruction[f"dst{part}"] for part in ("", "_region"))
    data, written = memory.read_loose(at, record=not in_place)
    memory.check_written(at, written, 2 * instruction["n"])
    return data, written


def _weights(chip: Chip, instruction: Instruction, entry: Entry | None) -> Bytes:
    how = instruction["table"], instruction["format"]
    lines = weight_lines(chip.columns, instruction["k"], instruction["n"], *how)
    if entry is None or not instruction["cached"]:
        return chip.ring.read(instruction["offset"], lines)
    if entry.line is None or instruction["offset"] + lines > entry.lines:
        has = "none" if entry.line is None else f"{entry.lines} lines"
        raise Fault(f"weights of an entry must lie in its place in the cache, which has {has}, not need {lines}")
    at = np.arange(lines)[None] + entry.line + instruction["offset"]
    return np.asarray(chip.cache.read(at, lines * LINE_BYTES)[0])
