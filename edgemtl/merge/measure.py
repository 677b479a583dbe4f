"""The merged model against the files it is made of, by onnxruntime, on inputs drawn at random."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edgemtl.bundle import draw_input
from edgemtl.errors import ModelError, QuantisationError
from edgemtl.frontend import InputSpec
from edgemtl.merge.inputs import SharedInputs, normalise
from edgemtl.merge.sources import Source
from edgemtl.onnx_runtime import open_session
from edgemtl.operators import Array

SEED = 0
AREAS = 4
"""Along each side of an image."""
MERGED = "the merged model"


@dataclass(frozen=True)
class Distance:
    """How far an output of the merged model is from its file's, over all inputs.

    max_abs: the largest difference, 0 for equal bits.  sqnr_db: the least signal to noise of an input in decibel,
    infinite for equal bits.
    """

    max_abs: float
    sqnr_db: float


def compare(
    merged: bytes, sources: Sequence[Source], shared: SharedInputs, is_near: Sequence[bool], least_sqnr_db: float
) -> tuple[Distance, ...]:
    """The distance of every task's output, in order.

    Raises ModelError where onnxruntime does not run a model, and where a bit differs although the source is not one
    of those that are only to be near; QuantisationError where one of these has less than ``least_sqnr_db``.
    """
    session, distances = _open(merged, MERGED), []
    names = [value.name for value in session.get_inputs()]
    for source, normalisation, near in zip(sources, shared.own, is_near, strict=True):
        own, tasks = _open(source.path, source.path), [task.name for task in source.tasks]
        runs = []
        for frame in _frames(shared.specs):
            feed = [
                normalise(of, normalisation) if spec.is_image else of
                for spec, of in zip(source.inputs, frame, strict=True)
            ]
            expected = _run(
                own, source.path, source.outputs, {of.name: a for of, a in zip(source.inputs, feed, strict=True)}
            )
            runs.append((_run(session, MERGED, tasks, dict(zip(names, frame, strict=True))), expected))
        for index, task in enumerate(tasks):
            pairs = [(actual[index], expected[index]) for actual, expected in runs]
            _check_bits(task, source.path, pairs, near)
            distance = _distance(pairs)
            _check_ratio(task, source.path, distance, least_sqnr_db)
            distances.append(distance)
    return tuple(distances)


def _frames(specs: Sequence[InputSpec]) -> Iterator[list[Array]]:
    """Noise as a normalised image has it, noise over the range of pixels, and large areas of one colour.

    The last two in images alone: other inputs have noise, and integers that are valid.
    """
    rng = np.random.default_rng(SEED)
    yield [draw_input(spec, rng) for spec in specs]
    yield [255 * rng.random(of.shape, np.float32) if of.is_image else draw_input(of, rng) for of in specs]
    yield [_areas(of.shape, rng) if of.is_image else draw_input(of, rng) for of in specs]


def _areas(shape: tuple[int, ...], rng: np.random.Generator) -> Array:
    batch, channels, height, width = shape
    areas = rng.standard_normal((batch, channels, AREAS, AREAS), np.float32)
    rows, columns = (np.arange(size) * AREAS // size for size in (height, width))
    return np.ascontiguousarray(areas[:, :, rows][..., columns])


def _open(model: Path | bytes, what: Path | str) -> Any:
    try:
        return open_session(model)
    # onnxruntime's errors share no base class.
    except Exception as error:
        raise _cannot_run(what, error) from error


def _run(session: Any, what: Path | str, outputs: Sequence[str], frame: Mapping[str, Array]) -> list[Array]:
    try:
        arrays: list[Array] = session.run(list(outputs), dict(frame))
    # As above.
    except Exception as error:
        raise _cannot_run(what, error) from error
    return arrays


def _cannot_run(what: Path | str, error: Exception) -> ModelError:
    reason = " ".join(str(error).split())[:200]
    return ModelError(f"{what} must run in onnxruntime, by which the result is checked, and does not: {reason}")


def _check_bits(task: str, path: Path, pairs: Sequence[tuple[Array, Array]], near: bool) -> None:
    for actual, expected in pairs:
        if actual.shape != expected.shape:
            raise ModelError(
                f"task {task} must have the shape {list(expected.shape)} that {path} gives, and has "
                f"{list(actual.shape)} when merged; export the files with fixed sizes"
            )
        if not near and actual.tobytes() != expected.tobytes():
            difference = float(np.abs(np.float64(actual) - expected).max())
            raise ModelError(
                f"task {task} must give the bits that {path} gives, and differs by up to {difference:.3g} when merged; "
                "export all files with the same tools and one opset"
            )


def _distance(pairs: Sequence[tuple[Array, Array]]) -> Distance:
    """Equal bits count as equal, also where they are no numbers."""
    differences = [
        np.zeros(1) if actual.tobytes() == expected.tobytes() else np.abs(np.float64(actual) - expected)
        for actual, expected in pairs
    ]
    ratios = [_decibel(expected, error) for (_, expected), error in zip(pairs, differences, strict=True)]
    return Distance(max(float(error.max()) for error in differences), min(ratios))


def _decibel(expected: Array, error: Array) -> float:
    """Infinite for no error; minus infinity where there is no signal, or one of them is not finite."""
    signal, noise = float(np.square(expected, dtype=np.float64).sum()), float(np.square(error).sum())
    if noise == 0:
        return math.inf
    ratio = signal / noise
    return 10 * math.log10(ratio) if 0 < ratio < math.inf else -math.inf


def _check_ratio(task: str, path: Path, distance: Distance, least_sqnr_db: float) -> None:
    if distance.sqnr_db < least_sqnr_db:
        raise QuantisationError(
            f"task {task} must keep a signal-to-noise ratio of {least_sqnr_db:g} dB to {path}, not "
            f"{distance.sqnr_db:.1f} dB; use a smaller --tolerance, --deltas 8 or neither"
        )
