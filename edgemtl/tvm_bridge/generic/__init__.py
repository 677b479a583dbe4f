"""Operators without a tuned kernel: each defined once, as ONNX defines it, and made a kernel like all others."""

from edgemtl.operators import Array, TensorType
from edgemtl.tvm_bridge.generic.call import Call
from edgemtl.tvm_bridge.generic.lower import GenericKernel, lower_call
from edgemtl.tvm_bridge.generic.operator import Generic

__all__ = ["Array", "Call", "Generic", "GenericKernel", "TensorType", "lower_call"]
