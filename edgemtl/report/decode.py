"""What a prediction says, where it takes more than reading it."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Mask = NDArray[np.bool_]


def salient(prediction: Array) -> Mask:
    """Where a saliency output [1 or 2, H, W] says salient [H, W]."""
    result: Mask = prediction[0] > 0 if len(prediction) == 1 else prediction[1] > prediction[0]
    return result
