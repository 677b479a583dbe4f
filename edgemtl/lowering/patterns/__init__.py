"""Lowering: ONNX nodes to steps by patterns, one module per family."""

from edgemtl.lowering.match import Matcher
from edgemtl.lowering.patterns.attention import match_attention
from edgemtl.lowering.patterns.conv import match_conv
from edgemtl.lowering.patterns.embed import match_patch_embed
from edgemtl.lowering.patterns.generic import leftover
from edgemtl.lowering.patterns.linear import match_linear
from edgemtl.lowering.patterns.moe import match_moe
from edgemtl.lowering.patterns.norm import match_layer_norm
from edgemtl.lowering.patterns.resize import match_resize
from edgemtl.lowering.patterns.view import match_view

# Asked in this order for each node; the larger pattern comes first where two end at the same operator.
PATTERNS: tuple[Matcher, ...] = (
    match_patch_embed,
    match_moe,
    match_attention,
    match_conv,
    match_layer_norm,
    match_linear,
    match_resize,
    match_view,
)

__all__ = ["PATTERNS", "leftover"]
