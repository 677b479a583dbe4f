"""Signal-to-noise ratio of integer outputs on the check images, and whether this figure is meaningful."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from edgemtl.errors import InputError
from edgemtl.operators import Array

ENOUGH_NUMBERS = 8
"""Images from which on numbers that are a whole output say how much it changes."""
SMALLEST_NORMAL = float(np.finfo(np.float32).tiny)


@dataclass(frozen=True)
class Quality:
    """A task's signal-to-noise ratio in decibel, and notes where this figure is misleading."""

    sqnr_db: float
    notes: tuple[str, ...]


def signal_to_noise(expected: Sequence[Array], actual: Sequence[Array]) -> float:
    """Power of the expected outputs without their mean, over the power of the error, in decibel; one array per image.

    Of integers and truth values, which have no small errors, all elements over those that differ. The mean is that of
    each image, or of all images where an output is a single number. Where the output is constant, the power is that of
    the constant. Infinite where both are equal.
    """
    if not _are_floats(expected):
        differing = sum(int(np.count_nonzero(e != a)) for e, a in zip(expected, actual, strict=True))
        return _decibel(sum(e.size for e in expected), differing)
    exact = _widen(expected)
    return _decibel(_power(exact), _noise(exact, actual))


def _are_floats(arrays: Sequence[Array]) -> bool:
    return all(array.dtype.kind == "f" for array in arrays)


def judge(task: str, expected: Sequence[Array], actual: Sequence[Array], least_db: float) -> Quality:
    """`signal_to_noise` of a task on the check images, with notes where the figure is misleading.

    Fewer than `ENOUGH_NUMBERS` single numbers may be equal by chance: then the power is that of the numbers themselves.
    Raises InputError for expected outputs that are not finite.
    """
    if not _are_floats(expected):
        return Quality(signal_to_noise(expected, actual), tuple(f"{task}: {n}" for n in _note_share(expected, actual)))
    exact = _widen(expected)
    if not all(np.isfinite(e).all() for e in exact):
        raise InputError(
            f"{task} must give finite outputs on the images kept for the check, not infinities or NaN; "
            "leave out that input or repair the weights"
        )
    is_few = exact[0].size == 1 and len(exact) < ENOUGH_NUMBERS
    power = sum(float((e**2).sum()) for e in exact) if is_few else _power(exact)
    notes = (*_note_size(exact), *_note_change(exact, actual, least_db), *_note_worst(exact, actual, least_db))
    return Quality(_decibel(power, _noise(exact, actual)), tuple(f"{task}: {note}" for note in notes))


def _note_share(expected: Sequence[Array], actual: Sequence[Array]) -> Iterator[str]:
    """What the figure of integers and truth values stands for."""
    differing = sum(int(np.count_nonzero(e != a)) for e, a in zip(expected, actual, strict=True))
    if differing:
        share = differing / sum(e.size for e in expected)
        yield f"{share:.2%} of its elements are others than in float32 on the check images"


def _note_size(exact: Sequence[Array]) -> tuple[str, ...]:
    largest = max(float(np.abs(e).max()) for e in exact)
    if largest == 0:
        return ("its float output is 0 on all check images, so the check says nothing",)
    if largest < SMALLEST_NORMAL:
        return (f"its outputs reach {largest:.1e}, below the least normal float32; processors may take them for 0",)
    return ()


def _note_change(exact: Sequence[Array], actual: Sequence[Array], least_db: float) -> tuple[str, ...]:
    """A note where outputs are nearly the same for every image: a good figure then reflects biases only."""
    if least_db == -math.inf:
        return ()
    common = np.mean(exact, axis=0)
    change = sum(float(((e - common) ** 2).sum()) for e in exact)
    if change == 0:
        return ("its output is the same on all check images, so its figure is that of a constant",)
    if (ratio := _decibel(change, _noise(exact, actual))) < least_db:
        return (
            f"what its output differs by from image to image is {ratio:.1f} dB against the error of int8; "
            "its figure is that of what all check images have in common",
        )
    return ()


def _note_worst(exact: Sequence[Array], actual: Sequence[Array], least_db: float) -> tuple[str, ...]:
    """A note where images with large outputs hide the errors of images with small ones."""
    if exact[0].size == 1:
        return ()
    single = [_decibel(_power([e]), _noise([e], [f])) for e, f in zip(exact, actual, strict=True)]
    below = [ratio for ratio in single if ratio < least_db]
    if not below or len(below) == len(single):
        return ()
    return (f"{len(below)} of {len(single)} check images alone are below {least_db:g} dB, down to {min(below):.1f} dB",)


def _widen(arrays: Sequence[Array]) -> list[Array]:
    return [array.astype(np.float64) for array in arrays]


def _power(exact: Sequence[Array]) -> float:
    overall = float(np.mean(exact))
    centres = [float(e.mean()) if e.size > 1 else overall for e in exact]
    power = sum(float(((e - centre) ** 2).sum()) for e, centre in zip(exact, centres, strict=True))
    return power if power > 0 else sum(float((e**2).sum()) for e in exact)


def _noise(exact: Sequence[Array], actual: Sequence[Array]) -> float:
    return sum(float(((e - f) ** 2).sum()) for e, f in zip(exact, actual, strict=True))


def _decibel(signal: float, noise: float) -> float:
    if noise == 0:
        return math.inf
    return 10 * math.log10(signal / noise) if signal > 0 and math.isfinite(noise) else -math.inf
