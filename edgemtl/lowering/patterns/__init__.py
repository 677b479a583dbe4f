"""Lowering: ONNX nodes to steps by patterns, one module per family."""

from collections.abc import Mapping

from edgemtl import operators as ops
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
PATTERNS: Mapping[Matcher, tuple[type[ops.Operator], ...]] = {
    match_patch_embed: (ops.PatchEmbed,),
    match_moe: (ops.Router, ops.Experts, ops.Combine),
    match_attention: (ops.Attention,),
    match_conv: (ops.Conv2d, ops.Winograd, ops.WinogradWeights),
    match_layer_norm: (ops.LayerNorm,),
    match_linear: (ops.Linear,),
    match_resize: (ops.Resize,),
    match_view: (ops.Copy,),
}
"""The matchers with the operators that each makes."""

__all__ = ["PATTERNS", "leftover"]
