"""Frames of a camera that a patch embedding alone reads: their bytes become its patches in one pass."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from edgemtl import operators as ops
from edgemtl.lowering.ir import Step, View, dense
from edgemtl.quantize.links import only_link, rows_of_planes
from edgemtl.quantize.writer import Writer


@dataclass(frozen=True)
class CutFrame:
    """The indices of a copy of a frame's pixels to planes, and of the patch embedding that alone reads these."""

    turn: int
    embed: int


def find_cut_frames(writer: Writer) -> dict[int, CutFrame]:
    """The frames of a task by the index of their `Pixels`: of a float model, where nothing is in float or wide."""
    if writer.own:
        return {}
    steps, others = writer.float_steps, writer.fixed | writer.wide.readers
    pixels = [i for i, step in enumerate(steps) if isinstance(step.operator, ops.Pixels)]
    frames = {i: _cut_frame(steps, i) for i in pixels if i not in writer.fixed | writer.wide.sources}
    return {i: frame for i, frame in frames.items() if frame and others.isdisjoint((frame.turn, frame.embed))}


def _cut_frame(steps: Sequence[Step], index: int) -> CutFrame | None:
    link = only_link(steps, steps[index].result)
    if link is None or not isinstance(steps[link[1]].operator, ops.Copy):
        return None
    turn = steps[link[1]]
    further = only_link(steps, turn.result)
    if further is None or not isinstance(spec := steps[further[1]].operator, ops.PatchEmbed):
        return None
    rows = rows_of_planes(turn)
    whole = rows is not None and rows.shape == (1, spec.height, spec.width, spec.channels)
    cut = spec.height % spec.patch == spec.width % spec.patch == 0
    return CutFrame(*further) if whole and cut and turn["y"].sees_as(steps[further[1]]["image"]) else None


def patches_of(embed: Step) -> View:
    """Where the patches that an embedding reads lie."""
    spec = embed.operator
    assert isinstance(spec, ops.PatchEmbed)
    shape = (spec.height // spec.patch) * (spec.width // spec.patch), spec.channels * spec.patch**2
    return dense(f"{embed.result.buffer}.patches", shape, "int8")
