"""What float operators compute, against torch."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch

from edgemtl import operators as ops
from edgemtl.host import run_operator

ACTIVATIONS = {
    "": lambda x: x,
    "relu": torch.relu,
    "gelu": torch.nn.functional.gelu,
    "gelu_tanh": lambda x: torch.nn.functional.gelu(x, approximate="tanh"),
    "silu": torch.nn.functional.silu,
    "mish": torch.nn.functional.mish,
    "sigmoid": torch.sigmoid,
    "tanh": torch.tanh,
    "relu6": torch.nn.functional.relu6,
    "hard_sigmoid": torch.nn.functional.hardsigmoid,
    "hard_swish": torch.nn.functional.hardswish,
}


def normal(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng([seed, *shape]).standard_normal(shape).astype(np.float32)


def compute(spec: Any, inputs: list[np.ndarray], constants: list[np.ndarray], shape: tuple[int, ...]) -> torch.Tensor:
    y = np.full(shape, np.nan, np.float32)
    run_operator("step", spec, inputs, constants, [y])
    return torch.from_numpy(y)


def close(actual: torch.Tensor, expected: torch.Tensor) -> None:
    torch.testing.assert_close(actual.double(), expected.double(), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_activations_from_end_to_end(activation: str) -> None:
    """Through zero, around the ends of the sampled curves, and far beyond them."""
    x = np.concatenate([np.linspace(-45, 45, 3001), [-1e4, -1e-4, 0.0, 1e-4, 1e4]]).astype(np.float32)[None]
    actual = compute(
        ops.Linear(1, x.size, x.size, activation, False), [x], [np.eye(x.size, dtype=np.float32), x[0] * 0], x.shape
    )
    close(actual, ACTIVATIONS[activation](torch.from_numpy(x).double()))


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("residual", [False, True])
def test_linear(activation: str, residual: bool) -> None:
    x, w, b, r = normal(5, 7), normal(7, 6), normal(6), normal(5, 6)
    actual = compute(ops.Linear(5, 7, 6, activation, residual), [x, r][: 1 + residual], [w, b], (5, 6))
    expected = ACTIVATIONS[activation](
        torch.from_numpy(x).double() @ torch.from_numpy(w).double() + torch.from_numpy(b)
    )
    close(actual, expected + torch.from_numpy(r) if residual else expected)


def test_layer_norm() -> None:
    x, scale, shift = normal(5, 7), normal(7), normal(7, seed=1)
    actual = compute(ops.LayerNorm(5, 7, 1e-5), [x], [scale, shift], (5, 7))
    close(
        actual,
        torch.nn.functional.layer_norm(*(torch.from_numpy(x), [7]), torch.from_numpy(scale), torch.from_numpy(shift)),
    )


def test_attention() -> None:
    qkv = normal(6, 3 * 2 * 4)
    actual = compute(ops.Attention(6, 2, 4, 0.5), [qkv], [], (6, 8))
    q, k, v = torch.from_numpy(qkv).reshape(6, 3, 2, 4).permute(1, 2, 0, 3)
    expected = torch.nn.functional.scaled_dot_product_attention(q, k, v, scale=0.5)
    close(actual, expected.transpose(0, 1).reshape(6, 8))


def test_patch_embed() -> None:
    image, weight, table = normal(1, 3, 9, 13), normal(5, 3, 4, 4), normal(1 + 6, 5)
    actual = compute(ops.PatchEmbed(3, 9, 13, 4, 5, 1), [image], [weight, table], (7, 5))
    patches = torch.nn.functional.conv2d(torch.from_numpy(image), torch.from_numpy(weight), stride=4)
    tokens = torch.cat([torch.zeros(1, 5), patches.flatten(2)[0].T])
    close(actual, tokens + torch.from_numpy(table))


@pytest.mark.parametrize("normalize", [False, True])
def test_experts_end_to_end(normalize: bool) -> None:
    """Router, one layer of experts and their combination, against a loop over tokens."""
    logits, x, residual = normal(8, 5), normal(8, 6), normal(8, 4)
    weights, biases = normal(3, 6, 4), normal(3, 4)
    spec = ops.Router(8, 5, 2, (0, 2, 4), normalize, 0.2)
    pairs, shapes = (8, 2), [(8, 2), (8, 2), (16,), (4,)]
    routes = [np.zeros(shape, kind) for shape, kind in zip(shapes, ["float32"] + 3 * ["int32"], strict=True)]
    run_operator("router", spec, [logits], [], routes)
    weight, slot, token, first = routes
    constants = [array for pair in zip(weights, biases, strict=True) for array in pair]
    made = compute(ops.Experts(8, 2, 3, 6, 4, True, "relu"), [x, token, first], constants, (16, 4)).numpy()
    actual = compute(ops.Combine(8, 2, 4, True), [made, weight, slot, residual], [], (8, 4))
    probability = torch.softmax(torch.from_numpy(logits), -1)[:, [0, 2, 4]]
    share, chosen = probability.topk(2)
    share = share / share.sum(-1, keepdim=True) if normalize else share
    share = torch.where(share < 0.2, 0, share)
    expected = torch.from_numpy(residual).double()
    for index in np.ndindex(pairs):
        expert, row = int(chosen[index]), torch.from_numpy(x[index[0]]).double()
        y = torch.relu(row @ torch.from_numpy(weights[expert]).double() + torch.from_numpy(biases[expert]))
        expected[index[0]] += share[index] * y
    close(actual, expected)


@pytest.mark.parametrize("groups", [1, 2])
def test_convolution(groups: int) -> None:
    image, weight, bias = normal(9 * 11, 4), normal(6, 4 // groups, 3, 2), normal(6)
    spec = ops.Conv2d(9, 11, 4, 6, (3, 2), (2, 1), (1, 0, 2, 1), (1, 2), groups, "gelu")
    actual = compute(spec, [image], [weight, bias], (spec.out_height * spec.out_width, 6))
    planes = torch.nn.functional.pad(torch.from_numpy(image).T.reshape(1, 4, 9, 11), (0, 1, 1, 2))
    kernel = torch.from_numpy(weight), torch.from_numpy(bias)
    expected = torch.nn.functional.conv2d(planes, *kernel, stride=(2, 1), dilation=(1, 2), groups=groups)
    close(actual, torch.nn.functional.gelu(expected).flatten(2)[0].T)


@pytest.mark.parametrize("planar", [False, True])
@pytest.mark.parametrize("size", [(10, 14), (3, 20), (5, 7)])
def test_resize(size: tuple[int, int], planar: bool) -> None:
    image = normal(5 * 7, 3)
    spec = ops.Resize(5, 7, 3, *size, planar)
    actual = compute(spec, [image], [], (1, 3, *size) if planar else (math.prod(size), 3))
    planes = torch.from_numpy(image).T.reshape(1, 3, 5, 7)
    expected = torch.nn.functional.interpolate(planes, size, mode="bilinear", align_corners=False)
    close(actual, expected if planar else expected.flatten(2)[0].T)


def test_copy() -> None:
    x = normal(4, 3)
    close(compute(ops.Copy((4, 3), (3, 1), (1, 4)), [x], [], (4, 3)), torch.from_numpy(x))
