"""What a session takes and gives: arrays of any layout in, checked; the caller's arrays or new ones out."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations

import numpy as np

from edgemtl.errors import InputError

FloatArray = np.ndarray[tuple[int, ...], np.dtype[np.float32]]

OVERLAP_WORK = 100_000
"""Steps of numpy's exact search for shared memory; two slices of one array take a few."""


def check_batch(image: object, shape: tuple[int, ...]) -> FloatArray:
    """``image`` if it is float32 [B, C, H, W] with B >= 1 and the C, H, W of ``shape``. Raises InputError."""
    if not isinstance(image, np.ndarray):
        raise InputError(f"image must be a numpy array, not {type(image).__name__}; convert it with numpy.asarray")
    if isinstance(image, np.ma.MaskedArray):
        raise InputError("image must be an array without a mask, whose values would be used; fill it with image.filled")
    if image.dtype != np.float32:
        raise InputError(f"image must be float32, not {image.dtype}; convert it with image.astype(numpy.float32)")
    if image.ndim != 4 or image.shape[1:] != shape[1:] or not image.shape[0]:
        expected = ", ".join(map(str, shape[1:]))
        raise InputError(f"image must have the shape [B, {expected}], not {list(image.shape)}; resize it")
    return image


def check_finite(staged: FloatArray, finite: np.ndarray[tuple[int, ...], np.dtype[np.bool_]]) -> None:
    """Raise InputError where a staged frame holds NaN or infinity; ``finite`` is scratch of its shape."""
    if np.isfinite(staged, out=finite).all():
        return
    place = np.unravel_index(int(np.argmin(finite)), staged.shape)
    bad = int(finite.size - np.count_nonzero(finite))
    raise InputError(
        f"image must hold finite numbers, not {staged[place]} at [{', '.join(map(str, place))}] "
        f"({bad} such values); check how it was normalised"
    )


def batched(shape: tuple[int, ...], frames: int) -> tuple[int, ...]:
    """The shape of an output over several frames: a leading 1 counts frames, any other shape gets an axis for them."""
    return (frames, *(shape[1:] if shape[:1] == (1,) else shape))


def output_for(task: str, shape: tuple[int, ...], frames: int, given: object) -> FloatArray:
    """The array a task's output goes to, [B, ...]: ``given``, checked, or a new one. Raises InputError."""
    expected = batched(shape, frames)
    if given is None:
        return np.empty(expected, np.float32)
    if not isinstance(given, np.ndarray) or given.dtype != np.float32 or given.shape != expected:
        actual = f"{given.dtype} {list(given.shape)}" if isinstance(given, np.ndarray) else type(given).__name__
        raise InputError(f"out of {task} must be a float32 array of shape {list(expected)}, not {actual}")
    if isinstance(given, np.ma.MaskedArray):
        raise InputError(f"out of {task} must be an array without a mask, not a masked one; give its data")
    if not given.flags.writeable:
        raise InputError(f"out of {task} must be a writable array, not a read-only one; copy it")
    if _overlaps_itself(given):
        raise InputError(f"out of {task} must have a place in memory for each value, and has not; give a copy of it")
    return given


def outputs_for(shapes: Mapping[str, tuple[int, ...]], frames: int, given: object) -> dict[str, FloatArray]:
    """The arrays several tasks' outputs go to; ``given`` is None or a mapping with every task.

    Raises InputError.
    """
    if given is None:
        given = {}
    elif not isinstance(given, Mapping) or set(given) != set(shapes):
        actual = ", ".join(given) if isinstance(given, Mapping) else type(given).__name__
        raise InputError(f"out must be a dict with {', '.join(shapes)}, not {actual}")
    return {task: output_for(task, shape, frames, given.get(task)) for task, shape in shapes.items()}


def check_overlaps(image: FloatArray, outputs: Mapping[str, FloatArray]) -> None:
    """Raise InputError where an output shares memory with another one, or with a frame of ``image`` still to be read.

    A frame is read before its outputs are written, so an output may lie in the memory of the only frame, or be the
    image itself.
    """
    for (one, first), (other, second) in combinations(outputs.items(), 2):
        if _overlap(first, second):
            raise InputError(
                f"out of {one} and of {other} must not share memory, and do; give each an array of its own"
            )
    for task, output in outputs.items():
        if len(image) > 1 and not _same_view(image, output) and _overlap(image, output):
            raise InputError(f"out of {task} must not share memory with image, and does; give it an array of its own")


def _overlap(first: FloatArray, second: FloatArray) -> bool:
    """Whether two arrays share memory; also where that would take long to find out."""
    try:
        return np.shares_memory(first, second, max_work=OVERLAP_WORK)  # type: ignore[arg-type]  # numpy's types name two values of many
    except np.exceptions.TooHardError:
        return True


def _same_view(first: FloatArray, second: FloatArray) -> bool:
    return (first.ctypes.data, first.shape, first.strides) == (second.ctypes.data, second.shape, second.strides)


def _overlaps_itself(array: FloatArray) -> bool:
    """Whether elements may share memory: no axis may step over less than all smaller steps together reach."""
    reach = array.itemsize
    for stride, length in sorted((abs(s), n) for s, n in zip(array.strides, array.shape, strict=True) if n > 1):
        if stride < reach:
            return True
        reach += stride * (length - 1)
    return False
