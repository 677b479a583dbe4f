"""Every contributed operator that is expanded: its inputs and outputs, and the function that writes its body."""

from __future__ import annotations

from collections.abc import Callable

from edgemtl.frontend.contrib import activations, attention, norms, products
from edgemtl.frontend.contrib.call import Call, Formals, formals

MICROSOFT = "com.microsoft"
Body = Callable[[Call], list[str]]

_SKIP = "Y mean inv_std_var total"

EXPANSIONS: dict[str, tuple[Formals, Body]] = {
    "Attention": (
        formals("X weights bias mask_index past attention_bias past_sequence_length", "Y present"),
        attention.attention,
    ),
    "BiasAdd": (formals("X bias skip", "Y"), activations.bias_add),
    "BiasGelu": (formals("X bias", "Y"), activations.bias_gelu),
    "BiasSoftmax": (formals("X bias", "Y"), activations.bias_softmax),
    "BiasSplitGelu": (formals("X bias", "Y"), activations.bias_split_gelu),
    "EmbedLayerNormalization": (
        formals(
            "input_ids segment_ids word_embedding position_embedding segment_embedding gamma beta mask position_ids",
            "Y mask_index total",
        ),
        norms.embed_layer_norm,
    ),
    "FastGelu": (formals("X bias", "Y"), activations.fast_gelu),
    "FusedConv": (formals("X W B Z", "Y"), products.fused_conv),
    "FusedGemm": (formals("A B C", "Y"), products.fused_gemm),
    "FusedMatMul": (formals("A B", "Y"), products.fused_matmul),
    "Gelu": (formals("X", "Y"), activations.gelu),
    "GemmFastGelu": (formals("X W bias", "Y"), products.gemm_fast_gelu),
    "MultiHeadAttention": (
        formals(
            "query_in key_in value_in bias key_padding_mask attention_bias past_key past_value "
            "past_sequence_length cache_indirection",
            "Y present_key present_value qk",
        ),
        attention.multi_head_attention,
    ),
    "QuickGelu": (formals("X", "Y"), activations.quick_gelu),
    "SkipLayerNormalization": (formals("input skip gamma beta bias", _SKIP), norms.skip_layer_norm),
    "SkipSimplifiedLayerNormalization": (formals("input skip gamma bias", _SKIP), norms.skip_rms_norm),
    "TransposeMatMul": (formals("A B", "Y"), products.fused_matmul),
}
"""Of the domain `com.microsoft`."""

STANDARD: dict[str, tuple[Formals, Body]] = {
    "GroupNormalization": (formals("X scale bias", "Y"), norms.group_norm),
    "LayerNormalization": (formals("X scale bias", "Y mean inv_std_var"), norms.layer_norm),
    "MeanVarianceNormalization": (formals("X", "Y"), norms.mean_variance_norm),
    "SimplifiedLayerNormalization": (formals("X scale", "Y inv_std_var"), norms.rms_norm),
}
"""Of the standard domain: what onnxruntime writes there and the opset lacks, and what has no shape inference."""
