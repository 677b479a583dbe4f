"""Calibration images: there must be enough, of the right size, and none constant."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np

from edgemtl.errors import InputError, UsageError
from edgemtl.frontend import InputSpec
from edgemtl.operators import Array

LEAST_IMAGES = 8
"""With fewer images, a few unusual ones would determine every range."""
CHECK_EVERY = 4
"""Every fourth image is reserved for the check of the result."""


def check_images(images: Sequence[Array], names: Sequence[str], spec: InputSpec) -> None:
    """Raise UsageError for too few images, InputError naming the first that does not fit, is not finite or constant.

    Copies of one image do not count: they would be calibrated on and checked with.
    """
    if len(images) < LEAST_IMAGES:
        raise UsageError(
            f"int8 must be calibrated on at least {LEAST_IMAGES} images, not {len(images)}; "
            "add typical images to the folder of --calibration"
        )
    for image, name in zip(images, names, strict=True):
        if image.shape != spec.shape or image.dtype != np.float32:
            expected, actual = f"float32 {spec.shape}", f"{image.dtype} {image.shape}"
            raise InputError(f"calibration image {name} must be {expected}, not {actual}; resize and normalise it")
        if not np.isfinite(image).all():
            raise InputError(f"calibration image {name} must be finite; it holds infinities or NaN")
        if np.ptp(image) == 0:
            raise InputError(f"calibration image {name} must show something, not one value everywhere; leave it out")
    if (different := len({hashlib.sha256(image.tobytes()).digest() for image in images})) < LEAST_IMAGES:
        raise UsageError(
            f"int8 must be calibrated on at least {LEAST_IMAGES} different images, not {different} and copies of them; "
            "add typical images to the folder of --calibration"
        )


def split(images: Sequence[Array]) -> tuple[list[Array], list[Array]]:
    """Calibration images and check images."""
    checked = [image for i, image in enumerate(images) if i % CHECK_EVERY == CHECK_EVERY - 1]
    return [image for i, image in enumerate(images) if i % CHECK_EVERY != CHECK_EVERY - 1], checked
