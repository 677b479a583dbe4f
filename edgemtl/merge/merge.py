"""Several files of one task each become one model: the table of contents."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path

import onnx_ir as ir

from edgemtl.errors import ModelError
from edgemtl.frontend import read_model
from edgemtl.merge.approximate import Approximation, approximate
from edgemtl.merge.assemble import assemble
from edgemtl.merge.inputs import insert_normalisation, share_inputs
from edgemtl.merge.join import join
from edgemtl.merge.measure import Distance, compare
from edgemtl.merge.parting import Parting
from edgemtl.merge.result import MergedTask, MergeResult
from edgemtl.merge.sources import Source, naming, read_sources
from edgemtl.merge_options import MergeInput, MergeOptions
from edgemtl.partition.cost import cost_of
from edgemtl.paths import check_apart, write_aside

Progress = Callable[[str], AbstractContextManager[None]]


def merge_models(files: Sequence[MergeInput], options: MergeOptions, output: Path, progress: Progress) -> MergeResult:
    """Merge the files into one model at ``output``, which is whole or not there.

    Raises what `read_model` raises, with the file's name; ModelError for files that cannot be one model, that share
    no weights, or whose merged model does not give their bits; QuantisationError where an approximation is too far.
    """
    with progress(f"reading {len(files)} files"):
        sources = read_sources(files, options)
        check_apart("-o", (output,), [path for source in sources for path in source.weight_files])
        shared = share_inputs(sources)
    with progress("merging"):
        for source, normalisation in zip(sources, shared.own, strict=True):
            insert_normalisation(source, normalisation)
        approximations = approximate([source.model.graph for source in sources], options)
        inputs = [ir.Value(shape=of.shape, type=of.type) for of in sources[0].model.graph.inputs]
        joined = join([source.model.graph for source in sources], inputs, sources[0].model.opset_imports[""])
        parting = Parting(joined, inputs)
        _check_shared(sources, parting)
        common, last = parting.last_common({*range(len(sources))}), [*map(parting.last_shared, range(len(sources)))]
        proto = assemble(sources, shared, inputs, joined)
    data = proto.SerializeToString(deterministic=True)
    with progress("comparing with the files"):
        near = [bool(of.near_weights or of.delta_weights) for of in approximations]
        distances = compare(data, sources, shared, near, options.least_sqnr_db)
    with write_aside(output) as aside, progress(f"writing {output}"):
        aside.write_bytes(data)
        with naming("the merged model"):
            merged = read_model(aside)
    tasks = _describe(sources, last, approximations, distances)
    costs = [source.cost.macs for source in sources]
    file_bytes = sum(source.file_bytes for source in sources)
    notes = (*shared.notes, *merged.notes)
    return MergeResult(str(output), common, len(data), file_bytes, cost_of(merged.ir).macs, sum(costs), tasks, notes)


def _check_shared(sources: Sequence[Source], parting: Parting) -> None:
    for number, source in enumerate(sources):
        if not parting.shares_weights(number):
            raise ModelError(
                f"{source.path} must share weights with another of the files, and shares none; compile it by itself, "
                "or give --tolerance or --deltas where it was fine-tuned throughout"
            )


def _describe(
    sources: Sequence[Source],
    last: Sequence[str | None],
    approximations: Sequence[Approximation],
    distances: Sequence[Distance],
) -> tuple[MergedTask, ...]:
    measured = iter(distances)
    return tuple(
        MergedTask(
            task.name,
            str(source.path),
            layer,
            source.file_bytes,
            source.cost.macs,
            near.near_weights,
            near.delta_weights,
            near.delta_bytes,
            distance.max_abs,
            distance.sqnr_db,
        )
        for source, layer, near in zip(sources, last, approximations, strict=True)
        for task in source.tasks
        for distance in [next(measured)]
    )
