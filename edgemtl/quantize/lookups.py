"""Nodes that are functions of every element by itself: in integers, tables of all 256 bytes."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from edgemtl.hw.arith import INT8
from edgemtl.onnx_runtime import open_session
from edgemtl.operators import Array, TensorType
from edgemtl.quantize.tensors import Tensor
from edgemtl.tvm_bridge.generic import Generic, node_model

FUNCTIONS = frozenset(
    "Abs Add Celu Clip Div Elu Erf Gelu HardSigmoid HardSwish LeakyRelu Max Min Mish Mul Neg PRelu Relu Selu Shrink "
    "Sigmoid Softplus Softsign Sub Swish Tanh ThresholdedRelu".split()
)
"""Operators whose slope is bounded: a byte of what they read says enough of what they give."""


def has_table(operator: Generic) -> bool:
    """Whether a node is a function of the elements of its one computed operand, the same one or one for each column."""
    call = operator.call
    if call.op not in FUNCTIONS or len(operator.reads) != 1 or len(call.outputs) != 1:
        return False
    (index,) = operator.reads
    x = call.inputs[index]
    if x is None or x.dtype != "float32" or call.result != x or (call.op == "Div" and index != 0):
        return False
    return all(math.prod(array.shape[:-1]) == 1 for array in call.constants.values())


def lookup_table(operator: Generic, x: Tensor, result: Tensor) -> Array:
    """int8 [1 or columns, 256] of a node with a table: what onnxruntime gives for every byte, halves to even."""
    real = function_values(operator, (np.arange(-128, 128) - x.zero) * x.scale)
    return np.asarray(np.clip(np.rint(real / np.float32(result.scale)) + result.zero, *INT8).T, np.int8)


def function_columns(operator: Generic) -> int:
    """Of how many columns each has a function of its own: 1 where all have the same."""
    return max((array.size for array in operator.call.constants.values()), default=1)


def function_values(operator: Generic, x: Array) -> Array:
    """What onnxruntime gives for numbers [n], float32 [n, 1 or columns]; 0 where that is not a number."""
    call, (index,) = operator.call, operator.reads
    columns = function_columns(operator)
    fed = np.repeat(x.astype(np.float32)[:, None], columns, 1)
    kinds = tuple(
        TensorType(fed.shape, "float32")
        if i == index
        else kind and TensorType(call.constants[i].shape[-1:], kind.dtype)
        for i, kind in enumerate(call.inputs)
    )
    constants = {i: array.reshape(array.shape[-1:]) for i, array in call.constants.items()}
    small = replace(call, inputs=kinds, constants=constants, outputs=(TensorType(fed.shape, "float32"),))
    (real,) = open_session(node_model(small, (index,)).SerializeToString()).run(None, {f"x{index}": fed})
    return np.asarray(np.nan_to_num(real), np.float32)
