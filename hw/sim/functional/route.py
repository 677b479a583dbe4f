"""ROUTE: the k experts of each token, their weights, and the queues of the experts."""

from __future__ import annotations

from typing import Final

import numpy as np

from edgemtl.hw.arith import Wide, exp2_wide, reciprocal, requantise, round_shift
from edgemtl.hw.extents import MASK_BYTES
from edgemtl.hw.isa import LINE_BYTES, Instruction
from edgemtl.hw.sim.functional.chip import Chip
from edgemtl.hw.sim.functional.faults import Fault, in_range, set_to_something

_LOGIT_SHIFT: Final = 4
"""From the 10 fraction bits of a logit to the 6 of an exponent."""


def route(chip: Chip, instruction: Instruction) -> None:
    """Append tokens to the queues, and make the list where ``end``."""
    in_range(instruction, experts=8 * MASK_BYTES)
    set_to_something(instruction, "rows")
    candidates, early = _parameters(chip, instruction)
    source = chip.region(instruction, "src")
    size = 2 * instruction["experts"]
    at = source.rows_at(
        instruction["src"], instruction["rows"], instruction["src_stride"], source.span(size), apart=False
    )
    logits = source.read(at, size).view("<i2").astype(np.int64)
    choices, weights = choose(logits, candidates, instruction)
    chip.router.append(bool(instruction["begin"]), instruction["token"], choices, weights)
    if instruction["end"]:
        _check_cache(chip, instruction)
        chip.router.finish(len(candidates), early, instruction["cache"], instruction["lines"])


def choose(logits: Wide, candidates: Wide, instruction: Instruction) -> tuple[Wide, Wide]:
    """Choices, by place among the candidates, and weights, int64 [tokens, k] each, of logits [tokens, experts]."""
    mine = logits[:, candidates]
    leader = (mine if instruction["normalize"] else logits).max(1, keepdims=True)
    share = exp2_wide(round_shift(np.maximum(leader - logits, 0), _LOGIT_SHIFT - instruction["coarse"]))
    choices = np.argsort(-mine, 1, kind="stable")[:, : instruction["k"]]
    chosen = np.take_along_axis(share[:, candidates], choices, 1)
    mantissa, exponent = reciprocal((chosen if instruction["normalize"] else share).sum(1, keepdims=True))
    weights = requantise(chosen, mantissa, exponent + 1)
    return choices, np.where(weights < instruction["threshold"], 0, weights)


def _parameters(chip: Chip, instruction: Instruction) -> tuple[Wide, list[int]]:
    """Candidates, ascending, and the early experts."""
    constants = chip.constants(instruction, "from", MASK_BYTES + instruction["early"])
    candidates = np.nonzero(np.unpackbits(constants[:MASK_BYTES], bitorder="little"))[0]
    early = [int(expert) for expert in constants[MASK_BYTES:]]
    if not len(candidates) or candidates[-1] >= instruction["experts"]:
        raise Fault(f"candidates must be some of {instruction['experts']} experts, not {candidates.tolist()}")
    if not 1 <= instruction["k"] <= len(candidates):
        raise Fault(f"k must be in 1..{len(candidates)}, the number of candidates, not {instruction['k']}")
    if len({*early}) < len(early) or max(early, default=0) >= len(candidates):
        raise Fault(f"early experts must be different ones of {len(candidates)} candidates, not {early}")
    if early and instruction["cache"]:
        raise Fault(f"early must be 0 in order of tokens, not {instruction['early']}")
    return candidates, early


def _check_cache(chip: Chip, instruction: Instruction) -> None:
    if (needs := instruction["cache"] * instruction["lines"]) > chip.cache.granules:
        raise Fault(
            f"{instruction['cache']} places of {instruction['lines']} lines must fit the {chip.cache.granules} lines "
            f"of the cache of {LINE_BYTES} bytes, not need {needs}"
        )
