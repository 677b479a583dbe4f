"""SCORES, SOFTMAX and MIX: attention of a block of queries."""

from __future__ import annotations

import numpy as np

from edgemtl.hw.arith import (
    INT8,
    INT16,
    exp2_byte,
    reciprocal,
    requantise,
    round_shift,
    saturate,
    scale_mantissa,
)
from edgemtl.hw.isa import Instruction
from edgemtl.hw.sim.functional.chip import Chip
from edgemtl.hw.sim.functional.faults import Fault, in_range, set_to_something
from edgemtl.hw.sim.functional.memory import as_bytes
from edgemtl.hw.sim.functional.products import check_sums, product
from edgemtl.hw.sim.functional.rowstate import LARGEST, RECIPROCAL


def scores(chip: Chip, word: Instruction) -> None:
    """Execute a SCORES. Raises Fault for operands the machine cannot follow."""
    in_range(word, rows=chip.engine.accumulator_rows, heads=3, shift=62)
    set_to_something(word, "k", "count")
    k, heads, rows, count = (word[name] for name in ("k", "heads", "rows", "count"))
    if heads > 1 and (k != chip.rows or k % heads):
        raise Fault(f"k of {heads} heads must be the array's {chip.rows} rows and divide by {heads}, not {k}")
    source, keys, target = (chip.region(word, name) for name in ("src", "keys", "dst"))
    at = target.rows_at(word["dst"], rows * heads, word["dst_stride"], target.span(2 * count))
    keys_at = keys.rows_at(word["keys"], count, word["keys_stride"], keys.span(k))
    q = source.read(source.rows_at(word["src"], rows, word["src_stride"], source.span(k), apart=False), k).view(np.int8)
    t = keys.read(keys_at, k).view(np.int8)
    by_head = product(q.reshape(rows, heads, -1).swapaxes(0, 1), t.reshape(count, heads, -1).transpose(1, 2, 0))
    sums = check_sums(by_head).swapaxes(0, 1).reshape(rows * heads, count)
    made = saturate(round_shift(sums, word["shift"]), *INT16)
    target.write(at, as_bytes(made.astype("<i2")), apart=True)
    chip.state(word, "dst").put(LARGEST, made.max(1))


def softmax(chip: Chip, word: Instruction) -> None:
    """Execute a SOFTMAX, in place."""
    set_to_something(word, "rows", "count")
    memory, state, rows = chip.region(word, "src"), chip.state(word, "src"), word["rows"]
    size = 2 * word["count"]
    at = memory.rows_at(word["src"], rows, word["stride"], memory.span(size))
    held = memory.read(at, size).view("<i2").astype(np.int64)
    distance = state.get(LARGEST, np.arange(rows))[0][:, None] - held
    if distance.min() < 0:
        raise Fault(f"scores must be at most the largest of their row, and one is {-distance.min()} above it")
    weights = exp2_byte(distance)
    total = weights.sum(1)
    if total.min() < 1:
        raise Fault(f"the weights of row {total.argmin()} must sum to at least 1, not 0")
    memory.write(at[:, : memory.span(word["count"])], as_bytes(weights.astype(np.uint8)))
    state.put(RECIPROCAL, *reciprocal(total))


def mix(chip: Chip, word: Instruction) -> None:
    """Execute a MIX. Raises Fault for operands the machine cannot follow."""
    in_range(word, rows=chip.engine.accumulator_rows, heads=3)
    set_to_something(word, "count", "n")
    rows, count, n = word["rows"], word["count"], word["n"]
    if word["head"] >= word["heads"]:
        raise Fault(f"head must be below the {word['heads']} heads, not {word['head']}")
    source, values, target = (chip.region(word, name) for name in ("src", "values", "dst"))
    weights = source.read(source.rows_at(word["src"], rows, word["src_stride"], source.span(count), apart=False), count)
    at = values.tiles_at(word["values"], count, word["values_stride"], values.span(n), word["values_tile"], 1)
    sums = check_sums(product(weights, values.read(at, n).view(np.int8)))
    state = np.arange(rows) * word["heads"] + word["head"]
    mantissa, exponent = (part[:, None] for part in chip.state(word, "src").get(RECIPROCAL, state))
    shift = exponent + word["shift"] - 1
    if shift.min() < 1 or shift.max() > 62:
        raise Fault(f"shift with a row's exponent must be in 1..62, not {shift.min()}..{shift.max()}")
    made = saturate(requantise(sums, scale_mantissa(mantissa, word["mul"]), shift), *INT8).astype(np.int8)
    target.write(target.rows_at(word["dst"], rows, word["dst_stride"], target.span(n)), as_bytes(made), apart=True)
