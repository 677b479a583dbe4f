"""The files that are merged, each read twice: as the compiler reads it, and with the bits of its outputs untouched."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import onnx_ir as ir

from edgemtl.errors import ModelError, UnsupportedError, UsageError
from edgemtl.frontend import InputSpec, MultiTaskModel, Task, read_model
from edgemtl.frontend.exact import ExactGraph, Outline, outline, read_exactly
from edgemtl.frontend.metadata import Metadata
from edgemtl.frontend.moe_node import OPSET
from edgemtl.frontend.names import legal_names
from edgemtl.graph import shape_of
from edgemtl.merge_options import MergeInput, MergeOptions, Normalisation
from edgemtl.options import Shapes
from edgemtl.partition.cost import Cost, cost_of
from edgemtl.suggest import one_of


@dataclass(frozen=True)
class Result:
    """An output: ONNX's type and the shape."""

    dtype: ir.DataType
    shape: tuple[int, ...]


@dataclass(frozen=True)
class Source:
    """One of the files.

    tasks: as the compiler sees them, under the names they have in the merged model.  results: type and shape of their
    outputs.  outputs: their names in the file.  inputs: in the order of the first file's.  normalisation: of the image,
    None where nobody says it.  model: onnxruntime gives the file's bits with it.  cost: of running the file alone.
    """

    path: Path
    tasks: tuple[Task, ...]
    results: tuple[Result, ...]
    outputs: tuple[str, ...]
    inputs: tuple[InputSpec, ...]
    normalisation: Normalisation | None
    model: ir.Model
    metadata: Metadata | None
    cost: Cost
    weight_files: tuple[Path, ...]

    @property
    def image(self) -> InputSpec | None:
        """The input that is a picture; None where there is none, or more than one."""
        images = [spec for spec in self.inputs if spec.is_image]
        return images[0] if len(images) == 1 else None

    @property
    def image_value(self) -> ir.Value:
        """The image in the graph, which must have one."""
        assert self.image is not None
        return self.model.graph.inputs[self.inputs.index(self.image)]

    @property
    def file_bytes(self) -> int:
        """Of the file and its weight files."""
        return sum(file.stat().st_size for file in (self.path, *self.weight_files))


def read_sources(files: Sequence[MergeInput], options: MergeOptions) -> tuple[Source, ...]:
    """Read each file. Raises, with the path, what `read_model` raises; ModelError for two equal files.

    The graphs have one opset: that of the files where they agree and it can hold what ``options`` ask for, else the
    newest of them, or a newer one. Raises UsageError for shapes of inputs that no file has.
    """
    outlines = [_outline(file.path) for file in files]
    shapes = [{n: s for n, s in options.shapes if n in of.inputs} for of in outlines]
    _check_names(options.shapes, [name for of in outlines for name in of.inputs])
    models = []
    for file, own in zip(files, shapes, strict=True):
        with naming(file.path):
            models.append(read_model(file.path, shapes=own))
    _check_different([file.path for file in files], [model.sha256 for model in models])
    opset = _common_opset([of.opset for of in outlines], options.least_opset)
    named = [name for file, model in zip(files, models, strict=True) for name in _names(file.task, model)]
    names = iter(legal_names(named))
    return tuple(
        _read(
            file, model, _read_exactly(file.path, opset, own), tuple(next(names) for _ in model.tasks), models[0].inputs
        )
        for file, model, own in zip(files, models, shapes, strict=True)
    )


def _names(name: str, model: MultiTaskModel) -> list[str]:
    """A file of one task has the task's name; of several, it stands in front of theirs."""
    return [name] if len(model.tasks) == 1 else [f"{name}_{task.name}" for task in model.tasks]


def _outline(path: Path) -> Outline:
    with naming(path):
        return outline(path)


def _read_exactly(path: Path, opset: int, shapes: Mapping[str, tuple[int, ...]]) -> ExactGraph:
    with naming(path):
        return read_exactly(path, opset, shapes)


def _read(
    file: MergeInput, model: MultiTaskModel, exact: ExactGraph, names: tuple[str, ...], order: Sequence[InputSpec]
) -> Source:
    inputs = _arrange(file.path, model.inputs, order)
    if len(exact.outputs) != len(model.tasks):
        raise ModelError(f"{file.path} must have an output for each task, not an input that chooses one; export it so")
    tasks = tuple(
        Task(name, name, task.kind, task.channels, task.classes) for name, task in zip(names, model.tasks, strict=True)
    )
    values = {str(value.name): value for value in exact.ir.graph.inputs}
    exact.ir.graph.inputs[:] = [values[spec.name] for spec in inputs]
    results = tuple(Result(value.dtype or ir.DataType.FLOAT, shape_of(value)) for value in model.ir.graph.outputs)
    return Source(
        file.path,
        tasks,
        results,
        exact.outputs,
        inputs,
        _normalisation(file, inputs),
        exact.ir,
        exact.metadata,
        cost_of(model.ir),
        model.weight_files,
    )


def _arrange(path: Path, inputs: Sequence[InputSpec], order: Sequence[InputSpec]) -> tuple[InputSpec, ...]:
    """The inputs in the order of the first file's: a single one whatever its name, several by name."""
    by_name = {spec.name: spec for spec in inputs}
    if len(inputs) == len(order) == 1:
        return tuple(inputs)
    if by_name.keys() != {spec.name for spec in order}:
        names = [", ".join(spec.name for spec in specs) for specs in (order, inputs)]
        raise ModelError(f"{path} must have the inputs of the first file, {names[0]}, not {names[1]}; export it again")
    return tuple(by_name[spec.name] for spec in order)


def _normalisation(file: MergeInput, inputs: Sequence[InputSpec]) -> Normalisation | None:
    """What the user says, or the file; UsageError where it does not fit the image."""
    images = [spec for spec in inputs if spec.is_image]
    if file.normalisation is not None and (
        len(images) != 1 or any(len(numbers) != images[0].shape[1] for numbers in file.normalisation)
    ):
        channels = " or ".join(str(spec.shape[1]) for spec in images) or "no"
        raise UsageError(
            f"--mean and --std must have {channels} numbers, one a channel of the only image of {file.path}"
        )
    recorded = next(((of.mean, of.std) for of in images if of.mean is not None and of.std is not None), None)
    return file.normalisation if recorded is None or file.overrides else recorded


def _check_names(shapes: Shapes, inputs: Sequence[str]) -> None:
    for name, _ in shapes:
        if name not in inputs:
            raise UsageError(one_of("NAME of --shape NAME=SIZES", dict.fromkeys(inputs), name))


def _common_opset(opsets: Sequence[int], least: int) -> int:
    newest = max(*opsets, least)
    return newest if {*opsets} == {newest} else max(newest, OPSET)


def _check_different(paths: Sequence[Path], digests: Sequence[str]) -> None:
    for index, (path, digest) in enumerate(zip(paths, digests, strict=True)):
        if digest in digests[:index]:
            twin = paths[digests.index(digest)]
            raise ModelError(f"{path} must be another model than {twin}, not one with the same bytes; name it once")


@contextmanager
def naming(what: Path | str) -> Iterator[None]:
    """Say of which file an error is."""
    try:
        yield
    except UnsupportedError as error:
        raise UnsupportedError(f"{what}: {error.node}", error.reason, error.hint) from error
    except ModelError as error:
        text = str(error)
        raise ModelError(text if text.startswith(f"{what} ") else f"{what}: {text}") from error
