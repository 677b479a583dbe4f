"""Operators without a tuned kernel: each defined once, as ONNX defines it, and made a kernel like all others."""

from edgemtl.operators import Array, TensorType
from edgemtl.tvm_bridge.generic.call import Call, Refused
from edgemtl.tvm_bridge.generic.lower import GenericKernel, lower_call
from edgemtl.tvm_bridge.generic.operator import Generic, node_model, softmax_axes, spell_call
from edgemtl.tvm_bridge.generic.resize import taps_of

__all__ = [
    "Array",
    "Call",
    "Generic",
    "GenericKernel",
    "Refused",
    "TensorType",
    "lower_call",
    "node_model",
    "softmax_axes",
    "spell_call",
    "taps_of",
]
