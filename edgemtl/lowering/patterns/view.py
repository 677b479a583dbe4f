"""Operators that only look at their input in another way: no step, unless the next kernel needs a copy."""

from __future__ import annotations

import onnx_ir as ir

from edgemtl.graph import main_input
from edgemtl.lowering.emit import Emitter
from edgemtl.lowering.match import Group
from edgemtl.lowering.views import is_view


def match_view(node: ir.Node) -> Group | None:
    """Reshape, Flatten, Squeeze, Unsqueeze, Identity, Dropout, Transpose, Slice, Split, scalar Gather, Expand: read in
    place, or copied where the next kernel needs it.
    """
    return Group("view", (node,), lambda em: _emit(em, node)) if is_view(node) else None


def _emit(em: Emitter, node: ir.Node) -> None:
    source = main_input(node)
    assert source is not None
    for output, view in zip(node.outputs, em.look(node, em.views[source]), strict=True):
        em.views[output] = view
