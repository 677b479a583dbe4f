"""Which operators cannot be compiled, whatever the target."""

from __future__ import annotations

import onnx_ir as ir

from edgemtl.errors import UnsupportedError
from edgemtl.frontend.moe_node import DOMAIN, OP_TYPE


def check_operators(model: ir.Model) -> None:
    """`UnsupportedError` for the first node that cannot be compiled."""
    for node in model.graph:
        if node.domain in ("", "ai.onnx") or (node.domain, node.op_type) == (DOMAIN, OP_TYPE):
            continue
        reason = f"{node.domain}::{node.op_type} is no standard operator"
        raise UnsupportedError(str(node.name), reason, "export the model with standard operators")
