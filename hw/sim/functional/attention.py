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
from edgemtl.hw.geometry import head_bytes
from edgemtl.hw.isa import Instruction
from edgemtl.hw.sim.functional.chip import Chip
from edgemtl.hw.sim.functional.faults import Fault, in_range, set_to_something
from edgemtl.hw.sim.functional.memory import as_bytes
from edgemtl.hw.sim.functional.products import check_shifts, check_sums, product
from edgemtl.hw.sim.functional.rowstate import LARGEST, RECIPROCAL


def scores(chip: Chip, instruction: Instruction) -> None:
    """Execute a SCORES. Raises Fault for operands the machine cannot follow."""
    in_range(instruction, rows=chip.engine.accumulator_rows, heads=3, shift=62)
    set_to_something(instruction, "k", "count")
    k, heads, rows, count = (instruction[name] for name in ("k", "heads", "rows", "count"))
    source, keys, target = (chip.region(instruction, name) for name in ("src", "keys", "dst"))
    at = target.rows_at(instruction["dst"], rows * heads, instruction["dst_stride"], target.span(2 * count))
    keys_at = keys.rows_at(instruction["keys"], count, instruction["keys_stride"], keys.span(k))
    q = source.read(
        source.rows_at(instruction["src"], rows, instruction["src_stride"], source.span(k), apart=False), k
    ).view(np.int8)
    t = keys.read(keys_at, k).view(np.int8)
    of_head = head_bytes(chip.rows, heads) if heads > 1 else np.arange(k)[None]
    by_head = product(q[:, of_head].swapaxes(0, 1), t[:, of_head].transpose(1, 2, 0))
    sums = check_sums(by_head).swapaxes(0, 1).reshape(rows * heads, count)
    results = saturate(round_shift(sums, instruction["shift"]), *INT16)
    target.write(at, as_bytes(results.astype("<i2")), apart=True)
    chip.state(instruction, "dst").put(LARGEST, results.max(1))


def softmax(chip: Chip, instruction: Instruction) -> None:
    """Execute a SOFTMAX, in place."""
    set_to_something(instruction, "rows", "count")
    memory, state, rows = chip.region(instruction, "src"), chip.state(instruction, "src"), instruction["rows"]
    size = 2 * instruction["count"]
    at = memory.rows_at(instruction["src"], rows, instruction["stride"], memory.span(size))
    scores = memory.read(at, size).view("<i2").astype(np.int64)
    distance = state.get(LARGEST, np.arange(rows))[0][:, None] - scores
    if distance.min() < 0:
        raise Fault(f"scores must be at most the largest of their row, and one is {-distance.min()} above it")
    weights = exp2_byte(distance)
    total = weights.sum(1)
    if total.min() < 1:
        raise Fault(f"the weights of row {total.argmin()} must sum to at least 1, not 0")
    memory.write(at[:, : memory.span(instruction["count"])], as_bytes(weights.astype(np.uint8)))
    state.put(RECIPROCAL, *reciprocal(total))


def mix(chip: Chip, instruction: Instruction) -> None:
    """Execute a MIX. Raises Fault for operands the machine cannot follow."""
    in_range(instruction, rows=chip.engine.accumulator_rows, heads=3)
    set_to_something(instruction, "count", "n")
    rows, count, n = instruction["rows"], instruction["count"], instruction["n"]
    if instruction["head"] >= instruction["heads"]:
        raise Fault(f"head must be below the {instruction['heads']} heads, not {instruction['head']}")
    source, values, target = (chip.region(instruction, name) for name in ("src", "values", "dst"))
    weights = source.read(
        source.rows_at(instruction["src"], rows, instruction["src_stride"], source.span(count), apart=False), count
    )
    at = values.tiles_at(
        instruction["values"], count, instruction["values_stride"], values.span(n), instruction["values_tile"], 1
    )
    sums = check_sums(product(weights, values.read(at, n).view(np.int8)))
    state = np.arange(rows) * instruction["heads"] + instruction["head"]
    mantissa, exponent = (part[:, None] for part in chip.state(instruction, "src").get(RECIPROCAL, state))
    shift = exponent + instruction["shift"] - 1
    check_shifts(shift, "shift with a row's exponent")
    results = saturate(requantise(sums, scale_mantissa(mantissa, instruction["mul"]), shift), *INT8).astype(np.int8)
    target.write(
        target.rows_at(instruction["dst"], rows, instruction["dst_stride"], target.span(n)),
        as_bytes(results),
        apart=True,
    )
