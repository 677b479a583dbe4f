"""Every generic operator by its ONNX name: one literal table, put together from the families."""

from __future__ import annotations

from edgemtl.tvm_bridge.generic import (
    blocks,
    convolution,
    elementwise,
    indexing,
    normalisation,
    pad,
    pool,
    products,
    reduction,
    resize,
    sample,
    sequential,
    transposed,
)
from edgemtl.tvm_bridge.generic.call import Definition

OPERATORS: dict[str, Definition] = {
    **blocks.OPERATORS,
    **convolution.OPERATORS,
    **elementwise.OPERATORS,
    **indexing.OPERATORS,
    **normalisation.OPERATORS,
    **pad.OPERATORS,
    **pool.OPERATORS,
    **products.OPERATORS,
    **reduction.OPERATORS,
    **resize.OPERATORS,
    **sample.OPERATORS,
    **sequential.OPERATORS,
    **transposed.OPERATORS,
}
