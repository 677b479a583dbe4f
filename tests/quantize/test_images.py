"""Which calibration frames are taken."""

import numpy as np
import pytest

from edgemtl.errors import InputError
from edgemtl.frontend import InputSpec
from edgemtl.quantize import check_images

IDS = InputSpec("ids", (1, 5), None, None, dtype="int64", bounds=(0, 99))
ROW = InputSpec("features", (1, 5), None, None)
PICTURE = InputSpec("image", (1, 3, 4, 4), None, None)
BYTES = InputSpec("frame", (1, 4, 4, 3), None, None, dtype="uint8")


def check(spec: InputSpec) -> None:
    """Frames of one value each."""
    frames = [{spec.name: np.full(spec.shape, value, spec.dtype)} for value in range(8)]
    check_images(frames, [f"{value}.npy" for value in range(8)], [spec])


@pytest.mark.parametrize("spec", [IDS, ROW])
def test_equal_numbers_are_taken(spec: InputSpec) -> None:
    check(spec)


@pytest.mark.parametrize("spec", [PICTURE, BYTES])
def test_pictures_must_show_something(spec: InputSpec) -> None:
    with pytest.raises(InputError, match=r"calibration image 0\.npy must show something, not one value everywhere"):
        check(spec)
