"""Calibration images: there must be enough, of the right size, and none constant."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from edgemtl.errors import InputError, UsageError
from edgemtl.frontend import InputSpec
from edgemtl.frontend.frames import check_frame
from edgemtl.operators import Frame

LEAST_IMAGES = 8
"""With fewer images, a few unusual ones would determine every range."""
OF_ALL = "calibration"
"""What a note about all tasks begins with, where others begin with a task's name."""
CHECK_EVERY = 4
"""Every fourth image is reserved for the check of the result."""


def check_images(images: Sequence[Frame], names: Sequence[str], inputs: Sequence[InputSpec]) -> None:
    """Raise UsageError for too few images, InputError naming the first that does not fit, is not finite, or is one
    value everywhere where the model takes pictures.

    Copies of one picture do not count: they would be calibrated on and checked with. `copies_note` says so of inputs
    that are no pictures, which may have few different frames.
    """
    if len(images) < LEAST_IMAGES:
        raise UsageError(
            f"int8 must be calibrated on at least {LEAST_IMAGES} images, not {len(images)}; "
            "add typical images to the folder of --calibration"
        )
    for image, name in zip(images, names, strict=True):
        check_frame(f"calibration image {name}", image, inputs)
        is_level = all((array == array.flat[0]).all() for array in image.values())
        if is_level and any(map(_is_picture, inputs)):
            raise InputError(f"calibration image {name} must show something, not one value everywhere; leave it out")
    if (different := _different(images)) < LEAST_IMAGES and any(map(_is_picture, inputs)):
        raise UsageError(
            f"int8 must be calibrated on at least {LEAST_IMAGES} different images, not {different} and copies of them; "
            "add typical images to the folder of --calibration"
        )


def copies_note(images: Sequence[Frame]) -> tuple[str, ...]:
    """A note where int8 rests on few frames and copies of them; nothing where enough differ."""
    different = _different(images)
    if different >= LEAST_IMAGES:
        return ()
    frames = "one frame" if different == 1 else f"{different} different frames"
    return (f"{OF_ALL}: {frames} and copies; other inputs may be less accurate in int8, so add typical ones",)


def _different(images: Sequence[Frame]) -> int:
    return len({_digest(image) for image in images})


def _is_picture(spec: InputSpec) -> bool:
    """Whether an input takes pictures: equal numbers or token ids may be typical, an image of one colour is not."""
    return spec.is_image or (spec.dtype == "uint8" and len(spec.shape) == 4)


def _digest(frame: Frame) -> bytes:
    return hashlib.sha256(b"".join(frame[name].tobytes() for name in sorted(frame))).digest()


def split(images: Sequence[Frame]) -> tuple[list[Frame], list[Frame]]:
    """Calibration images and check images."""
    checked = [image for i, image in enumerate(images) if i % CHECK_EVERY == CHECK_EVERY - 1]
    return [image for i, image in enumerate(images) if i % CHECK_EVERY != CHECK_EVERY - 1], checked
