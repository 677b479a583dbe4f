"""The integer convolution kernel against the law, bit for bit."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from edgemtl.hw import law
from edgemtl.hw.law import Finish
from edgemtl.operators import QConv2d
from edgemtl.processor import CpuTarget
from edgemtl.tvm_bridge.kernel import Kernel
from edgemtl.tvm_bridge.kernels import qconv
from tests.support.processors import on_each
from tests.tvm_bridge.int8_cases import TARGETS, equal, layer, random_bytes, run_all, weights_of

AROUND, NONE, ONE = (1, 1, 1, 1), (0, 0, 0, 0), (1, 1)
BYTES, RELU, SHORTS = Finish("int8", 3, -127), Finish("int8", -128), Finish("int16")
Pair = tuple[int, int]


def conv(
    image: Pair,
    channels: Pair,
    kernel: Pair = (3, 3),
    stride: Pair = ONE,
    pad: tuple[int, int, int, int] = AROUND,
    dilation: Pair = ONE,
    how: Finish = BYTES,
    table: bool = False,
) -> QConv2d:
    out = [
        (image[axis] + pad[axis] + pad[axis + 2] - (kernel[axis] - 1) * dilation[axis] - 1) // stride[axis] + 1
        for axis in range(2)
    ]
    return QConv2d(*image, *channels, *out, kernel, stride, pad, dilation, 5, how, table)


SPECS = [
    conv((1, 1), (1, 1)),
    conv((9, 70), (8, 96), how=RELU),
    conv((5, 7), (3, 13), table=True),
    conv((11, 23), (3, 16), (7, 7), (2, 2), (3, 3, 3, 3), how=SHORTS),
    conv((9, 14), (8, 12), (1, 5), (1, 3), (0, 2, 1, 3), (1, 2)),
    conv((12, 13), (5, 24), pad=(2, 2, 2, 2), dilation=(2, 2)),
    conv((6, 6), (97, 8), (2, 2), (2, 2), NONE),
    conv((5, 6), (12, 96), (1, 1), pad=NONE, table=True),
    conv((2, 2), (5, 24), (1, 1), (2, 1), (0, 5, 3, 1)),
    conv((4, 200), (4, 8), (3, 3), how=SHORTS),
]


def case(spec: QConv2d, target: CpuTarget) -> tuple[tuple[Kernel, dict[str, np.ndarray]], np.ndarray]:
    kernel, taps = qconv.build(spec, target), spec.kernel[0] * spec.kernel[1]
    held = layer(spec.cin * taps, spec.cout)
    weight = held.weight.T.reshape(spec.cout, spec.cin, *spec.kernel)
    x = random_bytes(spec.height, spec.width, spec.cin)
    constants = replace(held, weight=weight).constants(spec.table)
    arrays = {"x": x.reshape(-1, spec.cin)} | weights_of(kernel, qconv.pack(spec, target, *constants))
    layout = (spec.zero, spec.stride, spec.pad, spec.dilation)
    table = held.table if spec.table else None
    wanted = law.conv2d(x, weight, held.bias, held.mul, held.shift, spec.how, *layout, table)
    return (kernel, arrays), wanted.reshape(-1, spec.cout)


@on_each(TARGETS)
def test_the_law_holds(target: CpuTarget) -> None:
    held, expected = zip(*(case(spec, target) for spec in SPECS), strict=True)
    for actual, wanted in zip(run_all(held, target), expected, strict=True):
        equal(actual, wanted)


@pytest.mark.parametrize(("pixels", "tall"), [(1, 6), (6, 6), (7, 6), (16, 6), (64, 6), (13, 12)])
def test_tiles_cover_a_row_evenly(pixels: int, tall: int) -> None:
    cut = list(qconv.even_tiles(pixels, tall))
    covered = [
        first + tile * height + at for first, height, count in cut for tile in range(count) for at in range(height)
    ]
    assert covered == list(range(pixels))
    heights = [height for _, height, count in cut if count]
    assert max(heights) <= tall
    assert max(heights) - min(heights) <= 1
