"""Lowering: ONNX nodes to steps by patterns, one module per family."""

from collections.abc import Mapping

from edgemtl import operators as ops
from edgemtl.lowering.match import Matcher
from edgemtl.lowering.patterns.attention import match_attention
from edgemtl.lowering.patterns.concat import match_concat
from edgemtl.lowering.patterns.conv import match_conv
from edgemtl.lowering.patterns.elementwise import match_activate, match_add, match_multiply
from edgemtl.lowering.patterns.embed import match_patch_embed
from edgemtl.lowering.patterns.generic import leftover
from edgemtl.lowering.patterns.l2_norm import match_l2_norm
from edgemtl.lowering.patterns.linear import match_linear
from edgemtl.lowering.patterns.moe import match_moe
from edgemtl.lowering.patterns.norm import match_layer_norm
from edgemtl.lowering.patterns.pixels import match_pixels
from edgemtl.lowering.patterns.pool import match_pool
from edgemtl.lowering.patterns.resize import match_resample, match_resize
from edgemtl.lowering.patterns.root_norm import match_root_norm
from edgemtl.lowering.patterns.rounding import match_rounding
from edgemtl.lowering.patterns.transposed import match_conv_transpose
from edgemtl.lowering.patterns.view import match_view

# Asked in this order for each node; the larger pattern comes first where two end at the same operator.
PATTERNS: Mapping[Matcher, tuple[type[ops.Operator], ...]] = {
    match_pixels: (ops.Pixels,),
    match_patch_embed: (ops.PatchEmbed,),
    match_moe: (ops.Router, ops.Dispatch, ops.Experts, ops.Multiply, ops.Combine),
    match_attention: (ops.Attention,),
    match_conv: (ops.Conv2d, ops.Winograd, ops.WinogradWeights),
    match_layer_norm: (ops.LayerNorm,),
    match_root_norm: (ops.LayerNorm,),
    match_l2_norm: (),
    match_linear: (ops.Linear,),
    match_resize: (ops.Resize,),
    match_resample: (ops.Resample,),
    match_conv_transpose: (ops.Conv2d, ops.Linear, ops.Concat, ops.Copy),
    match_pool: (ops.Pool,),
    match_concat: (ops.Concat,),
    match_view: (ops.Copy,),
    match_rounding: (ops.Quantise, ops.Dequantise),
    match_activate: (ops.Activate,),
    match_add: (ops.Add,),
    match_multiply: (ops.Multiply,),
}
"""The matchers with the operators that each makes; none where that is a generic node."""

__all__ = ["PATTERNS", "leftover"]
