"""What no pattern takes."""

from __future__ import annotations

import onnx_ir as ir

from edgemtl.codegen.cpu.emit import Emitter
from edgemtl.codegen.cpu.graph import name_of
from edgemtl.codegen.cpu.match import Group, Refusal
from edgemtl.errors import UnsupportedError


def leftover(node: ir.Node, refusal: Refusal | None) -> Group:
    """The group of a node that no pattern takes."""
    reason = refusal.reason if refusal is not None else f"no kernel runs {node.op_type} in this form"
    hint = refusal.hint if refusal is not None else ""

    def emit(em: Emitter) -> None:
        raise UnsupportedError(name_of(node), reason, hint)

    return Group("unsupported", (node,), emit, reason, hint)
