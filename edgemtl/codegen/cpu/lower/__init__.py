"""Lowering: ONNX nodes to steps by patterns, one module per family."""

from edgemtl.codegen.cpu.lower.attention import match_attention
from edgemtl.codegen.cpu.lower.conv import match_conv
from edgemtl.codegen.cpu.lower.embed import match_patch_embed
from edgemtl.codegen.cpu.lower.fallback import leftover
from edgemtl.codegen.cpu.lower.linear import match_linear
from edgemtl.codegen.cpu.lower.moe import match_moe
from edgemtl.codegen.cpu.lower.norm import match_layer_norm
from edgemtl.codegen.cpu.lower.resize import match_resize
from edgemtl.codegen.cpu.lower.view import match_view
from edgemtl.codegen.cpu.match import Matcher

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
