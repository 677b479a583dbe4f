"""The image input: one, of batch 1 and fixed size."""

from __future__ import annotations

from collections.abc import Sequence

import onnx_ir as ir

from edgemtl.errors import ModelError, UnsupportedError
from edgemtl.frontend.metadata import Metadata
from edgemtl.frontend.model import InputSpec
from edgemtl.frontend.passes import Notes
from edgemtl.vocabulary import DEFAULT_FILTER

MAX_SIDE = 1 << 15
MOST_CHANNELS = 4
"""Of a picture; a last axis of at most as many, behind larger ones, is taken for channels by whoever reads it."""
AXES = ("batch", "channels", "height", "width")


def is_image(value: ir.Value) -> bool:
    """Whether a graph input can be the image: rank 4."""
    return value.shape is not None and len(value.shape) == 4


def fix_batch(graph: ir.Graph) -> Notes:
    """Give the image input a batch of 1 where its size is open, and forget the shapes that followed from it.

    Raises `UnsupportedError` for any other open size and for another batch, `ModelError` for sizes below 1.
    """
    notes: list[str] = []
    for value in filter(is_image, graph.inputs):
        assert value.shape is not None
        sizes = list(value.shape)
        if not isinstance(sizes[0], int) or sizes[0] < 0:
            notes.append(f"input {value.name}: batch size {_spell(sizes[0])} taken as 1")
            sizes[0] = 1
        _check_sizes(value, sizes)
        value.shape = ir.Shape(sizes)
    for node in graph:
        for output in node.outputs:
            output.shape = None
    return tuple(notes)


def _check_sizes(value: ir.Value, sizes: Sequence[int | ir.SymbolicDim]) -> None:
    named = dict(zip(AXES, sizes, strict=True))
    if opened := {axis: size for axis, size in named.items() if not isinstance(size, int) or size < 0}:
        axes = " and ".join(f"{axis} ({_spell(size)})" for axis, size in opened.items())
        reason = f"its size is open in {axes}, and shapes are fixed when compiling"
        raise UnsupportedError(f"input {value.name}", reason, f"export the model with a fixed {' and '.join(opened)}")
    for axis, size in named.items():
        if isinstance(size, int) and not 1 <= size <= MAX_SIDE:
            raise ModelError(f"input {value.name} must have a {axis} from 1 to {MAX_SIDE}, not {size}")
    if sizes[0] != 1:
        reason = f"its batch size is {sizes[0]}, and models are compiled for one image"
        hint = "export the model with batch size 1: `edgemtl run` and Session.run take any number of images, one by one"
        raise UnsupportedError(f"input {value.name}", reason, hint)


def _spell(size: int | ir.SymbolicDim) -> str:
    """A size that is open, as the file has it: a name, or a negative number as some exporters write."""
    return str(size if isinstance(size, int) else size.value or "unknown")


def check_inputs(graph: ir.Graph) -> None:
    """`UnsupportedError` unless the graph has one input, a float32 image [1, C, H, W]."""
    inputs = list(graph.inputs)
    for value in inputs:
        if not is_image(value):
            reason = f"it is {_describe(value)}, and the only input can be an image [1, C, H, W]"
            raise UnsupportedError(f"input {value.name}", reason, "make it a constant before exporting")
        if value.dtype != ir.DataType.FLOAT:
            reason = f"it is {_describe(value)}, and images are float32"
            raise UnsupportedError(f"input {value.name}", reason, "export the model with a float32 image")
    if len(inputs) != 1:
        names = ", ".join(str(value.name) for value in inputs) or "none"
        reason = f"there are {len(inputs)} inputs ({names}), and there must be one image"
        raise UnsupportedError("graph", reason, "export the model with the image as its only input")


def _describe(value: ir.Value) -> str:
    return f"{value.dtype} of shape {value.shape}"


def normalisation_note(name: str) -> str:
    """What is said of an input whose normalisation the model does not record."""
    return f"input {name}: normalisation unknown, the image is expected as the model takes it"


def _layout_note(name: str, channels: int, height: int, width: int) -> str:
    looks = f"[1, {channels}, {height}, {width}] looks like [N, H, W, C]"
    read = f"it is read as [N, C, H, W], {channels} channels of {height}x{width}"
    return f"input {name}: {looks}, and {read}; if that is wrong, export the model with channels first"


def describe_input(graph: ir.Graph, metadata: Metadata | None) -> tuple[InputSpec, Notes]:
    """The input with the normalisation the metadata gives; a note where there is none."""
    (value,) = graph.inputs
    assert value.shape is not None
    assert value.name is not None
    notes: list[str] = []
    batch, channels, height, width = value.shape.numpy()
    known = metadata is not None and metadata.input == value.name
    mean, std = (metadata.mean, metadata.std) if metadata is not None and known else (None, None)
    if mean is None or std is None:
        notes.append(normalisation_note(value.name))
    elif not len(mean) == len(std) == channels or min(std) <= 0:
        rule = f"{channels} means and {channels} positive deviations"
        raise ModelError(f"metadata of input {value.name} must have {rule}, not {mean} and {std}")
    if channels > MOST_CHANNELS and width <= MOST_CHANNELS:
        notes.append(_layout_note(value.name, channels, height, width))
    resize_filter = metadata.resize_filter if metadata is not None and known else DEFAULT_FILTER
    return InputSpec(value.name, (batch, channels, height, width), mean, std, resize_filter), tuple(notes)
