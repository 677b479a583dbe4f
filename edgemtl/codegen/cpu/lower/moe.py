"""The mixture of experts: route tokens, run experts in expert order, combine what each token chose."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from edgemtl.codegen.cpu.emit import Emitter
from edgemtl.codegen.cpu.graph import array_of, attribute, is_op, named_constant, shape_of
from edgemtl.codegen.cpu.ir import Constant, View
from edgemtl.codegen.cpu.lower.linear import behind_reshapes
from edgemtl.codegen.cpu.match import Group
from edgemtl.tvm_bridge.specs import CombineSpec, ExpertSpec, RouterSpec


def match_moe(node: ir.Node) -> Group | None:
    """edgemtl::MoE, and the residual sum behind it."""
    if _is_moe(node):
        return Group("moe", (node,), lambda em: _emit(em, node, None, (node,)))
    if not is_op(node, "Add"):
        return None
    for value, other in (node.inputs, reversed(node.inputs)):
        if value is None or other is None or array_of(other) is not None or shape_of(value) != shape_of(other):
            continue
        behind, between = behind_reshapes(value)
        moe = behind.producer() if behind is not None else None
        if moe is not None and _is_moe(moe):
            residual, nodes = other, (moe, *between, node)
            return Group("moe", nodes, lambda em: _emit(em, nodes[0], residual, nodes))
    return None


def _is_moe(node: ir.Node) -> bool:
    return node.domain == "edgemtl" and node.op_type == "MoE"


def _emit(em: Emitter, node: ir.Node, residual: ir.Value | None, nodes: tuple[ir.Node, ...]) -> None:
    pass
