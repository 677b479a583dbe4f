"""Every contributed operator that is expanded: its inputs and outputs, and the function that writes its body."""

from __future__ import annotations

from collections.abc import Callable

from edgemtl.frontend.contrib import activations, attention, integers, norms, products
from edgemtl.frontend.contrib.call import Call, Formals, formals

MICROSOFT = "com.microsoft"
Body = Callable[[Call], list[str]]

_SKIP = "Y mean inv_std_var total"
_ONE = formals("x x_scale x_zero y_scale y_zero", "Y")
_TWO = formals("a a_scale a_zero b b_scale b_zero y_scale y_zero", "Y")

EXPANSIONS: dict[str, tuple[Formals, Body]] = {
    "Attention": (
        formals("X weights bias mask_index past attention_bias past_sequence_length", "Y present"),
        attention.attention,
    ),
    "BiasAdd": (formals("X bias skip", "Y"), activations.bias_add),
    "BiasGelu": (formals("X bias", "Y"), activations.bias_gelu),
    "BiasSoftmax": (formals("X bias", "Y"), activations.bias_softmax),
    "BiasSplitGelu": (formals("X bias", "Y"), activations.bias_split_gelu),
    "DequantizeLinear": (formals("X scale zero", "Y"), integers.dequantize),
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
    "QGemm": (formals("a a_scale a_zero b b_scale b_zero C y_scale y_zero", "Y"), integers.gemm),
    "QLinearAdd": (_TWO, integers.binary("Add")),
    "QLinearAveragePool": (
        _ONE,
        integers.unary("AveragePool", "auto_pad", "ceil_mode", "count_include_pad", "kernel_shape", "pads", "strides"),
    ),
    "QLinearConcat": (formals(integers.CONCAT_INPUTS, "Y"), integers.concat),
    "QLinearGlobalAveragePool": (_ONE, integers.unary("GlobalAveragePool")),
    "QLinearLeakyRelu": (_ONE, integers.unary("LeakyRelu", "alpha")),
    "QLinearMul": (_TWO, integers.binary("Mul")),
    "QLinearSigmoid": (_ONE, integers.unary("Sigmoid")),
    "QLinearSoftmax": (_ONE, integers.unary("Softmax", "axis")),
    "QuantizeLinear": (formals("X scale zero", "Y"), integers.quantize),
    "QuickGelu": (formals("X", "Y"), activations.quick_gelu),
    "SkipLayerNormalization": (formals("input skip gamma beta bias", _SKIP), norms.skip_layer_norm),
    "SkipSimplifiedLayerNormalization": (formals("input skip gamma bias", _SKIP), norms.skip_rms_norm),
    "TransposeMatMul": (formals("A B", "Y"), products.fused_matmul),
}
"""Of the domain `com.microsoft`."""

INTEGER: dict[str, tuple[Formals, Body]] = {
    "QLinearConv": (formals("x x_scale x_zero w w_scale w_zero y_scale y_zero B", "Y"), integers.convolution),
    "QLinearMatMul": (_TWO, integers.product),
}
"""Of the standard domain: what computes with integers that have scales."""

STANDARD: dict[str, tuple[Formals, Body]] = {
    "GroupNormalization": (formals("X scale bias", "Y"), norms.group_norm),
    "LayerNormalization": (formals("X scale bias", "Y mean inv_std_var"), norms.layer_norm),
    "MeanVarianceNormalization": (formals("X", "Y"), norms.mean_variance_norm),
    "SimplifiedLayerNormalization": (formals("X scale", "Y inv_std_var"), norms.rms_norm),
}
"""Of the standard domain: what onnxruntime writes there and the opset lacks, and what has no shape inference."""
