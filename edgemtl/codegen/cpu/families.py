"""Which module of kernels runs a spec, and how its weights come into the weights section."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from types import ModuleType

import numpy as np

from edgemtl.codegen.cpu.weights import WeightStore
from edgemtl.lowering.ir import Constant
from edgemtl.tvm_bridge import specs, specs_conv, specs_int8
from edgemtl.tvm_bridge.kernel import Kernel
from edgemtl.tvm_bridge.kernels import (
    attention,
    combine,
    conv_direct,
    copy,
    experts,
    layernorm,
    linear,
    patch_embed,
    qattention,
    qbilinear,
    qcombine,
    qconv,
    qcopy,
    qelementwise,
    qexperts,
    qimage,
    qlayernorm,
    qlinear,
    qpatch,
    qrouter,
    resize,
    router,
    winograd,
    winograd_weights,
)
from edgemtl.tvm_bridge.target import CpuTarget

FAMILIES: dict[type, ModuleType] = {
    specs.AttentionSpec: attention,
    specs.CombineSpec: combine,
    specs.ExpertSpec: experts,
    specs.LayerNormSpec: layernorm,
    specs.LinearSpec: linear,
    specs.PatchEmbedSpec: patch_embed,
    specs.RouterSpec: router,
    specs.CopySpec: copy,
    specs_conv.Conv2dSpec: conv_direct,
    specs_conv.ResizeSpec: resize,
    specs_conv.WinogradSpec: winograd,
    specs_conv.WinogradWeightsSpec: winograd_weights,
    specs_int8.ConvertSpec: qelementwise,
    specs_int8.DequantiseImageSpec: qimage,
    specs_int8.DequantiseSpec: qelementwise,
    specs_int8.QAttentionSpec: qattention,
    specs_int8.QBilinearSpec: qbilinear,
    specs_int8.QCombineSpec: qcombine,
    specs_int8.QConv2dSpec: qconv,
    specs_int8.QCopySpec: qcopy,
    specs_int8.QExpertSpec: qexperts,
    specs_int8.QLayerNormSpec: qlayernorm,
    specs_int8.QLinearSpec: qlinear,
    specs_int8.QPatchEmbedSpec: qpatch,
    specs_int8.QRouterSpec: qrouter,
    specs_int8.QuantiseImageSpec: qimage,
    specs_int8.QuantiseSpec: qelementwise,
}


# Kernels that read tables made from their sizes alone, with no weight of the model in them.
TABLES: dict[type, tuple[str, ...]] = {
    specs.RouterSpec: ("router.candidates",),
    specs_int8.QAttentionSpec: ("attention.exp2",),
    specs_int8.QRouterSpec: ("router.candidates", "router.exp2"),
    specs_conv.ResizeSpec: ("resize.rows", "resize.row_weights", "resize.columns", "resize.column_weights"),
}


def build_kernel(spec: object, target: CpuTarget) -> Kernel:
    """The kernel of a spec; the same object for equal specs. A kernel made elsewhere is its own spec."""
    if isinstance(spec, Kernel):
        return spec
    kernel: Kernel = FAMILIES[type(spec)].build(spec, target)
    return kernel


def pack(spec: object, target: CpuTarget, constants: Sequence[Constant], store: WeightStore) -> Iterator[int]:
    """Store the packed weights of a step; their offsets in bytes in the order of the kernel's weight
    operands.
    """
    if isinstance(spec, specs.ExpertSpec):
        places = list(_pack_experts(spec, target, constants, store))
        yield store.add_offsets(f"{constants[0].name}.table", places)
    elif isinstance(spec, specs_int8.QExpertSpec):
        yield from _pack_byte_experts(spec, target, constants, store)
    elif type(spec) in TABLES:
        for name, array in zip(TABLES[type(spec)], FAMILIES[type(spec)].pack(spec, target), strict=True):
            yield store.add(name, array)
    elif isinstance(spec, Kernel):
        for constant in constants:
            # A truth value is a byte, which the bundle's tensors have no other name for.
            is_bool = constant.array.dtype == np.bool_
            yield store.add(constant.name, constant.array.view(np.uint8) if is_bool else constant.array)
    elif constants:
        packed = FAMILIES[type(spec)].pack(spec, target, *(constant.array for constant in constants))
        for constant, array in zip(constants, packed, strict=True):
            yield store.add(constant.name, array)


def _pack_experts(
    spec: specs.ExpertSpec, target: CpuTarget, constants: Sequence[Constant], store: WeightStore
) -> Iterator[int]:
    """Each expert is a tensor of its own (weight and bias), found through a table: tasks share the ones they
    share.
    """
    for weight, bias in zip(constants[::2], constants[1::2], strict=True):
        yield store.add(weight.name, experts.pack_expert(spec, target, weight.array, bias.array))


def _pack_byte_experts(
    spec: specs_int8.QExpertSpec, target: CpuTarget, constants: Sequence[Constant], store: WeightStore
) -> Iterator[int]:
    """Each expert's weight is a tensor of its own, which tasks share; its bias and scale may differ from task to
    task and lie in one tensor of the step.
    """
    name, tables = constants[0].name, constants[3 * spec.slots :]
    weights, biases, scales = (constants[first : 3 * spec.slots : 3] for first in range(3))
    packed = [(weight.name, qexperts.pack_expert(spec, target, weight.array)) for weight in weights]
    yield store.add_offsets(f"{name}.table", [store.add(*expert) for expert in packed])
    arrays = ([constant.array for constant in held] for held in (weights, biases, scales))
    yield store.add(f"{name}.params", qexperts.pack_params(spec, target, *arrays))
    yield from (store.add(table.name, table.array) for table in tables)
