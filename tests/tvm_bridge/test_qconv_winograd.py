"""Winograd's convolution of bytes against the law, bit for bit."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from edgemtl.hw import law
from edgemtl.hw.law import Finish
from edgemtl.operators import QWinograd, QWinogradWeights
from edgemtl.processor import CpuTarget, resolve
from edgemtl.tvm_bridge.kernels import qwinograd, qwinograd_weights
from edgemtl.tvm_bridge.kernels.qwinograd_math import (
    INVERSE,
    LOST_BITS,
    MOST_CHANNELS,
    WEIGHTS,
    input_row,
    output_row,
)
from edgemtl.tvm_bridge.kernels.tiles import padded_width
from tests.support.processors import on_each
from tests.tvm_bridge.harness import INTEGER_TARGETS, run
from tests.tvm_bridge.int8_cases import Layer, equal, layer, random_bytes, weights_of

TARGETS = [*(resolve(name, 3) for name in INTEGER_TARGETS), resolve("cpu-avx2", 1)]
BYTES, RELU, SHORTS = Finish("int8", 3, -127), Finish("int8", -128), Finish("int16")


def conv(
    height: int, width: int, cin: int, cout: int, how: Finish = BYTES, zero: int = 5, table: bool = False
) -> QWinograd:
    return QWinograd(height, width, cin, cout, zero, how, table, 0)


SPECS = [
    conv(1, 1, 1, 1),
    conv(2, 3, 3, 7, RELU, zero=-128),
    conv(4, 4, 16, 64, zero=127),
    conv(5, 9, 33, 13, table=True),
    conv(17, 11, 40, 96, SHORTS),
    conv(6, 14, 64, 130, RELU),
]


def outputs(spec: QWinograd, target: CpuTarget, x: np.ndarray, constants: Layer) -> tuple[np.ndarray, np.ndarray]:
    """What the kernels compute of an image [H, W, C], and what the law does; ``constants.weight`` is [9 C, N]."""
    spec = replace(spec, columns=padded_width(spec.cout, target))
    weight = constants.weight.T.reshape(spec.cout, spec.cin, 3, 3)
    form = QWinogradWeights(spec.cin, spec.cout, spec.columns)
    (raw,) = qwinograd_weights.pack(form, target, weight)
    prepared = run(qwinograd_weights.build(form, target), target, raw=raw)
    kernel, table = qwinograd.build(spec, target), [constants.table] if spec.table else []
    packed = weights_of(kernel, qwinograd.pack(spec, target, constants.bias, constants.words, *table))
    actual = run(kernel, target, x=x.reshape(-1, spec.cin), **prepared, **packed)["y"]
    layout = spec.zero, (1, 1), (1, 1, 1, 1), (1, 1)
    numbers = weight, constants.bias, constants.mul, constants.shift
    expected = law.conv2d(x, *numbers, spec.how, *layout, constants.table if spec.table else None)
    return actual, expected.reshape(-1, spec.cout)


@on_each(TARGETS)
@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: f"{spec.height}x{spec.width}x{spec.cin}x{spec.cout}")
def test_the_law_holds(spec: QWinograd, target: CpuTarget) -> None:
    x = random_bytes(spec.height, spec.width, spec.cin)
    equal(*outputs(spec, target, x, layer(9 * spec.cin, spec.cout)))


@on_each(TARGETS)
def test_the_largest_sums_are_exact(target: CpuTarget) -> None:
    """Every byte and weight at an end of its range: the sums of products leave 32 bits, and come back."""
    spec = conv(5, 6, 512, 17, SHORTS, zero=-128)
    signs = np.where(np.random.default_rng(1).random((9 * spec.cin, spec.cout)) < 0.5, -1, 1)
    signs[:, :3] = [1, -1, 1]
    constants = replace(layer(9 * spec.cin, spec.cout), weight=np.where(signs > 0, 127, -128).astype(np.int8))
    alike = np.full((5, 6, spec.cin), -128, np.int8)
    alternating = np.where(np.indices((5, 6, spec.cin)).sum(0) % 2, -128, 127).astype(np.int8)
    for x in (alike, alternating):
        equal(*outputs(spec, target, x, constants))


def wrap(value: int) -> int:
    """The signed word that an integer is modulo 2^32."""
    return (value + 2**31) % 2**32 - 2**31


def places_of(samples: list[int]) -> np.ndarray:
    """B^T d."""
    return np.array(input_row(samples, lambda value, factor: value * factor))


def outputs_of(places: np.ndarray) -> list[int]:
    """A^T m, every operation modulo 2^32."""
    return output_row(
        [int(place) for place in places],
        lambda a, b: wrap(a + b),
        lambda a, b: wrap(a - b),
        lambda a, bits: wrap(a << bits),
    )


INPUT = np.stack([places_of(row) for row in np.eye(6, dtype=int).tolist()], 1)
"""B^T."""


def test_the_matrices_compute_thirty_times_a_convolution_of_a_line() -> None:
    """For all samples and weights: both sides are bilinear, and equal on every pair of unit vectors."""
    for samples in np.eye(6, dtype=int):
        for weights in np.eye(3, dtype=int):
            line = outputs_of(places_of(samples.tolist()) * (WEIGHTS @ weights))
            assert line == [30 * int(samples[i : i + 3] @ weights) for i in range(4)]


def test_transformed_values_fit_16_bits_and_pairs_of_products_32() -> None:
    most_input = np.abs(INPUT).sum(1).max() ** 2 * 128
    most_weight = np.abs(WEIGHTS).sum(1).max() ** 2 * 128
    assert (most_input, most_weight) == (25088, 28800)
    assert 2 * most_input * most_weight < 2**31
    # Inside of a row, after the other direction: four times the shared terms of 2, 3 and 2.
    assert 7 * np.abs(INPUT).sum(1).max() * 128 < 2**15


@pytest.mark.parametrize("total", [0, 1, -1, 2**29 - 1, -(2**29) + 1, 9 * 128 * 128 * MOST_CHANNELS])
def test_sums_below_2_to_the_29_come_back_from_900_times_them(total: int) -> None:
    assert wrap(wrap(900 * total) * INVERSE) >> LOST_BITS == total
    assert abs(total) < 2**29
