"""Winograd's convolution against torch in double precision."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from edgemtl.operators import Winograd, WinogradWeights
from edgemtl.processor import CpuTarget, resolve
from edgemtl.tvm_bridge.kernels import winograd, winograd_weights
from edgemtl.tvm_bridge.kernels.tiles import padded_width
from edgemtl.tvm_bridge.kernels.winograd_math import (
    TILE,
    WINDOW,
    input_row,
    output_row,
    upsample_row,
    weight_matrix,
)
from tests.support.processors import on_each
from tests.tvm_bridge.harness import close, normal, run, targets

CASES = (
    Winograd(1, 1, 1, 1, False, "", 0),
    Winograd(1, 7, 3, 7, False, "relu", 0),
    Winograd(5, 3, 7, 3, False, "gelu", 0),
    Winograd(17, 31, 40, 96, False, "relu", 0),
    Winograd(8, 16, 64, 128, False, "", 0),
    Winograd(6, 9, 257, 1, False, "", 0),
    Winograd(4, 4, 16, 257, False, "relu", 0),
    Winograd(2, 2, 1, 40, True, "", 0),
    Winograd(14, 6, 40, 48, True, "relu", 0),
    Winograd(24, 32, 96, 64, True, "relu", 0, 19),
    Winograd(5, 7, 3, 7, False, "relu", 0, 1),
    Winograd(10, 18, 96, 160, True, "silu", 0, 40),
)


def name(spec: Winograd) -> str:
    """A short name of a case."""
    fused = ("up" if spec.upsample else "") + str(spec.pointwise or "")
    return f"{spec.height}x{spec.width}x{spec.cin}x{spec.cout}{fused}"


def arrays_of(spec: Winograd) -> tuple[np.ndarray, ...]:
    """An image, weights that keep its scale, biases."""
    low = (spec.height // 2, spec.width // 2) if spec.upsample else (spec.height, spec.width)
    weight = normal(spec.cout, spec.cin, 3, 3) / np.float32(3 * spec.cin**0.5)
    last = normal(spec.cout, spec.pointwise) / np.float32(spec.cout**0.5)
    return normal(*low, spec.cin), weight, normal(spec.cout), last, normal(spec.pointwise)


def expected(spec: Winograd, arrays: tuple[np.ndarray, ...]) -> np.ndarray:
    """The same in double precision."""
    image, weight, bias, last_weight, last_bias = (torch.from_numpy(a.astype(np.float64)) for a in arrays)
    image = image.permute(2, 0, 1)[None]
    if spec.upsample:
        image = torch.nn.functional.interpolate(image, scale_factor=2, mode="bilinear", align_corners=False)
    result = torch.nn.functional.conv2d(image, weight, bias, padding=1)
    if spec.activation:
        result = getattr(torch.nn.functional, spec.activation)(result)
    pixels = result[0].permute(1, 2, 0)
    return (pixels @ last_weight + last_bias if spec.pointwise else pixels).numpy()


def output(spec: Winograd, target: CpuTarget) -> np.ndarray:
    """Weights transformed, then the convolution."""
    x, weight, bias, *last = arrays_of(spec)
    spec = replace(spec, columns=padded_width(spec.cout, target))
    form = WinogradWeights(spec.cin, spec.cout, spec.upsample, spec.columns)
    (raw,) = winograd_weights.pack(form, target, weight)
    prepared = run(winograd_weights.build(form, target), target, raw=raw)
    packed = winograd.pack(spec, target, bias, *(last if spec.pointwise else ()))
    weights = dict(zip(("bias", "last_weight", "last_bias"), packed, strict=False))
    return run(winograd.build(spec, target), target, x=x, **prepared, **weights)["y"]


@on_each(targets()[:1])
@pytest.mark.parametrize("spec", CASES, ids=name)
def test_matches_double_precision(spec: Winograd, target: CpuTarget) -> None:
    close(output(spec, target), expected(spec, arrays_of(spec)))


@on_each([resolve("cpu-avx2")])
@pytest.mark.parametrize("spec", CASES[3::3], ids=name)
def test_narrower_vectors_match(spec: Winograd, target: CpuTarget) -> None:
    close(output(spec, target), expected(spec, arrays_of(spec)))


@settings(max_examples=4, deadline=None)
@given(
    height=st.integers(1, 20),
    width=st.integers(1, 20),
    cin=st.integers(1, 40),
    cout=st.integers(1, 70),
    upsample=st.booleans(),
    pointwise=st.sampled_from([0, 0, 3, 33]),
    threads=st.integers(1, 5),
)
def test_any_size_matches(
    height: int, width: int, cin: int, cout: int, upsample: bool, pointwise: int, threads: int
) -> None:
    factor = 2 if upsample else 1
    spec = Winograd(height * factor, width * factor, cin, cout, upsample, "relu", 0, pointwise)
    close(output(spec, resolve("cpu", threads)), expected(spec, arrays_of(spec)))


@pytest.mark.parametrize(
    "spec", [Winograd(8, 16, 40, 128, False, "", 0), Winograd(18, 14, 33, 70, True, "relu", 0, 19)], ids=str
)
def test_the_same_bits_for_any_number_of_parts(spec: Winograd) -> None:
    one = output(spec, resolve("cpu", 1))
    assert output(spec, resolve("cpu", 3)).tobytes() == one.tobytes()


def test_the_transforms_compute_a_convolution_of_a_line() -> None:
    random = np.random.default_rng(1)
    samples, kernel = random.standard_normal(WINDOW), random.standard_normal(3)
    products = weight_matrix(False) @ kernel * np.array(input_row(list(samples), float))
    direct = [samples[i : i + 3] @ kernel for i in range(TILE)]
    np.testing.assert_allclose(output_row(list(products), float), direct, rtol=1e-12)


def test_enlarged_samples_carry_four_times_the_bilinear_ones() -> None:
    low = np.random.default_rng(2).standard_normal(4)
    line = torch.from_numpy(low)[None, None]
    twice = torch.nn.functional.interpolate(line, scale_factor=2, mode="linear", align_corners=False)[0, 0].numpy()
    np.testing.assert_allclose(upsample_row(list(low), float), 4 * twice[1:-1], rtol=1e-12)
    np.testing.assert_array_equal(weight_matrix(True) * 4, weight_matrix(False))
