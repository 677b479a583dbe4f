"""Every generic operator by its ONNX name: one literal table, put together from the families."""

from __future__ import annotations

from edgemtl.tvm_bridge.generic import elementwise, indexing, pad, products, reduction, resize, sequential
from edgemtl.tvm_bridge.generic.call import Definition

OPERATORS: dict[str, Definition] = {
    **elementwise.OPERATORS,
    **indexing.OPERATORS,
    **pad.OPERATORS,
    **products.OPERATORS,
    **reduction.OPERATORS,
    **resize.OPERATORS,
    **sequential.OPERATORS,
}
