"""Which calibration frames are taken."""

import numpy as np
import pytest

from edgemtl.errors import InputError, UsageError
from edgemtl.frontend import InputSpec
from edgemtl.quantize import check_images
from edgemtl.quantize.images import copies_note

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


def test_copies_of_one_picture_do_not_count() -> None:
    frames = [{"image": np.arange(48, dtype=np.float32).reshape(1, 3, 4, 4)}] * 8
    with pytest.raises(UsageError, match="at least 8 different images, not 1 and copies"):
        check_images(frames, [f"{index}.npy" for index in range(8)], [PICTURE])


def test_numbers_may_be_copies_and_a_note_says_so() -> None:
    frames = [{"ids": np.arange(5)[None] + index // 4} for index in range(8)]
    check_images(frames, [f"{index}.npy" for index in range(8)], [IDS])
    assert copies_note(frames[:4]) == (
        "calibration: one frame and copies; other inputs may be less accurate in int8, so add typical ones",
    )
    assert "2 different frames" in copies_note(frames)[0]
    assert not copies_note([{"ids": np.arange(5)[None] + index} for index in range(8)])
