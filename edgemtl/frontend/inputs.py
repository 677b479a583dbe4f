"""The inputs of the graph: of any rank, of types that are compiled, of fixed size."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import prod

import onnx_ir as ir

from edgemtl.errors import ModelError, UnsupportedError
from edgemtl.frontend.files import MAX_ELEMENTS
from edgemtl.frontend.indices import index_bounds
from edgemtl.frontend.metadata import InputMetadata, Metadata
from edgemtl.frontend.model import InputSpec
from edgemtl.frontend.passes import Notes
from edgemtl.vocabulary import DEFAULT_FILTER, INPUT_DTYPES

MAX_SIDE = 1 << 15
MAX_RANK = 8
MOST_CHANNELS = 4
"""Of a picture; a last axis of at most as many, behind larger ones, is taken for channels by whoever reads it."""
AXES = ("batch", "channels", "height", "width")
DTYPES = {ir.DataType[name]: numpy for name, numpy in INPUT_DTYPES.items()}


def fix_batch(graph: ir.Graph) -> Notes:
    """Give inputs a first axis of 1 where its size is open, and forget the shapes that followed from it.

    Raises `UnsupportedError` for any other open size, `ModelError` for sizes below 1 and for too many elements.
    """
    notes: list[str] = []
    for value in graph.inputs:
        sizes = list(value.shape) if value.shape is not None else []
        if sizes and _is_open(sizes[0]):
            notes.append(f"input {value.name}: batch size {_spell(sizes[0])} taken as 1")
            sizes[0] = 1
            value.shape = ir.Shape(sizes)
    _check_open(graph.inputs)
    for value in graph.inputs:
        _check_sizes(value)
    for node in graph:
        for output in node.outputs:
            output.shape = None
    return tuple(notes)


def _is_open(size: int | ir.SymbolicDim) -> bool:
    return not isinstance(size, int) or size < 0


def _check_open(inputs: Sequence[ir.Value]) -> None:
    """Raise UnsupportedError that lists the open axes of every input."""
    opened = {str(v.name): axes for v in inputs if (axes := _open_axes(v))}
    if not opened:
        return
    name, axes = next(iter(opened.items()))
    rest = "".join(f", and input {other} in {_list(more)}" for other, more in list(opened.items())[1:])
    reason = f"its size is open in {_list(axes)}{rest}, and shapes are fixed when compiling"
    shapes = " ".join(f"--shape {v.name}={_form(v)}" for v in inputs if str(v.name) in opened)
    hint = f"give {shapes}, with numbers, or export the model with a fixed {' and '.join(axes)}"
    raise UnsupportedError(f"input {name}", reason, hint)


def _open_axes(value: ir.Value) -> dict[str, int | ir.SymbolicDim]:
    sizes = [] if value.shape is None else list(value.shape)
    return {axis: size for axis, size in zip(_axes(len(sizes)), sizes, strict=True) if _is_open(size)}


def _axes(rank: int) -> tuple[str, ...]:
    """What a user calls the axes."""
    return AXES if rank == len(AXES) else tuple(f"axis {index}" for index in range(rank))


def _list(axes: Mapping[str, int | ir.SymbolicDim]) -> str:
    return " and ".join(f"{axis} ({_spell(size)})" for axis, size in axes.items())


def _form(value: ir.Value) -> str:
    """The shape as --shape takes it, with names where numbers are missing."""
    assert value.shape is not None
    axes = zip(_axes(len(value.shape)), value.shape, strict=True)
    return "x".join(axis.replace(" ", "").upper() if _is_open(size) else str(size) for axis, size in axes)


def _check_sizes(value: ir.Value) -> None:
    sizes = [] if value.shape is None else [size for size in value.shape if isinstance(size, int)]
    most = MAX_SIDE if len(sizes) == len(AXES) else MAX_ELEMENTS
    for axis, size in zip(_axes(len(sizes)), sizes, strict=True):
        if not 1 <= size <= most:
            article = "an" if axis.startswith("a") else "a"
            raise ModelError(f"input {value.name} must have {article} {axis} from 1 to {most}, not {size}")
    if prod(sizes) > MAX_ELEMENTS or len(sizes) > MAX_RANK:
        rule = f"at most {MAX_RANK} axes and {MAX_ELEMENTS} elements"
        raise ModelError(f"input {value.name} must have {rule}, not shape {sizes}; check the model's sizes")


def _spell(size: int | ir.SymbolicDim) -> str:
    """A size that is open, as the file has it: a name, or a negative number as some exporters write."""
    return str(size if isinstance(size, int) else size.value or "unknown")


def check_inputs(graph: ir.Graph) -> None:
    """`UnsupportedError` unless the graph has an input, and every input a type that is compiled and a known rank."""
    for value in graph.inputs:
        if value.dtype not in DTYPES or value.shape is None:
            reason = f"it is {value.dtype} of shape {value.shape}, and inputs are {', '.join(DTYPES.values())}"
            raise UnsupportedError(f"input {value.name}", reason, "export the model with inputs of these types")
    if not graph.inputs:
        raise UnsupportedError("graph", "it has no input, so its outputs never change", "export it with its inputs")


def normalisation_note(name: str) -> str:
    """What is said of an image whose normalisation the model does not record."""
    return f"input {name}: normalisation unknown, it is expected as the model takes it"


def _layout_note(name: str, channels: int, height: int, width: int) -> str:
    looks = f"[1, {channels}, {height}, {width}] looks like [N, H, W, C]"
    read = f"it is read as [N, C, H, W], {channels} channels of {height}x{width}"
    return f"input {name}: {looks}, and {read}; if that is wrong, export the model with channels first"


def describe_inputs(graph: ir.Graph, metadata: Metadata | None) -> tuple[tuple[InputSpec, ...], Notes]:
    """The inputs in order, images with the normalisation the metadata gives; a note on those without one."""
    known = {} if metadata is None else {metadata.input.name: metadata.input}
    described = [_describe(value, known.get(str(value.name))) for value in graph.inputs]
    return tuple(spec for spec, _ in described), tuple(note for _, notes in described for note in notes)


def _describe(value: ir.Value, known: InputMetadata | None) -> tuple[InputSpec, Notes]:
    assert value.shape is not None
    assert value.dtype is not None
    shape, name = tuple(int(size) for size in value.shape.numpy()), str(value.name)
    if not (value.dtype == ir.DataType.FLOAT and len(shape) == len(AXES)):
        return InputSpec(name, shape, None, None, dtype=DTYPES[value.dtype], bounds=index_bounds(value)), ()
    notes: list[str] = []
    _, channels, height, width = shape
    mean, std = (known.mean, known.std) if known is not None else (None, None)
    if mean is None or std is None:
        notes.append(normalisation_note(name))
    elif not len(mean) == len(std) == channels or min(std) <= 0:
        rule = f"{channels} means and {channels} positive deviations"
        raise ModelError(f"metadata of input {name} must have {rule}, not {mean} and {std}")
    if channels > MOST_CHANNELS and width <= MOST_CHANNELS:
        notes.append(_layout_note(name, channels, height, width))
    resize_filter = known.resize_filter if known is not None else DEFAULT_FILTER
    return InputSpec(name, shape, mean, std, resize_filter), tuple(notes)
