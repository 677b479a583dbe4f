"""The files that are merged, each read twice: as the compiler reads it, and with the bits of its outputs untouched."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import onnx_ir as ir

from edgemtl.errors import ModelError, UnsupportedError, UsageError
from edgemtl.frontend import InputSpec, MultiTaskModel, Task, read_model
from edgemtl.frontend.exact import read_exactly, read_opset_of
from edgemtl.frontend.metadata import Metadata
from edgemtl.frontend.moe_node import OPSET
from edgemtl.frontend.names import legal_names
from edgemtl.graph import shape_of
from edgemtl.options import MergeInput, Normalisation
from edgemtl.partition.cost import Cost, cost_of


@dataclass(frozen=True)
class Source:
    """One of the files.

    tasks: as the compiler sees them, under the names they have in the merged model.  shapes: of their outputs.
    outputs: their names in the file.  normalisation: of the input, None where nobody says it.  model: onnxruntime
    gives the file's bits with it.  cost: of running the file alone.
    """

    path: Path
    tasks: tuple[Task, ...]
    shapes: tuple[tuple[int, ...], ...]
    outputs: tuple[str, ...]
    input: InputSpec
    normalisation: Normalisation | None
    model: ir.Model
    metadata: Metadata | None
    cost: Cost
    weight_files: tuple[Path, ...]

    @property
    def file_bytes(self) -> int:
        """Of the file and its weight files."""
        return sum(file.stat().st_size for file in (self.path, *self.weight_files))


def read_sources(files: Sequence[MergeInput], least_opset: int) -> tuple[Source, ...]:
    """Read each file. Raises, with the path, what `read_model` raises; ModelError for two equal files.

    least_opset: of the graphs, which have one opset in common: that of the files where they agree, else the newest.
    """
    models = []
    for file in files:
        with naming(file.path):
            models.append(read_model(file.path))
    _check_different([file.path for file in files], [model.sha256 for model in models])
    opset = _common_opset([read_opset_of(file.path) for file in files], least_opset)
    named = [name for file, model in zip(files, models, strict=True) for name in _names(file.task, model)]
    names = iter(legal_names(named))
    return tuple(
        _read(file, model, tuple(next(names) for _ in model.tasks), opset)
        for file, model in zip(files, models, strict=True)
    )


def _names(name: str, model: MultiTaskModel) -> list[str]:
    """A file of one task has the task's name; of several, it stands in front of theirs."""
    return [name] if len(model.tasks) == 1 else [f"{name}_{task.name}" for task in model.tasks]


def _read(file: MergeInput, model: MultiTaskModel, names: tuple[str, ...], opset: int) -> Source:
    with naming(file.path):
        exact = read_exactly(file.path, opset)
    tasks = tuple(
        Task(name, name, task.kind, task.channels, task.classes) for name, task in zip(names, model.tasks, strict=True)
    )
    shapes = tuple(shape_of(value) for value in model.ir.graph.outputs)
    return Source(
        file.path,
        tasks,
        shapes,
        exact.outputs,
        model.input,
        _normalisation(file, model.input),
        exact.ir,
        exact.metadata,
        cost_of(model.ir),
        model.weight_files,
    )


def _normalisation(file: MergeInput, image: InputSpec) -> Normalisation | None:
    """What the user says, or the file; UsageError for another number of channels."""
    channels = image.shape[1]
    if file.normalisation is not None and any(len(numbers) != channels for numbers in file.normalisation):
        raise UsageError(f"--mean and --std must have {channels} numbers, one a channel of {file.path}")
    if image.mean is None or image.std is None or file.overrides:
        return file.normalisation
    return image.mean, image.std


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
