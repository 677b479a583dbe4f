"""Tokens and logits that show where a region departs from a mixture of experts.

Logits are multiples of a power of two: two of a token are equal, or differ by more than float32's rounding.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

CERTAIN = 30.0
"""A logit this far above the others gives its expert all of the weight in float32."""
PREFERRED = 8.0
"""A logit this far above the others wins, and leaves them some weight."""
FINE, COARSE = 2.0**-14, 2.0**-10
"""Multiples that logits are rounded to."""
MAX_SKEWED = 64
"""Trials in which few experts get all tokens."""


@dataclass(frozen=True)
class Trial:
    """Tokens x [T, D] and logits [T, E]; `what` completes "differs for ..."."""

    what: str
    x: np.ndarray
    logits: np.ndarray


@dataclass(frozen=True)
class Sizes:
    """Tokens, their width, columns of the logits and experts a token."""

    tokens: int
    dim: int
    columns: int
    k: int


def draw_trials(sizes: Sizes) -> Iterator[Trial]:
    """The same trials every time, for all tokens at once."""
    rng = np.random.default_rng(1)
    yield balanced(sizes, rng)
    yield from _odd(sizes, rng)
    yield from _skewed(sizes, rng)


def balanced(sizes: Sizes, rng: np.random.Generator) -> Trial:
    """Logits that prefer no expert."""
    return Trial("balanced logits", _tokens(sizes, rng), _logits(sizes, rng))


def _odd(sizes: Sizes, rng: np.random.Generator) -> Iterator[Trial]:
    shape = sizes.tokens, sizes.columns
    yield Trial("tokens of large and small magnitude", _uneven_tokens(sizes, rng), _logits(sizes, rng))
    yield Trial("equal logits", _tokens(sizes, rng), np.zeros(shape, np.float32))
    yield Trial("tied logits", _tokens(sizes, rng), rng.integers(0, 3, shape).astype(np.float32))
    ranks = rng.permuted(np.tile(np.arange(shape[1]), (shape[0], 1)), axis=1)
    yield Trial("nearly tied logits", _tokens(sizes, rng), (FINE * ranks).astype(np.float32))
    yield Trial("large logits", _uneven_tokens(sizes, rng), rng.integers(-300, 301, shape).astype(np.float32))
    for offset in (-50, 50):
        yield Trial(f"logits around {offset}", _tokens(sizes, rng), _logits(sizes, rng) + np.float32(offset))
    x = _tokens(sizes, rng)
    gate = rng.standard_normal((sizes.dim, sizes.columns)) * (3 / sizes.dim**0.5)
    yield Trial("logits that follow from the tokens", x, _rounded(x @ gate))


def _skewed(sizes: Sizes, rng: np.random.Generator) -> Iterator[Trial]:
    """All tokens choose the same experts; over all trials every token chooses every expert, if experts are not many."""
    starts = list(range(0, sizes.columns, sizes.k))
    together = -(-len(starts) // MAX_SKEWED)
    for first in range(0, len(starts), together):
        logits = _logits(sizes, rng)
        groups = starts[first : first + together]
        for start, rows in zip(groups, np.array_split(np.arange(sizes.tokens), len(groups)), strict=True):
            logits[rows[:, None], (start + np.arange(sizes.k)) % sizes.columns] += np.float32(PREFERRED)
        yield Trial("tokens that choose the same experts", _uneven_tokens(sizes, rng), logits)


def certain_trials(sizes: Sizes, magnitude: float, repeats: int) -> Iterator[tuple[Trial, int]]:
    """Trials that ask for one expert at a time, each column `repeats` times in turn; and the rows that ask."""
    rng = np.random.default_rng(0)
    columns = np.tile(np.arange(sizes.columns), repeats)
    for start in range(0, len(columns), sizes.tokens):
        asked = columns[start : start + sizes.tokens]
        logits = np.zeros((sizes.tokens, sizes.columns), np.float32)
        logits[np.arange(len(asked)), asked] = CERTAIN
        x = _tokens(sizes, rng) * np.float32(magnitude)
        yield Trial(f"experts asked one at a time with tokens of magnitude {magnitude:g}", x, logits), len(asked)


def _tokens(sizes: Sizes, rng: np.random.Generator) -> np.ndarray:
    return rng.standard_normal((sizes.tokens, sizes.dim), np.float32)


def _uneven_tokens(sizes: Sizes, rng: np.random.Generator) -> np.ndarray:
    """Each row of another magnitude, every tenth zero."""
    scales = 2.0 ** rng.integers(-10, 11, (sizes.tokens, 1))
    scales[rng.random((sizes.tokens, 1)) < 0.1] = 0
    return _tokens(sizes, rng) * scales.astype(np.float32)


def _logits(sizes: Sizes, rng: np.random.Generator) -> np.ndarray:
    return _rounded(1.5 * rng.standard_normal((sizes.tokens, sizes.columns)))


def _rounded(logits: np.ndarray) -> np.ndarray:
    return (np.round(logits / COARSE) * COARSE).astype(np.float32)
