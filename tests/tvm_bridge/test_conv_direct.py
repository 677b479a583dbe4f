"""Direct and depthwise convolution against torch in double precision."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from edgemtl.operators import Conv2d
from edgemtl.processor import CpuTarget, resolve
from edgemtl.tvm_bridge.kernels import conv_direct
from edgemtl.tvm_bridge.kernels.conv_rows import inner_columns
from tests.tvm_bridge.harness import close, normal, on_targets, run

AROUND = (1, 1, 1, 1)
CASES = (
    Conv2d(1, 1, 1, 1, (3, 3), pad=AROUND),
    Conv2d(1, 7, 3, 7, (3, 3), pad=AROUND, activation="relu"),
    Conv2d(5, 3, 7, 40, (3, 3), pad=AROUND, activation="gelu"),
    Conv2d(17, 31, 40, 96, (3, 3), pad=AROUND),
    Conv2d(4, 9, 257, 3, (3, 3), pad=AROUND),
    Conv2d(6, 5, 3, 257, (3, 3), pad=AROUND),
    Conv2d(19, 23, 3, 16, (7, 7), (2, 2), (3, 3, 3, 3), activation="relu"),
    Conv2d(9, 14, 8, 12, (1, 5), (1, 3), (0, 2, 1, 3), (1, 2)),
    Conv2d(12, 13, 12, 24, (3, 3), pad=(2, 2, 2, 2), dilation=(2, 2), groups=3),
    Conv2d(10, 12, 40, 40, (3, 3), pad=AROUND, groups=40, activation="relu"),
    Conv2d(11, 30, 19, 19, (5, 3), (2, 2), (2, 1, 2, 1), groups=19),
    Conv2d(6, 8, 4, 8, (3, 3), pad=AROUND, groups=4),
)


def output(spec: Conv2d, target: CpuTarget) -> tuple[np.ndarray, np.ndarray]:
    """The result, and the same in double precision."""
    x, bias = normal(spec.height, spec.width, spec.cin), normal(spec.cout)
    shape = (spec.cout, spec.cin // spec.groups, *spec.kernel)
    weight = normal(*shape) / np.float32(np.prod(shape[1:]) ** 0.5)
    packed = dict(zip(("weight", "bias"), conv_direct.pack(spec, target, weight, bias), strict=True))
    y = run(conv_direct.build(spec, target), target, x=x, **packed)["y"]
    image, weight, bias = (torch.from_numpy(a.astype(np.float64)) for a in (x.transpose(2, 0, 1)[None], weight, bias))
    top, left, bottom, right = spec.pad
    image = torch.nn.functional.pad(image, (left, right, top, bottom))
    result = torch.nn.functional.conv2d(image, weight, bias, spec.stride, 0, spec.dilation, spec.groups)
    if spec.activation:
        result = getattr(torch.nn.functional, spec.activation)(result)
    return y, result[0].permute(1, 2, 0).numpy()


@on_targets()
@pytest.mark.parametrize("spec", CASES, ids=lambda s: f"{s.height}x{s.width}x{s.cin}x{s.cout}g{s.groups}")
def test_matches_double_precision(spec: Conv2d, target: CpuTarget) -> None:
    close(*output(spec, target))


sizes = st.integers(1, 4)
pairs = st.tuples(st.integers(1, 3), st.integers(1, 3))


@settings(max_examples=8, deadline=None)
@given(
    image=st.tuples(st.integers(1, 12), st.integers(1, 20)),
    channels=st.tuples(st.integers(1, 3), sizes, sizes),
    kernel=st.tuples(sizes, sizes),
    stride=pairs,
    pad=st.tuples(*[st.integers(0, 3)] * 4),
    dilation=pairs,
    depthwise=st.booleans(),
    threads=st.integers(1, 4),
)
def test_any_convolution_matches(
    image: tuple[int, int],
    channels: tuple[int, int, int],
    kernel: tuple[int, int],
    stride: tuple[int, int],
    pad: tuple[int, int, int, int],
    dilation: tuple[int, int],
    depthwise: bool,
    threads: int,
) -> None:
    groups, cin, cout = channels if not depthwise else (channels[0] * 5, 1, 1)
    spec = Conv2d(*image, groups * cin, groups * cout, kernel, stride, pad, dilation, groups)
    assume(spec.out_height > 0 and spec.out_width > 0)
    close(*output(spec, resolve("cpu", threads)))


@pytest.mark.parametrize("groups", [1, 20])
def test_the_same_bits_for_any_number_of_parts(groups: int) -> None:
    spec = Conv2d(9, 13, 20, 20, (3, 3), pad=AROUND, groups=groups)
    first = output(spec, resolve("cpu", 1))[0].tobytes()
    assert all(output(spec, resolve("cpu", threads))[0].tobytes() == first for threads in (2, 3))


@pytest.mark.parametrize("spec", CASES, ids=lambda s: f"{s.width}x{s.kernel[1]}")
def test_free_pixels_are_those_whose_window_is_inside(spec: Conv2d) -> None:
    inside = [
        all(
            0 <= column * spec.stride[1] + tap * spec.dilation[1] - spec.pad[1] < spec.width
            for tap in range(spec.kernel[1])
        )
        for column in range(spec.out_width)
    ]
    start, stop = inner_columns(spec)
    assert all(inside[start:stop])
    assert not any(inside[:start])
    assert not any(inside[max(start, stop) :])
