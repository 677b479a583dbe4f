"""Where results go: never on each other, never on what is still to be read."""

from __future__ import annotations

import numpy as np
import pytest

from edgemtl.errors import InputError
from edgemtl.runtime import Session
from tests.runtime.programs import SHAPE, expected, picture

OVERLAP = r"out of depth and of semseg must not share memory, and do; give each an array of its own"
OVER_IMAGE = r"out of depth must not share memory with image, and does; give it an array of its own"


def array(frames: int = 1) -> np.ndarray:
    return np.zeros((frames, *SHAPE[1:]), np.float32)


def test_one_array_twice(session: Session) -> None:
    out = array()
    with pytest.raises(InputError, match=OVERLAP):
        session.run(["depth", "semseg"], picture(0), out={"depth": out, "semseg": out})
    assert not out.any()


@pytest.mark.parametrize("shift", [0, 1, 5, -1])
def test_views_that_overlap(session: Session, shift: int) -> None:
    room = array(3)
    flat, size = room.reshape(-1), array().size
    first, second = flat[size : 2 * size].reshape(SHAPE), flat[size + shift : 2 * size + shift].reshape(SHAPE)
    with pytest.raises(InputError, match=OVERLAP):
        session.run(["depth", "semseg"], picture(0), out={"depth": first, "semseg": second})
    with pytest.raises(InputError, match=OVERLAP):
        session.run(["depth", "semseg"], picture(0), out={"depth": first, "semseg": second[:, :, ::-1]})
    assert not room.any()


def test_parts_of_one_array_that_do_not_overlap(session: Session) -> None:
    """Channels of two tasks side by side in each frame: their bounds overlap, their elements do not."""
    images, room = picture(1, frames=3), np.zeros((3, 6, *SHAPE[2:]), np.float32)
    session.run(["depth", "semseg"], images, out={"depth": room[:, :3], "semseg": room[:, 3:]})
    np.testing.assert_array_equal(room[:, :3], expected("depth", images))
    np.testing.assert_array_equal(room[:, 3:], expected("semseg", images))
    flat = np.zeros((*images.shape, 2), np.float32)
    session.run(["depth", "semseg"], images, out={"depth": flat[..., 0], "semseg": flat[..., 1]})
    np.testing.assert_array_equal(flat[..., 1], expected("semseg", images))


def test_over_the_image(session: Session) -> None:
    """A frame is read before it is written over: the image itself can be the output, frames moved by one cannot."""
    room = picture(2, frames=4)
    before = room.copy()
    with pytest.raises(InputError, match=OVER_IMAGE):
        session.run("depth", room[:3], out=room[1:])
    with pytest.raises(InputError, match=OVER_IMAGE):
        session.run("depth", room, out=room[::-1])
    np.testing.assert_array_equal(room, before)
    session.run("depth", room, out=room)
    np.testing.assert_array_equal(room, expected("depth", before))


def test_over_an_only_frame(session: Session) -> None:
    image, room = picture(3), np.zeros(array().size + 7, np.float32)
    room[7:] = image.reshape(-1)
    session.run("depth", room[7:].reshape(SHAPE), out=room[:-7].reshape(SHAPE))
    np.testing.assert_array_equal(room[:-7].reshape(SHAPE), expected("depth", image))


def test_an_output_on_itself(session: Session) -> None:
    message = "out of depth must have a place in memory for each value, and has not; give a copy of it"
    line = np.zeros(SHAPE[3], np.float32)
    for strides in ((0, 0, 0, 4), (0, 0, 4, 4)):
        out = np.lib.stride_tricks.as_strided(np.zeros(100, np.float32), SHAPE, strides)
        with pytest.raises(InputError, match=message):
            session.run("depth", picture(0), out=out)
    assert not line.any()


def test_masks(session: Session) -> None:
    masked = np.ma.masked_less(picture(0), 0)
    with pytest.raises(InputError, match="image must be an array without a mask, whose values would be used"):
        session.run("depth", masked)
    with pytest.raises(InputError, match="out of depth must be an array without a mask, not a masked one"):
        session.run("depth", picture(0), out=masked)


def test_layouts_that_work(session: Session) -> None:
    """Read-only, unaligned, strided, of another memory order, of a subclass: the same values."""
    image = picture(4)
    frozen = image.copy()
    frozen.flags.writeable = False
    unaligned = np.zeros(image.nbytes + 1, np.uint8)[1:].view(np.float32).reshape(SHAPE)
    unaligned[:] = image
    wide = np.zeros((*SHAPE[:3], 2 * SHAPE[3]), np.float32)
    wide[..., ::2] = image
    for given in (frozen, unaligned, wide[..., ::2], np.asfortranarray(image), image[:, ::-1][:, ::-1]):
        out = np.zeros(image.nbytes + 1, np.uint8)[1:].view(np.float32).reshape(SHAPE)
        np.testing.assert_array_equal(session.run("depth", given, out=out), expected("depth", image))


@pytest.mark.parametrize("dtype", [">f4", "f2", "i4", "O", "c8"])
def test_types_refused(session: Session, dtype: str) -> None:
    with pytest.raises(InputError, match=r"image must be float32, not .*; convert it with image.astype"):
        session.run("depth", picture(0).astype(dtype))
    with pytest.raises(InputError, match=r"out of depth must be a float32 array of shape"):
        session.run("depth", picture(0), out=np.zeros(SHAPE, dtype))
