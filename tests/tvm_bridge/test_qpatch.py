"""The integer patch embedding against the law, bit for bit."""

from __future__ import annotations

import numpy as np

from edgemtl.hw import law
from edgemtl.operators import QPatchEmbed
from edgemtl.processor import CpuTarget
from edgemtl.tvm_bridge.kernel import Kernel
from edgemtl.tvm_bridge.kernels import qpatch
from tests.support.processors import on_each
from tests.tvm_bridge.int8_cases import TARGETS, equal, layer, random_bytes, random_shorts, run_all, weights_of

SPECS = [QPatchEmbed(33, 48, 96, 1), QPatchEmbed(1, 3, 13, 0), QPatchEmbed(7, 97, 8, 2)]


def case(spec: QPatchEmbed, target: CpuTarget) -> tuple[tuple[Kernel, dict[str, np.ndarray]], np.ndarray]:
    kernel, held = qpatch.build(spec, target), layer(spec.k, spec.n)
    x, table = random_bytes(spec.patches, spec.k), random_shorts(spec.leading + spec.patches, spec.n)
    arrays = {"x": x} | weights_of(kernel, qpatch.pack(spec, target, *held.constants(), table))
    wanted = law.patch_embed(x, held.weight, held.bias, held.mul, held.shift, table, spec.leading)
    return (kernel, arrays), wanted


@on_each(TARGETS)
def test_the_law_holds(target: CpuTarget) -> None:
    held, expected = zip(*(case(spec, target) for spec in SPECS), strict=True)
    for actual, wanted in zip(run_all(held, target), expected, strict=True):
        equal(actual, wanted)
