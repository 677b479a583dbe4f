"""Integer convolutions by Winograd's algorithm where that is faster: the same bits, other steps."""

from __future__ import annotations

from collections.abc import Mapping, Set
from dataclasses import replace

from edgemtl.lowering.emit import prepared_view
from edgemtl.lowering.ir import Lowered, Step, make_step
from edgemtl.operators import QConv2d, QWinograd, QWinogradWeights
from edgemtl.processor import CpuTarget
from edgemtl.tvm_bridge.kernels.qwinograd_math import MOST_CHANNELS
from edgemtl.tvm_bridge.kernels.tiles import padded_width

TILE, PLACES, TAPS = 4, 36, 9
LEAST: Mapping[int | str, tuple[int, int]] = {256: (8, 4), 512: (8, 12), "bytes": (16, 25)}
"""By vector width, or for products of bytes: the channels and the tiles from which Winograd's algorithm gains.

Fewer channels are not worth the transforms: 8 channels of a 64x64 image take 0.75 of the direct kernel's time with
AVX2, 0.95 with AVX-512 and 1.4 with products of bytes, 16 take 0.53, 0.51 and 0.76. Transformed weights have 8 times
the bytes, and where a network's weights leave the cache few tiles do not make up for that. Of 4 tiles (8x8), measured
in resnet18 with 256 channels and in repvgg with 192, they take 0.56 and 1.05 of the time with AVX2, 0.9 with AVX-512,
which is not worth the memory, and 1.6 and 2.7 with products of bytes; of 16 tiles, with 128 and 96 channels, 0.35 and
0.77, 0.51 and 0.61, 1.05 and 1.4. Both kernels in turns, on one core of an AMD EPYC (Zen 5).
"""


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
    channels and the tiles that `LEAST` asks for.
    """
    if not isinstance(operator, QConv2d) or target.vector_bits < 256:
        return False
    form = operator.kernel, operator.stride, operator.pad, operator.dilation, operator.groups
    if form != ((3, 3), (1, 1), (1, 1, 1, 1), (1, 1), 1):
        return False
    least_channels, least_tiles = LEAST["bytes" if target.byte_instructions else target.vector_bits]
    tiles = -(-operator.height // TILE) * -(-operator.width // TILE)
    return (
        2 * PLACES * tiles <= TAPS * operator.height * operator.width
        and tiles >= least_tiles
        and least_channels <= min(operator.cin, operator.cout)
        and operator.cin <= MOST_CHANNELS
    )


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
