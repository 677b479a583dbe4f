"""Labels drawn as pictures: one number a pixel."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from edgemtl.errors import InputError
from edgemtl.images.decode import check_memory, orientation, turn_upright
from edgemtl.images.formats import open_picture

LABEL_MODES = ("L", "P", "1", "I;16")


def read_label_picture(path: Path) -> np.ndarray:
    """The numbers in a PNG of one channel, [H, W]: palette indices as they are, nothing scaled; upright as its picture.

    Raises InputError for anything else; a JPEG does not keep numbers.
    """
    with open_picture(path) as image:
        if image.format != "PNG":
            raise InputError(f"{path}: a label must be a PNG, not {image.format}, which changes numbers; save it again")
        if image.mode not in LABEL_MODES:
            raise InputError(f"{path}: a label must have one channel, not mode {image.mode}; save class ids or a mask")
        check_memory(path, image, orientation(image, []), image.width * image.height)
        image.load()
        return np.asarray(turn_upright(image, orientation(image, [])))
