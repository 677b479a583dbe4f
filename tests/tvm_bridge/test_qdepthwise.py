"""Depthwise convolutions of bytes against sums taken tap by tap and requantised in Python's integers."""

from __future__ import annotations

import numpy as np

from edgemtl.hw.arith import encode_scale, pack_scale
from edgemtl.hw.law import Finish
from edgemtl.operators import QConv2d
from edgemtl.processor import CpuTarget
from edgemtl.tvm_bridge.kernels import qconv
from tests.support.processors import on_each
from tests.tvm_bridge.int8_cases import LIMIT, SCALES, TARGETS, equal, random_bytes, run_all, weights_of

Pair = tuple[int, int]
BYTES, RELU, SHORTS = Finish("int8", 3, -127), Finish("int8", -128), Finish("int16")


def depthwise(
    image: Pair, channels: int, kernel: Pair, stride: Pair, dilation: Pair, how: Finish, table: bool = False
) -> QConv2d:
    pad = tuple((size - 1) * step // 2 for size, step in zip(kernel, dilation, strict=True))
    out = [
        (size + 2 * before - (taps - 1) * step - 1) // distance + 1
        for size, before, taps, step, distance in zip(image, pad, kernel, dilation, stride, strict=True)
    ]
    around = (*pad, *pad)
    return QConv2d(*image, channels, channels, *out, kernel, stride, around, dilation, -7, how, table, channels)


SPECS = [
    depthwise((9, 11), 96, (3, 3), (1, 1), (1, 1), BYTES),
    depthwise((31, 37), 40, (3, 3), (1, 1), (1, 1), RELU, table=True),
    depthwise((12, 7), 64, (5, 5), (2, 2), (1, 1), BYTES, table=True),
    depthwise((13, 9), 33, (4, 3), (3, 1), (1, 2), RELU),
    depthwise((11, 12), 72, (3, 3), (1, 1), (3, 2), BYTES),
    depthwise((8, 5), 48, (2, 1), (2, 3), (2, 1), SHORTS),
    depthwise((6, 1), 17, (7, 7), (1, 1), (1, 1), SHORTS),
    depthwise((5, 3), 5, (3, 3), (1, 1), (1, 1), BYTES, table=True),
]


def constants_of(spec: QConv2d) -> tuple[np.ndarray, ...]:
    """Random weights; biases and scales of every size, as far as sums have 32 bits."""
    random = np.random.default_rng(spec.cin)
    weight = random.integers(-128, 128, (spec.cin, 1, *spec.kernel)).astype(np.int8)
    most = LIMIT - 1 - 2**14 * spec.kernel[0] * spec.kernel[1]
    bias = random.integers(-20000, 20000, spec.cin)
    bias[1::5], bias[3::7] = most, -most
    scales = [encode_scale(2.0 ** random.uniform(-12, -6)) for _ in range(spec.cin)]
    scales[1::3] = [SCALES[index % len(SCALES)] for index in range(len(scales[1::3]))]
    mul, shift = np.array(scales).T
    return weight, bias.astype(np.int32), pack_scale(mul, shift), random_bytes(256)


def expected(spec: QConv2d, x: np.ndarray, weight: np.ndarray, bias: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """The law, one integer at a time; before the table."""
    top, left, bottom, right = spec.pad
    padded = np.pad(x.astype(np.int64), ((top, bottom), (left, right), (0, 0)), constant_values=spec.zero)
    sums = np.zeros((spec.out_height, spec.out_width, spec.cin), np.int64) + bias
    for ky in range(spec.kernel[0]):
        for kx in range(spec.kernel[1]):
            rows = padded[ky * spec.dilation[0] :: spec.stride[0], kx * spec.dilation[1] :: spec.stride[1]]
            sums += rows[: spec.out_height, : spec.out_width] * weight[:, 0, ky, kx].astype(np.int64)
    (low, high), zero = spec.how.limits, spec.how.zero if spec.how.dtype == "int8" else 0
    words = [divmod(int(word), 2**17) for word in scale]
    levels = [
        min(max((int(total) * words[channel][1] + 2 ** (words[channel][0] - 1) >> words[channel][0]) + zero, low), high)
        for total, channel in zip(sums.ravel(), np.tile(np.arange(spec.cin), sums.size // spec.cin), strict=True)
    ]
    return np.array(levels, spec.how.dtype).reshape(-1, spec.cin)


@on_each(TARGETS)
def test_the_law_holds(target: CpuTarget) -> None:
    kernels, results = [], []
    for spec in SPECS:
        *layer, table = constants_of(spec)
        x = random_bytes(spec.height, spec.width, spec.cin)
        kernel = qconv.build(spec, target)
        packed = qconv.pack(spec, target, *layer, *([table] if spec.table else []))
        kernels.append((kernel, {"x": x.reshape(-1, spec.cin)} | weights_of(kernel, packed)))
        levels = expected(spec, x, *layer)
        results.append(table[levels.astype(np.int64) + 128] if spec.table else levels)
    for actual, result in zip(run_all(kernels, target), results, strict=True):
        equal(actual, result)
