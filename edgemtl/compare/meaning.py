"""From the integers in a buffer to real numbers."""

from __future__ import annotations

import numpy as np

from edgemtl.lowering.ir import View
from edgemtl.operators import Array
from edgemtl.quantize.tensors import Tensor


def real_values(integers: Array, tensor: Tensor, width: int) -> Array:
    """Real values of a whole buffer, flat, whose rows are ``width`` elements long.

    scale * (q - zero), with one scale for each third of a row where it contains q, k and v. Gamma and beta, which
    quantisation folds into the next layers, are reapplied, so that integer and float values can be compared.
    """
    if tensor.dtype == "float32":
        return integers.astype(np.float64)
    scale: float | Array = tensor.scale
    if tensor.parts is not None:
        scale = np.resize(np.repeat(tensor.parts, width // 3), integers.size)
    value = np.asarray((integers.astype(np.float64) - tensor.zero) * scale)
    if tensor.fold is not None:
        value = value * np.resize(tensor.fold, integers.size)
    return value if tensor.shift is None else value + np.resize(tensor.shift, integers.size)


def seen_through(values: Array, view: View) -> Array:
    """The elements of a flat buffer that a view sees, copied."""
    strides = tuple(stride * values.itemsize for stride in view.strides)
    return np.lib.stride_tricks.as_strided(values[view.offset :], view.shape, strides).copy()
