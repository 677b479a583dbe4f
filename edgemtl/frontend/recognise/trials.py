"""Tokens and routing that show where a region departs from a mixture of experts.

Logits are multiples of a power of two: two of a token are equal, or differ by more than float32's rounding. Where a
router gives weights, the experts of the k largest logits get weights of any sign and size, some of them 0.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

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
    """Tokens x [T, D] and their logits or weights [T, E]; `what` completes "differs for ..."."""

    what: str
    x: np.ndarray
    routing: np.ndarray
    of_logits: bool = True


@dataclass(frozen=True)
class Sizes:
    """Tokens, their width, columns of the routing, experts a token, and whether the routing is logits or weights."""

    tokens: int
    dim: int
    columns: int
    k: int
    of_logits: bool = True


def draw_trials(sizes: Sizes) -> Iterator[Trial]:
    """The same trials every time, for all tokens at once."""
    rng = np.random.default_rng(1)
    yield balanced(sizes, rng)
    for trial in (*_odd(sizes, rng), *_skewed(sizes, rng)):
        yield trial if sizes.of_logits else _weighed(trial, sizes, rng)


def balanced(sizes: Sizes, rng: np.random.Generator) -> Trial:
    """Logits that prefer no expert, or the weights of the k largest."""
    trial = Trial("balanced logits", _tokens(sizes, rng), _logits(sizes, rng))
    return trial if sizes.of_logits else _weighed(trial, sizes, rng)


def _weighed(trial: Trial, sizes: Sizes, rng: np.random.Generator) -> Trial:
    """The trial with weights for the experts that its logits choose."""
    rows, logits = len(trial.x), trial.routing
    chosen = np.argsort(-logits, axis=-1, kind="stable")[:, : sizes.k]
    drawn = rng.standard_normal(chosen.shape) * 2.0 ** rng.integers(-4, 5, (rows, 1))
    drawn[rng.random(chosen.shape) < 0.1] = 0
    weights = np.zeros(logits.shape, np.float32)
    np.put_along_axis(weights, chosen, drawn.astype(np.float32), -1)
    return replace(trial, what=f"the choices of {trial.what}", routing=weights, of_logits=False)


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
        logits[np.arange(len(asked)), asked] = CERTAIN if sizes.of_logits else 1
        x = _tokens(sizes, rng) * np.float32(magnitude)
        what = f"experts asked one at a time with tokens of magnitude {magnitude:g}"
        yield Trial(what, x, logits, sizes.of_logits), len(asked)


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
