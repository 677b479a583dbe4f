"""Whether arrays are what a model's inputs take."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from edgemtl.errors import InputError
from edgemtl.frontend.model import InputSpec
from edgemtl.operators import Array, Frame


def check_frame(what: str, frame: Frame, inputs: Sequence[InputSpec]) -> None:
    """Raise InputError, which calls the frame ``what``, for the first input that lacks, has another shape or type, is
    not finite, or looks up what is not there.
    """
    for spec in inputs:
        where = what if len(inputs) == 1 else f"{what}: {spec.name}"
        if spec.name not in frame:
            expected, given = (", ".join(names) for names in ([spec.name for spec in inputs], frame))
            raise InputError(f"{what} must have an array of each input ({expected}), not {given or 'none'}")
        _check_array(where, frame[spec.name], spec)


def _check_array(where: str, array: Array, spec: InputSpec) -> None:
    if array.shape != spec.shape or array.dtype != spec.dtype:
        expected, actual = f"{spec.dtype} {spec.shape}", f"{array.dtype} {array.shape}"
        repair = "resize and normalise it" if spec.is_image else "make the array again"
        raise InputError(f"{where} must be {expected}, not {actual}; {repair}")
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise InputError(f"{where} must be finite; it holds infinities or NaN")
    if spec.bounds is not None and array.size and not spec.bounds[0] <= array.min() <= array.max() <= spec.bounds[1]:
        least, most = spec.bounds
        raise InputError(f"{where} must hold numbers from {least} to {most}, not {array.min()} to {array.max()}")
