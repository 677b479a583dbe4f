"""Integer convolutions by Winograd's algorithm where that is faster: the same bits, other steps."""

from __future__ import annotations

from collections.abc import Set
from dataclasses import replace

from edgemtl.lowering.emit import prepared_view
from edgemtl.lowering.ir import Lowered, Step, make_step
from edgemtl.operators import QConv2d, QWinograd, QWinogradWeights
from edgemtl.processor import CpuTarget
from edgemtl.tvm_bridge.kernels.qwinograd_math import MOST_CHANNELS
from edgemtl.tvm_bridge.kernels.tiles import padded_width

TILE, PLACES, TAPS = 4, 36, 9


def with_winograd(task: Lowered, target: CpuTarget, forbidden: Set[str] = frozenset()) -> Lowered:
    """The task with its convolutions by the faster algorithm, and the steps that transform their weights once.

    ``forbidden`` names prepared buffers there is no memory for.
    """
    steps, prepare = [], {step.result.buffer: step for step in task.prepare}
    for step in task.steps:
        transform = _transform(step, target) if gains(step.operator, target) else None
        if transform is not None and transform.result.buffer not in forbidden:
            prepare[transform.result.buffer] = transform
            step = _winograd(step, transform)
        steps.append(step)
    return replace(task, steps=tuple(steps), prepare=tuple(prepare.values()))


def gains(operator: object, target: CpuTarget) -> bool:
    """Whether Winograd's algorithm computes a convolution, and faster than the direct kernel.

    It needs products of 16 bits, and takes 36 of them for a tile of 16 pixels and a pair of channels where the direct
    kernel takes 144. It must save half of these, which it does unless most tiles hang over the border, and have the
    channels that its transforms are worth (measured: `python -m benchmarks.operators --operators conv`).
    """
    if not isinstance(operator, QConv2d) or target.vector_bits < 256:
        return False
    form = operator.kernel, operator.stride, operator.pad, operator.dilation, operator.groups
    if form != ((3, 3), (1, 1), (1, 1, 1, 1), (1, 1), 1):
        return False
    height, width = operator.height, operator.width
    tiles = -(-height // TILE) * -(-width // TILE)
    channels = min(operator.cin, operator.cout)
    return (
        2 * PLACES * tiles <= TAPS * height * width
        and channels >= least_channels(target)
        and operator.cin <= MOST_CHANNELS
    )


def least_channels(target: CpuTarget) -> int:
    """Channels from which the transforms are worth it; with products of bytes they save less."""
    return 16 if target.byte_instructions else 8


def _transform(step: Step, target: CpuTarget) -> Step:
    spec = step.operator
    assert isinstance(spec, QConv2d)
    operator = QWinogradWeights(spec.cin, spec.cout, padded_width(spec.cout, target))
    weight = step.constant("weight")
    return make_step(operator, {"transformed": prepared_view(operator, weight)}, {"weight": weight}, step.origin)


def _winograd(step: Step, transform: Step) -> Step:
    spec, form = step.operator, transform.operator
    assert isinstance(spec, QConv2d)
    assert isinstance(form, QWinogradWeights)
    sizes = spec.height, spec.width, spec.cin, spec.cout
    operator = QWinograd(*sizes, spec.zero, spec.how, spec.table, form.columns)
    constants = {name: step.constant(name) for name in operator.signature.constants}
    views = {"x": step["x"], "transformed": transform.result, "y": step["y"]}
    return make_step(operator, views, constants, step.origin)
