"""Images of any alignment, stride and order give the same bits."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from edgemtl.runtime import Session
from edgemtl.runtime.buffers import Buffer
from tests.runtime.programs import SHAPE, expected, picture


def _laid_out(image: np.ndarray, order: tuple[int, ...], steps: list[int], shift: int) -> np.ndarray:
    """The same values with axes in another order in memory, with gaps or backwards, at any byte address."""
    shape = [image.shape[axis] * abs(step) for axis, step in zip(order, steps, strict=True)]
    raw = np.zeros(4 * int(np.prod(shape)) + 64, np.uint8)
    room = raw[shift : shift + 4 * int(np.prod(shape))].view(np.float32).reshape(shape)
    view = room[tuple(slice(None, None, step) for step in steps)].transpose(np.argsort(order))
    view[:] = image
    return view


@settings(max_examples=60, deadline=None)
@given(
    order=st.permutations(range(4)),
    steps=st.lists(st.sampled_from([-2, -1, 1, 2, 3]), min_size=4, max_size=4),
    shift=st.integers(0, 63),
    swapped=st.booleans(),
)
def test_any_layout(shared_session, order, steps, shift, swapped) -> None:
    session: Session = shared_session
    image = picture(7, frames=2)
    view = _laid_out(image, tuple(order), steps, shift)
    np.testing.assert_array_equal(view, image)
    out = _laid_out(np.zeros_like(image), tuple(order), steps, shift) if swapped else None
    np.testing.assert_array_equal(session.run("depth", view, out=out), expected("depth", image))


def test_read_only_and_broadcast(session: Session) -> None:
    frozen = picture(1)
    frozen.flags.writeable = False
    np.testing.assert_array_equal(session.run("depth", frozen), expected("depth", frozen))
    grey = np.broadcast_to(picture(2)[:, :1], SHAPE)
    np.testing.assert_array_equal(session.run("depth", grey), expected("depth", grey))


def test_big_endian_is_another_type(session: Session) -> None:
    """numpy calls '>f4' a float32 of another byte order: it is refused by its name."""
    import pytest

    from edgemtl.errors import InputError

    with pytest.raises(InputError, match="image must be float32, not >f4"):
        session.run("depth", picture(1).astype(">f4"))


@given(st.integers(0, 5000))
def test_buffers_are_aligned(size: int) -> None:
    buffer = Buffer("arena", size)
    assert buffer.array.ctypes.data % 64 == 0
    assert buffer.array.size == max(size, 1)
    assert not buffer.array.any()
    buffer.poison()
    buffer.check()
    assert size < 4 or np.isnan(buffer.array[: size // 4 * 4].view(np.float32)).all()
