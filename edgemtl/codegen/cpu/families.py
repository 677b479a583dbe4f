"""Which module of kernels runs an operator, and how its weights come into the weights section."""

from __future__ import annotations

from collections.abc import Iterator
from types import ModuleType

import numpy as np

from edgemtl import operators as ops
from edgemtl.codegen.cpu.weights import WeightStore
from edgemtl.lowering.ir import Step
from edgemtl.operators import Operator
from edgemtl.operators.linear import expanded, weight_of
from edgemtl.processor import CpuTarget
from edgemtl.tvm_bridge.kernel import FixedKernel, Kernel
from edgemtl.tvm_bridge.kernels import (
    attention,
    combine,
    concat,
    conv_direct,
    copy,
    dispatch,
    elementwise,
    experts,
    layernorm,
    linear,
    patch_embed,
    pixels,
    pool,
    qattention,
    qbilinear,
    qbinary,
    qclasses,
    qcombine,
    qconv,
    qcopy,
    qcurve,
    qelementwise,
    qexperts,
    qimage,
    qlayernorm,
    qlinear,
    qlookup,
    qmove,
    qnormalise,
    qpatch,
    qproduct,
    qrouter,
    qsoftmax,
    qwinograd,
    qwinograd_weights,
    resample,
    resize,
    router,
    widen,
    winograd,
    winograd_weights,
)

FAMILIES: dict[type, ModuleType] = {
    ops.Activate: elementwise,
    ops.Add: elementwise,
    ops.Attention: attention,
    ops.Concat: concat,
    ops.Multiply: elementwise,
    ops.Pool: pool,
    ops.Resample: resample,
    ops.Combine: combine,
    ops.Experts: experts,
    ops.LayerNorm: layernorm,
    ops.Linear: linear,
    ops.PatchEmbed: patch_embed,
    ops.Pixels: pixels,
    ops.Router: router,
    ops.Dispatch: dispatch,
    ops.Copy: copy,
    ops.Conv2d: conv_direct,
    ops.Resize: resize,
    ops.Widen: widen,
    ops.Winograd: winograd,
    ops.WinogradWeights: winograd_weights,
    ops.Convert: qelementwise,
    ops.DequantiseImage: qimage,
    ops.Dequantise: qelementwise,
    ops.QAdd: qbinary,
    ops.QAttention: qattention,
    ops.QBilinear: qbilinear,
    ops.QClasses: qclasses,
    ops.QCombine: qcombine,
    ops.QConcat: concat,
    ops.QConv2d: qconv,
    ops.QCopy: qcopy,
    ops.QCurve: qcurve,
    ops.QExperts: qexperts,
    ops.QLayerNorm: qlayernorm,
    ops.QLinear: qlinear,
    ops.QLookup: qlookup,
    ops.QMove: qmove,
    ops.QMultiply: qbinary,
    ops.QNormalise: qnormalise,
    ops.QPool: pool,
    ops.QProduct: qproduct,
    ops.QSoftmax: qsoftmax,
    ops.QResample: resample,
    ops.QPatchEmbed: qpatch,
    ops.QPixelPatches: pixels,
    ops.QPixels: pixels,
    ops.QRouter: qrouter,
    ops.QWinograd: qwinograd,
    ops.QWinogradWeights: qwinograd_weights,
    ops.QuantiseImage: qimage,
    ops.Quantise: qelementwise,
}


# Kernels that read tables made from their sizes alone, with no weight of the model in them.
TABLES: dict[type, tuple[str, ...]] = {
    ops.Dispatch: ("router.candidates",),
    ops.Router: ("router.candidates",),
    ops.QAttention: ("attention.exp2",),
    ops.QRouter: ("router.candidates", "router.exp2"),
    ops.QSoftmax: ("softmax.exp2",),
    ops.Resize: ("resize.rows", "resize.row_weights", "resize.columns", "resize.column_weights"),
}


def build_kernel(operator: Operator, target: CpuTarget) -> Kernel:
    """The kernel of an operator; the same object for equal ones."""
    if isinstance(operator, FixedKernel):
        return operator.kernel
    kernel: Kernel = FAMILIES[type(operator)].build(operator, target)
    return kernel


def pack(step: Step, target: CpuTarget, store: WeightStore) -> Iterator[int]:
    """Store the packed weights of a step; their offsets in bytes in the order of the kernel's weight operands."""
    operator = step.operator
    if isinstance(operator, ops.Experts):
        yield from _pack_experts(step, operator, target, store)
    elif isinstance(operator, ops.QExperts):
        yield from _pack_byte_experts(step, operator, target, store)
    elif type(operator) in TABLES:
        for name, array in zip(TABLES[type(operator)], FAMILIES[type(operator)].pack(operator, target), strict=True):
            yield store.add(name, array)
    elif isinstance(operator, FixedKernel):
        for constant in step.constants:
            # A truth value is a byte, which the bundle's tensors have no other name for.
            is_bool = constant.array.dtype == np.bool_
            yield store.add(constant.name, constant.array.view(np.uint8) if is_bool else constant.array)
    elif step.constants:
        packed = FAMILIES[type(operator)].pack(operator, target, *(constant.array for constant in step.constants))
        for name, array in zip(_packed_names(step), packed, strict=True):
            yield store.add(name, array)


def _packed_names(step: Step) -> list[str]:
    """Names of the tensors that constants are packed as: multipliers lie behind their codes."""
    kinds = step.operator.signature.constant_types
    return [c.name for (kind, _), c in zip(kinds, step.constants, strict=True) if kind != "multipliers"]


def _pack_experts(step: Step, operator: ops.Experts, target: CpuTarget, store: WeightStore) -> Iterator[int]:
    """Each expert is a tensor of its own (weight and bias), found through a table: tasks share the ones they
    share.
    """
    places = []
    for expert in range(operator.slots):
        weight, bias = step.constant("weight", expert), step.constant("bias", expert)
        places.append(store.add(weight.name, experts.pack_expert(operator, target, weight.array, bias.array)))
    yield store.add_offsets(f"{_first_name(step)}.table", places)


def _pack_byte_experts(step: Step, operator: ops.QExperts, target: CpuTarget, store: WeightStore) -> Iterator[int]:
    """Each expert's weight is a tensor of its own, which tasks share; its bias and scale may differ from task to
    task and lie in one tensor of the step.
    """
    names = tuple(weight_of(operator.k, operator.n, operator.coded))
    weights = [[step.constant(name, expert) for name in names] for expert in range(operator.slots)]
    arrays = [[constant.array for constant in weight] for weight in weights]
    packed = [qexperts.pack_expert(operator, target, *weight) for weight in arrays]
    first = weights[0][0].name
    places = [store.add(weight[0].name, array) for weight, array in zip(weights, packed, strict=True)]
    yield store.add_offsets(f"{first}.table", places)
    real = [expanded(operator.k, *weight) for weight in arrays]
    biases, scales = (
        [step.constant(name, expert).array for expert in range(operator.slots)] for name in ("bias", "scale")
    )
    yield store.add(f"{first}.params", qexperts.pack_params(operator, target, real, biases, scales))
    if operator.table:
        table = step.constant("table")
        yield store.add(table.name, table.array)


def _first_name(step: Step) -> str:
    return step.constant("weight", 0).name
