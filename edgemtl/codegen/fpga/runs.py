"""Which groups run as one segment: neighbours that see the buffers between them as rows of one width."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from edgemtl.codegen.fpga import networks as nets
from edgemtl.codegen.fpga.fitting import EVERYTHING_FITS, Fitting, Run, key_of
from edgemtl.codegen.fpga.select import Left

PASSES = (nets.AddGroup, nets.MapGroup, nets.RescaleGroup, nets.ConcatGroup, nets.MeanGroup)
"""Groups that read their values once and compute little with each."""
NO_LAYER = (
    "no layer with weights that the accelerator runs is next to it, and for a segment of its own the host CPU would "
    "copy as many values as it computes"
)


def runs(selected: Sequence[nets.Group | Left], fitting: Fitting = EVERYTHING_FITS) -> Iterator[Run | Left]:
    """Runs of adjacent groups, one for each segment, between the steps left to the host CPU.

    Runs of one pass over their values are left as well: the host CPU would copy as many in and out.
    """
    for run in _runs(selected, fitting):
        if isinstance(run, Left) or not all(isinstance(group, PASSES) for group in run):
            yield run
        else:
            yield from (Left(step, NO_LAYER) for group in run for step in nets.steps_of(group))


def _runs(selected: Sequence[nets.Group | Left], fitting: Fitting) -> Iterator[Run | Left]:
    groups: list[nets.Group] = []
    for item in selected:
        if groups and (isinstance(item, Left) or not _joins(groups, item, fitting)):
            yield tuple(groups)
            groups = []
        if isinstance(item, Left):
            yield item
        else:
            groups.append(item)
    if groups:
        yield tuple(groups)


def _joins(groups: Sequence[nets.Group], group: nets.Group, fitting: Fitting) -> bool:
    if any(key_of(other) in fitting.alone for other in (groups[-1], group)):
        return False
    met = (
        (view, seen)
        for view in nets.reads_of(group)
        for other in groups
        for seen in (*nets.reads_of(other), *nets.writes_of(other))
        if seen.buffer == view.buffer
    )
    return all(view.shape[-1] == seen.shape[-1] for view, seen in met)
