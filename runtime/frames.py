"""What a session takes and gives: arrays of any layout in, checked; the caller's arrays or new ones out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from edgemtl.bundle import InputEntry
from edgemtl.errors import InputError
from edgemtl.operators import Array, Frame

OVERLAP_WORK = 100_000
"""Steps of numpy's exact search for shared memory; two slices of one array take a few."""


@dataclass(frozen=True)
class Batch:
    """The inputs of a run, checked. ``frames``: how many there are along the first axis of each; None where the model
    fixes a first axis itself, so that arrays are one frame as they are.
    """

    arrays: Frame = field(repr=False)
    frames: int | None

    def __iter__(self) -> Iterator[dict[str, Array]]:
        if self.frames is None:
            yield dict(self.arrays)
            return
        for index in range(self.frames):
            yield {name: array[index : index + 1] for name, array in self.arrays.items()}


def check_batch(given: object, inputs: Sequence[InputEntry], reads: Iterable[str]) -> Batch:
    """``given`` as a batch: a dict of arrays by input, or the array of the only input.

    ``reads``: the inputs that are needed; others may be left out. Where every input begins with an axis of 1, arrays
    may have B frames there, the same B in all. Raises InputError, with what is expected.
    """
    arrays = _by_name(given, inputs, set(reads))
    batched = all(entry.shape[:1] == (1,) for entry in inputs)
    for entry in inputs:
        if entry.name in arrays:
            _check_array(arrays[entry.name], entry, batched)
    if not batched:
        return Batch(arrays, None)
    counts = {name: len(array) for name, array in arrays.items()}
    if len(set(counts.values())) > 1:
        actual = ", ".join(f"{count} of {name}" for name, count in counts.items())
        raise InputError(f"inputs must have the same number of frames, not {actual}")
    return Batch(arrays, next(iter(counts.values())))


def _by_name(given: object, inputs: Sequence[InputEntry], reads: set[str]) -> dict[str, Array]:
    expected = ", ".join(f"{entry.name} {entry.dtype}{list(entry.shape)}" for entry in inputs)
    if not isinstance(given, Mapping):
        if len(inputs) > 1:
            kind = type(given).__name__
            raise InputError(f"the inputs must be a dict of arrays by name ({expected}), not one {kind}")
        return {inputs[0].name: _check_is_array(inputs[0].name, given)}
    known = {entry.name for entry in inputs}
    for name in given:
        if name not in known:
            raise InputError(f"the inputs must be some of {expected}, and {name!r} is none of them")
    for entry in inputs:
        if entry.name in reads and entry.name not in given:
            raise InputError(f"the inputs must have {entry.name}, which is missing; expected are {expected}")
    return {name: _check_is_array(name, array) for name, array in given.items()}


def _check_is_array(name: str, array: object) -> Array:
    if not isinstance(array, np.ndarray):
        raise InputError(f"{name} must be a numpy array, not {type(array).__name__}; convert it with numpy.asarray")
    if isinstance(array, np.ma.MaskedArray):
        raise InputError(
            f"{name} must be an array without a mask, whose values would be used; fill it with {name}.filled"
        )
    return array


def _check_array(array: Array, entry: InputEntry, batched: bool) -> None:
    name = entry.name
    if array.dtype != entry.dtype:
        convert = f"{name}.astype(numpy.{entry.dtype})"
        raise InputError(f"{name} must be {entry.dtype}, not {array.dtype}; convert it with {convert}")
    sizes = array.shape[1:] if batched else array.shape
    fits = sizes == (entry.shape[1:] if batched else entry.shape)
    if array.ndim != len(entry.shape) or not fits or (batched and not len(array)):
        expected = ", ".join(["B", *map(str, entry.shape[1:])] if batched else map(str, entry.shape))
        repair = "resize it" if entry.is_image else "reshape it"
        raise InputError(f"{name} must have the shape [{expected}], not {list(array.shape)}; {repair}")


def check_staged(entry: InputEntry, staged: Array, valid: NDArray[np.bool_]) -> None:
    """Raise InputError where the staged array of an input holds NaN, infinity, or a number that looks up nothing.

    ``valid`` is scratch of its shape.
    """
    if entry.dtype == "float32":
        np.isfinite(staged, out=valid)
        rule, repair = "finite numbers", "check how it was normalised" if entry.is_image else "check how it was made"
    elif entry.bounds is not None:
        np.less_equal(entry.bounds[0], staged, out=valid)
        np.less_equal(staged, entry.bounds[1], out=valid, where=valid)
        rule, repair = f"numbers from {entry.bounds[0]} to {entry.bounds[1]}", "nothing is looked up by others"
    else:
        return
    if valid.all():
        return
    place = np.unravel_index(int(np.argmin(valid)), staged.shape)
    bad = int(valid.size - np.count_nonzero(valid))
    where = f" at [{', '.join(map(str, place))}]"
    raise InputError(f"{entry.name} must hold {rule}, not {staged[place]}{where} ({bad} such values); {repair}")


def batched(shape: tuple[int, ...], frames: int | None) -> tuple[int, ...]:
    """The shape of an output over several frames: a leading 1 counts frames, any other shape gets an axis for them.

    Where inputs are one frame as they are, so is the output.
    """
    if frames is None:
        return shape
    return (frames, *(shape[1:] if shape[:1] == (1,) else shape))


def output_for(task: str, shape: tuple[int, ...], dtype: str, frames: int | None, given: object) -> Array:
    """The array a task's output goes to, [B, ...]: ``given``, checked, or a new one. Raises InputError."""
    expected = batched(shape, frames)
    if given is None:
        return np.empty(expected, dtype)
    if not isinstance(given, np.ndarray) or given.dtype != dtype or given.shape != expected:
        actual = f"{given.dtype} {list(given.shape)}" if isinstance(given, np.ndarray) else type(given).__name__
        raise InputError(f"out of {task} must be a {dtype} array of shape {list(expected)}, not {actual}")
    if isinstance(given, np.ma.MaskedArray):
        raise InputError(f"out of {task} must be an array without a mask, not a masked one; give its data")
    if not given.flags.writeable:
        raise InputError(f"out of {task} must be a writable array, not a read-only one; copy it")
    if _overlaps_itself(given):
        raise InputError(f"out of {task} must have a place in memory for each value, and has not; give a copy of it")
    return given


def check_out(tasks: Sequence[str], given: object) -> Mapping[str, object]:
    """What a caller gives for the outputs of several tasks, by task: None or a mapping with every task.

    Raises InputError.
    """
    if given is None:
        return {}
    if not isinstance(given, Mapping) or set(given) != set(tasks):
        actual = ", ".join(given) if isinstance(given, Mapping) else type(given).__name__
        raise InputError(f"out must be a dict with {', '.join(tasks)}, not {actual}")
    return given


def check_overlaps(batch: Batch, outputs: Frame) -> None:
    """Raise InputError where an output shares memory with another one, or with a frame still to be read.

    A frame is read before its outputs are written, so an output may lie in the memory of the only frame, or be the
    input itself.
    """
    for (one, first), (other, second) in combinations(outputs.items(), 2):
        if _overlap(first, second):
            raise InputError(
                f"out of {one} and of {other} must not share memory, and do; give each an array of its own"
            )
    if (batch.frames or 1) == 1:
        return
    for task, output in outputs.items():
        for name, array in batch.arrays.items():
            if not _same_view(array, output) and _overlap(array, output):
                raise InputError(
                    f"out of {task} must not share memory with {name}, and does; give it an array of its own"
                )


def _overlap(first: Array, second: Array) -> bool:
    """Whether two arrays share memory; also where that would take long to find out."""
    try:
        return np.shares_memory(first, second, max_work=OVERLAP_WORK)  # type: ignore[arg-type]  # numpy's types name two values of many
    except np.exceptions.TooHardError:
        return True


def _same_view(first: Array, second: Array) -> bool:
    return (first.ctypes.data, first.shape, first.strides) == (second.ctypes.data, second.shape, second.strides)


def _overlaps_itself(array: Array) -> bool:
    """Whether elements may share memory: no axis may step over less than all smaller steps together reach."""
    reach = array.itemsize
    for stride, length in sorted((abs(s), n) for s, n in zip(array.strides, array.shape, strict=True) if n > 1):
        if stride < reach:
            return True
        reach += stride * (length - 1)
    return False
