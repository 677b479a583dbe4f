"""ROUTE: the k experts of each token, their weights, and the queues of the experts."""

from __future__ import annotations

from typing import Final

import numpy as np

from edgemtl.hw.arith import Wide, exp2_wide, reciprocal, requantise, round_shift
from edgemtl.hw.isa import LINE_BYTES, Instruction
from edgemtl.hw.sim.functional.chip import Chip
from edgemtl.hw.sim.functional.faults import Fault, in_range, set_to_something

MASK_BYTES: Final = 32
_LOGIT_SHIFT: Final = 4
"""From the 10 fraction bits of a logit to the 6 of an exponent."""


def route(chip: Chip, word: Instruction) -> None:
    """Append tokens to the queues, and make the list where ``end``."""
    in_range(word, experts=8 * MASK_BYTES)
    set_to_something(word, "rows")
    candidates, early = _parameters(chip, word)
    source = chip.region(word, "src")
    size = 2 * word["experts"]
    at = source.rows_at(word["src"], word["rows"], word["src_stride"], source.span(size), apart=False)
    logits = source.read(at, size).view("<i2").astype(np.int64)
    choices, weights = choose(logits, candidates, word)
    chip.router.append(bool(word["begin"]), word["token"], choices, weights)
    if word["end"]:
        _check_cache(chip, word)
        chip.router.finish(len(candidates), early, word["cache"], word["lines"])


def choose(logits: Wide, candidates: Wide, word: Instruction) -> tuple[Wide, Wide]:
    """Choices, by place among the candidates, and weights, int64 [tokens, k] each, of logits [tokens, experts]."""
    mine = logits[:, candidates]
    leader = (mine if word["normalize"] else logits).max(1, keepdims=True)
    share = exp2_wide(round_shift(np.maximum(leader - logits, 0), _LOGIT_SHIFT))
    choices = np.argsort(-mine, 1, kind="stable")[:, : word["k"]]
    chosen = np.take_along_axis(share[:, candidates], choices, 1)
    mantissa, exponent = reciprocal((chosen if word["normalize"] else share).sum(1, keepdims=True))
    weights = requantise(chosen, mantissa, exponent + 1)
    return choices, np.where(weights < word["threshold"], 0, weights)


def _parameters(chip: Chip, word: Instruction) -> tuple[Wide, list[int]]:
    """Candidates, ascending, and the early experts."""
    held = chip.constants(word, "from", MASK_BYTES + word["early"])
    candidates = np.nonzero(np.unpackbits(held[:MASK_BYTES], bitorder="little"))[0]
    early = [int(expert) for expert in held[MASK_BYTES:]]
    if not len(candidates) or candidates[-1] >= word["experts"]:
        raise Fault(f"candidates must be some of {word['experts']} experts, not {candidates.tolist()}")
    if not 1 <= word["k"] <= len(candidates):
        raise Fault(f"k must be in 1..{len(candidates)}, the number of candidates, not {word['k']}")
    if len({*early}) < len(early) or max(early, default=0) >= len(candidates):
        raise Fault(f"early experts must be different ones of {len(candidates)} candidates, not {early}")
    if early and word["cache"]:
        raise Fault(f"early must be 0 in order of tokens, not {word['early']}")
    return candidates, early


def _check_cache(chip: Chip, word: Instruction) -> None:
    if (needs := word["cache"] * word["lines"]) > chip.cache.granules:
        raise Fault(
            f"{word['cache']} places of {word['lines']} lines must fit the {chip.cache.granules} lines of the cache "
            f"of {LINE_BYTES} bytes, not need {needs}"
        )
