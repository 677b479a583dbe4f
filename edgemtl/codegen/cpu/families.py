"""Which module of kernels runs a spec, and how its weights come into the weights section."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from types import ModuleType
from typing import Any

from edgemtl.codegen.cpu.ir import Constant
from edgemtl.codegen.cpu.weights import WeightStore
from edgemtl.tvm_bridge import specs
from edgemtl.tvm_bridge.kernel import Kernel
from edgemtl.tvm_bridge.kernels import combine, layernorm, linear, patch_embed
from edgemtl.tvm_bridge.target import CpuTarget

FAMILIES: dict[type, ModuleType] = {
    specs.CombineSpec: combine,
    specs.LayerNormSpec: layernorm,
    specs.LinearSpec: linear,
    specs.PatchEmbedSpec: patch_embed,
}


def build_kernel(spec: Any, target: CpuTarget) -> Kernel:
    """The kernel of a spec; the same object for equal specs."""
    kernel: Kernel = FAMILIES[type(spec)].build(spec, target)
    return kernel


def pack(spec: Any, target: CpuTarget, constants: Sequence[Constant], store: WeightStore) -> Iterator[int]:
    """Store the packed weights of a step; their offsets in bytes in the order of the kernel's weight operands."""
    if constants:
        packed = FAMILIES[type(spec)].pack(spec, target, *(constant.array for constant in constants))
        for constant, array in zip(constants, packed, strict=True):
            yield store.add(constant.name, array)
