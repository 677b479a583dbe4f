"""The image that all files read: one size, and one normalisation or, behind the input, one for each file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx_ir as ir

from edgemtl.errors import ModelError
from edgemtl.frontend import InputSpec
from edgemtl.graph import add_constant, result
from edgemtl.merge.affine import Affine, leading_affine
from edgemtl.merge.sources import Source
from edgemtl.operators import Array
from edgemtl.options import Normalisation

MAX_RATIO = 16.0
"""Of the factors by which two graphs normalise: pixels to 255 and pixels to 1 differ by more, two data sets do not."""


@dataclass(frozen=True)
class SharedImage:
    """The input of the merged model.

    own: for each source, the normalisation that moves into the graph; None where the source reads the input itself.
    """

    spec: InputSpec
    own: tuple[Normalisation | None, ...]
    notes: tuple[str, ...]


def share_image(sources: Sequence[Source]) -> SharedImage:
    """The input that all ``sources`` can read.

    Raises ModelError for two files whose images differ in size or in how they are resized, and where it cannot be
    told whether they expect the same image: only one says how it is normalised, in its metadata or in its graph.
    """
    first = sources[0]
    for source in sources[1:]:
        if source.input.shape != first.input.shape:
            sizes = f"{list(first.input.shape)}, as {first.path} does, not {list(source.input.shape)}"
            raise ModelError(f"{source.path} must take an image of {sizes}; export both with one size")
    resize = _common_filter(sources)
    known = [source.normalisation for source in sources]
    if all(normalisation == known[0] for normalisation in known):
        mean, std = known[0] or (None, None)
        notes = () if known[0] else _compare_graphs(sources)
        return SharedImage(
            InputSpec(first.input.name, first.input.shape, mean, std, resize), (None,) * len(known), notes
        )
    _check_known([source.path for source in sources], known)
    channels = first.input.shape[1]
    spec = InputSpec(first.input.name, first.input.shape, (0.0,) * channels, (1.0,) * channels, resize)
    listed = "; ".join(f"{source.path}: {_spell(of)}" for source, of in zip(sources, known, strict=True))
    note = f"input {first.input.name}: the merged model takes pixels / 255 and normalises them for each file: {listed}"
    return SharedImage(spec, tuple(known), (note,))


def _common_filter(sources: Sequence[Source]) -> str:
    """The resize filter of those that record one."""
    recorded = [source for source in sources if source.metadata is not None]
    for source in recorded[1:]:
        if source.input.resize_filter != recorded[0].input.resize_filter:
            first = recorded[0]
            raise ModelError(
                f"{source.path} must resize pictures by {first.input.resize_filter}, as {first.path} does, "
                f"not by {source.input.resize_filter}; export both with one --resize-filter"
            )
    return (recorded or sources)[0].input.resize_filter


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
    first, affine = sources[0], leading_affine(sources[0].model.graph)
    notes = []
    for source in sources[1:]:
        other = leading_affine(source.model.graph)
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
                f"input {first.input.name}: normalised in the graphs by {affine.spell()} in {first.path} and by "
                f"{other.spell()} in {source.path}, which have no layer in common for that reason"
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


def insert_normalisation(graph: ir.Graph, normalisation: Normalisation | None) -> None:
    """Let the graph take pixels / 255 and do itself what had to be done to its input before. In place."""
    if normalisation is None:
        return
    (image,) = graph.inputs
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
