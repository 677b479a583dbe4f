"""Patch embedding against torch's convolution in float64."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from edgemtl.operators import PatchEmbed
from edgemtl.processor import CpuTarget
from edgemtl.tvm_bridge.kernels import patch_embed
from tests.tvm_bridge.harness import close, normal, on_targets, run, targets


def check(spec: PatchEmbed, target: CpuTarget) -> None:
    image = normal(1, spec.channels, spec.height, spec.width)
    weight = normal(spec.dim, spec.channels, spec.patch, spec.patch)
    tokens = spec.leading + spec.height // spec.patch * (spec.width // spec.patch)
    table = normal(tokens, spec.dim)
    packed = patch_embed.pack(spec, target, weight, table)
    y = run(patch_embed.build(spec, target), target, image=image, weight=packed[0], table=packed[1])["y"]
    products = torch.conv2d(torch.from_numpy(image).double(), torch.from_numpy(weight).double(), stride=spec.patch)
    expected = table.astype(float)
    expected[spec.leading :] += products[0].flatten(1).T.numpy()
    close(y, expected)


@st.composite
def specs(draw: st.DrawFn) -> PatchEmbed:
    """Any image that holds at least one patch; rows and columns behind the last patch are not read."""
    patch = draw(st.integers(1, 9))
    height, width = (patch * draw(st.integers(1, 5)) + draw(st.integers(0, patch - 1)) for _ in range(2))
    dim, leading = draw(st.integers(1, 100)), draw(st.integers(0, 2))
    return PatchEmbed(draw(st.integers(1, 3)), height, width, patch, dim, leading)


@given(specs(), st.sampled_from(targets(1) + targets(2) + targets(3)))
@settings(max_examples=15, deadline=None, derandomize=True)
def test_any_size(spec: PatchEmbed, target: CpuTarget) -> None:
    check(spec, target)


@on_targets()
def test_size_of_a_model(target: CpuTarget) -> None:
    check(PatchEmbed(3, 96, 128, 8, 96, 1), target)
