"""What every instruction must fulfil on an engine, whatever came before it; one function for each operation.

Encoder and decoder refuse what breaks a rule, so neither simulators nor hardware need to look.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from edgemtl.hw.arith import SHIFT_RANGE
from edgemtl.hw.geometry import lanes_of, score_granules, score_rows_lie_apart
from edgemtl.hw.isa import REGIONS, Instruction

if TYPE_CHECKING:
    from edgemtl.hw.spec import Engine

MOST_SUM: Final = 2**26
"""Sums of the array, with their bias, keep below this magnitude: one operand of one DSP48E2."""
MOST_EXPERTS: Final = 256
"""Experts of a layer, and entries of the router's list in order of experts."""
MOST_KEYS: Final = 2048
"""Keys of an attention: 255 * 127 * 2048 < 2^26."""
MOST_HEAD_BYTES: Final = (MOST_SUM - 1) // (128 * 127)
"""Channels of a head: a query's bytes reach -128, a key's 127."""
MOST_PIXELS: Final = 2**22
"""Pixels of a mean: 255 * 2^22 < 2^30."""
SUMS_A_LANE: Final = 64
"""Channels that a lane of the vector unit sums up in one mean."""
MOST_CLASSES: Final = 256
"""Channels that CLASSES compares: their index is a byte."""
LEAST_TOTAL: Final = 255
"""Least sum of a row's attention weights: that of the largest score is 255."""
Violations = Iterator[tuple[bool, str, str, object]]
"""What is refused where it does not hold: (does it hold, the operand, what it must be, what it is)."""


def violation(instruction: Instruction, engine: Engine) -> str:
    """Why ``engine`` cannot execute ``instruction``; empty where it can."""
    rule = RULES.get(instruction.name)
    for holds, name, must, value in rule(instruction, engine) if rule else ():
        if not holds:
            return f"{instruction.name}.{name} must be {must}, not {value}"
    return ""


def order_violation(instructions: Sequence[Instruction]) -> tuple[int, str] | None:
    """The first instruction that must not follow those before it, with the reason."""
    return min(filter(None, (_walk_violation(instructions), _mean_violation(instructions))), default=None)


def _mean_violation(instructions: Sequence[Instruction]) -> tuple[int, str] | None:
    """A MEAN that begins while sums are open, goes on with none or other channels, or counts too many pixels.

    The last one is blamed where sums are open at the end.
    """
    width, pixels, last = 0, 0, 0
    for index, instruction in enumerate(instructions):
        if instruction.name != "MEAN":
            continue
        begin, last = instruction["begin"], index
        if begin == bool(width):
            return (
                index,
                f"MEAN.begin must be {1 - begin}, since sums are {'open' if width else 'not open'}, not {begin}",
            )
        if not begin and instruction["width"] != width:
            return index, f"MEAN.width must be {width}, that of the sums it goes on with, not {instruction['width']}"
        pixels = instruction["rows"] + pixels * (1 - begin)
        if pixels > MOST_PIXELS:
            return index, f"MEAN.rows must add up to at most {MOST_PIXELS}, not {pixels}"
        width = 0 if instruction["end"] else instruction["width"]
    return (last, "MEAN.end must be 1 of the last one of a stream, not 0") if width else None


def _walk_violation(instructions: Sequence[Instruction]) -> tuple[int, str] | None:
    """The first instruction that goes back in a queue, with the reason: a unit walks each entry's queue from the front.

    Those that walk are COMBINE and, with `gather`, LINEAR. ROUTE with `end` writes another list.
    """
    skips: dict[tuple[str, int], int] = {}
    for index, instruction in enumerate(instructions):
        operands = instruction.operands
        if operands.get("end"):
            skips.clear()
        if operands.get("slot") and "skip" in operands and operands.get("gather", 1):
            queue = instruction.unit, operands["slot"]
            if operands["skip"] <= skips.get(queue, -1):
                must = f"must be above {skips[queue]}, that of the unit's instruction before with slot {queue[1]}"
                return index, f"{instruction.name}.skip {must}, not {operands['skip']}"
            skips[queue] = operands["skip"]
    return None


def mix_shifts(shift: int, keys: int) -> tuple[int, int]:
    """The least and the largest whole shift of MIX: the reciprocal of a sum of 255 .. 255 * keys brings an exponent."""
    return shift + LEAST_TOTAL.bit_length() - 1, shift + (255 * keys).bit_length() - 1


def norm_shifts(shift: int, width: int, epsilon: int, halvings: int = 0) -> tuple[int, int]:
    """The least and the largest whole shift of NORM, with at most so many ``halvings``.

    V of a row that is not constant lies between width - 1 + epsilon, as where one value is 1 and the rest are 0, and
    width^2 * 2^30 + epsilon; the root's exponent is (bits of V + 1) div 2 - 17. A constant row gives 0 by any shift.
    """
    low, high = ((value + epsilon).bit_length() for value in (width - 1, width**2 * 2**30))
    low, high = ((bits + 1) // 2 - 1 for bits in (low, high))
    return shift + low, shift + high + halvings


def in_shift_range(shifts: tuple[int, int]) -> bool:
    """Whether a whole shift always is one that the requantisation has, 12..43."""
    low, high = SHIFT_RANGE
    return low <= shifts[0] and shifts[1] <= high


def _scores(instruction: Instruction, engine: Engine) -> Violations:
    heads, k, stride = (instruction[name] for name in ("heads", "k", "dst_stride"))
    yield 1 <= heads <= 3, "heads", "in 1..3", heads
    if heads > 1:
        yield engine.segments % heads == 0, "heads", f"a divisor of the array's {engine.segments} chains", heads
        yield k == engine.array_rows, "k", f"the array's {engine.array_rows} rows for {heads} heads", k
    yield k <= heads * MOST_HEAD_BYTES, "k", f"at most {MOST_HEAD_BYTES} for each head", k
    yield _few_keys(instruction)
    lanes = lanes_of(engine, REGIONS[instruction["dst_region"]])
    must = f"such that the {heads} rows of a query begin in different ones of {lanes} lanes"
    yield score_rows_lie_apart(stride, heads, lanes, score_granules(engine)), "dst_stride", must, stride


def _few_keys(instruction: Instruction) -> tuple[bool, str, str, object]:
    return instruction["count"] <= MOST_KEYS, "count", f"at most {MOST_KEYS} keys", instruction["count"]


def _softmax(instruction: Instruction, _engine: Engine) -> Violations:
    yield _few_keys(instruction)


def _mix(instruction: Instruction, engine: Engine) -> Violations:
    yield _few_keys(instruction)
    lanes, stride = lanes_of(engine, REGIONS[instruction["values_region"]]), instruction["values_stride"]
    must = f"without a common divisor with {lanes}, the lanes that keys are read from at once"
    yield math.gcd(stride, lanes) == 1, "values_stride", must, stride
    shifts = mix_shifts(instruction["shift"], instruction["count"])
    yield in_shift_range(shifts), "shift", _whole_shift("that every row's exponent takes to"), _shown(shifts)


def _norm(instruction: Instruction, _engine: Engine) -> Violations:
    width, epsilon = instruction["width"], instruction["epsilon"]
    yield 1 <= width <= 1024, "width", "in 1..1024", width
    yield epsilon >= 1, "epsilon", "at least 1", epsilon
    shifts = norm_shifts(instruction["shift"], width, epsilon)
    yield in_shift_range(shifts), "shift", _whole_shift("that every row's exponent takes to"), _shown(shifts)


def _conv(instruction: Instruction, _engine: Engine) -> Violations:
    for name in ("kernel_height", "kernel_width", "stride", "dilation"):
        yield instruction[name] >= 1, name, "at least 1", instruction[name]


def _route(instruction: Instruction, engine: Engine) -> Violations:
    k, most = instruction["k"], engine.router_choices
    yield 1 <= k <= most, "k", f"in 1..{most}, the choices of a token that the router has", k
    early = instruction["early"]
    yield early <= MOST_EXPERTS, "early", f"at most {MOST_EXPERTS}", early


def _add(instruction: Instruction, _engine: Engine) -> Violations:
    yield 1 <= instruction["shift"] <= 29, "shift", "in 1..29", instruction["shift"]


def _mean(instruction: Instruction, engine: Engine) -> Violations:
    width, most = instruction["width"], mean_channels(engine)
    yield 1 <= width <= most, "width", f"in 1..{most}, the sums of the vector unit", width
    shift = instruction["shift"]
    yield in_shift_range((shift, shift)), "shift", "in {}..{}".format(*SHIFT_RANGE), shift


def _rescale(instruction: Instruction, _engine: Engine) -> Violations:
    shift, most = instruction["shift"], SHIFT_RANGE[1]
    yield 1 <= shift <= most, "shift", f"in 1..{most}", shift


def mean_channels(engine: Engine) -> int:
    """Channels that the vector unit sums up in one mean."""
    return SUMS_A_LANE * engine.vector_lanes


def _classes(instruction: Instruction, _engine: Engine) -> Violations:
    classes = instruction["classes"]
    yield 1 <= classes <= MOST_CLASSES, "classes", f"in 1..{MOST_CLASSES}", classes


def _whole_shift(what: str) -> str:
    low, high = SHIFT_RANGE
    return f"one {what} {low}..{high}"


def _shown(shifts: tuple[int, int]) -> str:
    return f"one that takes to {shifts[0]}..{shifts[1]}"


RULES: Final[Mapping[str, Callable[[Instruction, Engine], Violations]]] = MappingProxyType(
    {
        "CONV": _conv,
        "SCORES": _scores,
        "SOFTMAX": _softmax,
        "MIX": _mix,
        "NORM": _norm,
        "ADD": _add,
        "MEAN": _mean,
        "CLASSES": _classes,
        "RESCALE": _rescale,
        "ROUTE": _route,
    }
)
