"""Every generic operator by its ONNX name: one literal table, put together from the families."""

from __future__ import annotations

from edgemtl.tvm_bridge.generic import (
    blocks,
    convolution,
    elementwise,
    normalisation,
    pad,
    pool,
    resize,
    sample,
    transposed,
)
from edgemtl.tvm_bridge.generic.call import Definition

OPERATORS: dict[str, Definition] = {
    **blocks.OPERATORS,
    **convolution.OPERATORS,
    **elementwise.OPERATORS,
    **normalisation.OPERATORS,
    **pad.OPERATORS,
    **pool.OPERATORS,
    **resize.OPERATORS,
    **sample.OPERATORS,
    **transposed.OPERATORS,
}
