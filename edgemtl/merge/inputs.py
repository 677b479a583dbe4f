"""The inputs that all files read: one size, and one normalisation or, behind the input, one for each file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import onnx_ir as ir

from edgemtl.errors import ModelError
from edgemtl.frontend import InputSpec
from edgemtl.graph import add_constant, result
from edgemtl.merge.affine import Affine, leading_affine
from edgemtl.merge.sources import Source
from edgemtl.merge_options import Normalisation
from edgemtl.operators import Array
from edgemtl.vocabulary import DEFAULT_FILTER

MAX_RATIO = 16.0
"""Of the factors by which two graphs normalise: pixels to 255 and pixels to 1 differ by more, two data sets do not."""


@dataclass(frozen=True)
class SharedInputs:
    """The inputs of the merged model.

    own: for each source, the normalisation that moves into its graph; None where the source reads the image itself.
    """

    specs: tuple[InputSpec, ...]
    own: tuple[Normalisation | None, ...]
    notes: tuple[str, ...]


def share_inputs(sources: Sequence[Source]) -> SharedInputs:
    """The inputs that all ``sources`` can read.

    Raises ModelError for two files whose inputs differ in size, in type or in how pictures are resized, and where it
    cannot be told whether they expect the same image: only one says how it is normalised, in metadata or in its graph.
    """
    first = sources[0]
    for source in sources[1:]:
        for spec, other in zip(first.inputs, source.inputs, strict=True):
            if (spec.shape, spec.dtype) != (other.shape, other.dtype):
                size = f"{spec.dtype} {list(spec.shape)}, as {first.path} does, not {other.dtype} {list(other.shape)}"
                raise ModelError(f"{source.path} must take {other.name} as {size}; export both with one size")
    image, known = first.image, [source.normalisation for source in sources]
    if all(normalisation == known[0] for normalisation in known):
        notes = _compare_graphs(sources) if image is not None and known[0] is None else ()
        return SharedInputs(_with_image(sources, known[0]), (None,) * len(known), notes)
    _check_known([source.path for source in sources], known)
    if image is None:
        raise ModelError(f"{first.path} must have one image, or a normalisation that all files record; export it again")
    channels = image.shape[1]
    specs = _with_image(sources, ((0.0,) * channels, (1.0,) * channels))
    listed = "; ".join(f"{source.path}: {_spell(of)}" for source, of in zip(sources, known, strict=True))
    note = f"input {image.name}: the merged model takes pixels / 255 and normalises them for each file: {listed}"
    return SharedInputs(specs, tuple(known), (note,))


def _with_image(sources: Sequence[Source], normalisation: Normalisation | None) -> tuple[InputSpec, ...]:
    """The inputs of the first source, the image with this normalisation and with the filter that files record."""
    mean, std = normalisation or (None, None)
    resize, image = _common_filter(sources), sources[0].image
    return tuple(
        replace(spec, mean=mean, std=std, resize_filter=resize) if spec is image else spec for spec in sources[0].inputs
    )


def _common_filter(sources: Sequence[Source]) -> str:
    """By which pictures are resized, of those that record it."""
    images = [(source.path, source.image) for source in sources if source.metadata is not None]
    recorded = [(path, image.resize_filter) for path, image in images if image is not None]
    for path, resize in recorded[1:]:
        first, expected = recorded[0]
        if resize != expected:
            raise ModelError(
                f"{path} must resize pictures by {expected}, as {first} does, not by {resize}; export both with one "
                "--resize-filter"
            )
    return recorded[0][1] if recorded else DEFAULT_FILTER


def _check_known(paths: Sequence[Path], known: Sequence[Normalisation | None]) -> None:
    if None in known:
        unknown = paths[known.index(None)]
        path, normalisation = next((p, n) for p, n in zip(paths, known, strict=True) if n is not None)
        raise ModelError(
            f"{unknown} must record its normalisation, as {path} does ({_spell(normalisation)}), and records none; "
            "give that of the files without one by --mean and --std"
        )


def _compare_graphs(sources: Sequence[Source]) -> tuple[str, ...]:
    """Refuse graphs that cannot expect the same image; a note where they normalise the same one differently."""
    affines = [leading_affine(source.image_value) for source in sources]
    first, affine = sources[0], affines[0]
    notes = []
    for source, other in zip(sources[1:], affines[1:], strict=True):
        if affine is None or other is None:
            if other is not None:
                raise _only_one(source.path, other, first.path)
            if affine is not None:
                raise _only_one(first.path, affine, source.path)
            continue
        if (other.factor > MAX_RATIO * affine.factor).any() or (affine.factor > MAX_RATIO * other.factor).any():
            raise ModelError(
                f"{source.path} must take the same image as {first.path}, but the one normalises it by "
                f"{other.spell()}, the other by {affine.spell()}, which is another range of pixels; say what each "
                "takes by --mean TASK=.. and --std TASK=.."
            )
        if not (np.array_equal(affine.factor, other.factor) and np.array_equal(affine.summand, other.summand)):
            notes.append(
                f"the image is normalised in the graphs by {affine.spell()} in {first.path} and by {other.spell()} in "
                f"{source.path}, which have no layer in common for that reason"
            )
    return tuple(notes)


def _only_one(inner: Path, affine: Affine, outer: Path) -> ModelError:
    return ModelError(
        f"{outer} must take the same image as {inner}, but only {inner} normalises it in its graph ({affine.spell()}); "
        "say what each takes by --mean TASK=.. and --std TASK=.., 0,0,0 and 1,1,1 for the one that normalises by itself"
    )


def _spell(normalisation: Normalisation | None) -> str:
    mean, std = (",".join(f"{number:g}" for number in numbers) for numbers in normalisation or ((), ()))
    return f"mean {mean}, std {std}"


def normalise(image: Array, normalisation: Normalisation | None) -> Array:
    """``image`` as the file of that normalisation takes it; float32, with the bits of `insert_normalisation`."""
    if normalisation is None:
        return image
    mean, std = (_per_channel(numbers) for numbers in normalisation)
    return (image - mean) / std


def insert_normalisation(source: Source, normalisation: Normalisation | None) -> None:
    """Let the graph take pixels / 255 and do itself what had to be done to its image before. In place."""
    if normalisation is None:
        return
    graph, image = source.model.graph, source.image_value
    readers, value, nodes = tuple(image.uses()), image, []
    for op, numbers, neutral in zip(("Sub", "Div"), normalisation, (0.0, 1.0), strict=True):
        if {*numbers} == {neutral}:
            continue
        constant = add_constant(graph, f"{image.name}.{op.lower()}", _per_channel(numbers))
        node = ir.node(op, [value, constant], name=f"{image.name}/{op}")
        value = result(node)
        value.name, value.shape, value.type = f"{image.name}.{op.lower()}.output", image.shape, image.type
        nodes.append(node)
    graph.insert_before(next(iter(graph)), nodes)
    for use in readers:
        use.node.replace_input_with(use.idx, value)


def _per_channel(numbers: tuple[float, ...]) -> Array:
    return np.array(numbers, np.float32).reshape(1, -1, 1, 1)
