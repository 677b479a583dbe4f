"""Every generic operator by its ONNX name: one literal table, put together from the families."""

from __future__ import annotations

from edgemtl.tvm_bridge.generic import elementwise, pad, pool, resize
from edgemtl.tvm_bridge.generic.call import Definition

OPERATORS: dict[str, Definition] = {**elementwise.OPERATORS, **pad.OPERATORS, **pool.OPERATORS, **resize.OPERATORS}
