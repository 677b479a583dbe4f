"""Attention as onnxruntime fuses it, without past states."""

from __future__ import annotations

from edgemtl.frontend.contrib.call import Call, constant, integers

LOWEST = -3.4028234663852886e38


def attention(call: Call) -> list[str]:
    """Self-attention with the projections of query, key and value in one matrix."""
    call.refuse_inputs(mask_index=3, past=4, past_sequence_length=6)
    call.refuse_outputs(present=1)
    if call.get("do_rotary", 0):
        raise call.refusal("it rotates positions")
    sizes = call.get("qkv_hidden_sizes", [])
    split = [integers("sizes", *sizes), "query, key, value = Split <axis = -1> (packed, sizes)"]
    return [
        "product = MatMul (X, weights)",
        "packed = Add (product, bias)" if call.has(2) else "packed = Identity (product)",
        *(split if sizes else ["query, key, value = Split <axis = -1, num_outputs = 3> (packed)"]),
        *_attend(call, bias=5),
    ]


def multi_head_attention(call: Call) -> list[str]:
    """Attention of projected queries, keys and values [batch, tokens, width]."""
    call.refuse_inputs(key_padding_mask=4, past_key=6, past_value=7, past_sequence_length=8, cache_indirection=9)
    call.refuse_outputs(present_key=1, present_value=2, qk=3)
    if not (call.has(1) and call.has(2)) or any(call.rank(place) != 3 for place in range(3)):
        raise call.refusal("its queries, keys and values are packed or split into heads")
    lines = []
    if call.has(3):
        lines = [
            *[f"{name}_size = Shape <start = 2> ({name}_in)" for name in ("query", "key", "value")],
            "sizes = Concat <axis = 0> (query_size, key_size, value_size)",
            "query_bias, key_bias, value_bias = Split <axis = 0> (bias, sizes)",
        ]
    for name in ("query", "key", "value"):
        lines += [f"{name} = Add ({name}_in, {name}_bias)" if call.has(3) else f"{name} = Identity ({name}_in)"]
    return [*lines, *_attend(call, bias=5)]


def _attend(call: Call, bias: int) -> list[str]:
    """Y of query, key and value [batch, tokens, width]."""
    heads, scale = call.get("num_heads", 0), call.get("scale", 0.0)
    if heads < 1:
        raise call.refusal(f"it has {heads} heads")
    lines = [integers("by_head", 0, 0, heads, -1), integers("joined", 0, 0, -1)]
    for name, order in (("query", "[0, 2, 1, 3]"), ("key", "[0, 2, 3, 1]"), ("value", "[0, 2, 1, 3]")):
        lines += [f"{name}_split = Reshape ({name}, by_head)"]
        lines += [f"{name}_heads = Transpose <perm = {order}> ({name}_split)"]
    lines += ["size = Shape <start = -1> (query_heads)", "width = Cast <to = 1> (size)", "root = Sqrt (width)"]
    lines += [constant("factor", scale)] if scale else ["factor = Reciprocal (root)"]
    lines += ["similarity = MatMul (query_heads, key_heads)", "scores = Mul (similarity, factor)"]
    lines += ["biased = Add (scores, attention_bias)" if call.has(bias) else "biased = Identity (scores)"]
    return [
        *lines,
        *(_causal() if call.get("unidirectional", 0) else ["visible = Identity (biased)"]),
        "shares = Softmax <axis = -1> (visible)",
        "mixed = MatMul (shares, value_heads)",
        "by_token = Transpose <perm = [0, 2, 1, 3]> (mixed)",
        "Y = Reshape (by_token, joined)",
    ]


def _causal() -> list[str]:
    """Scores of later tokens are as low as can be."""
    return [
        "table = Shape <start = -2> (biased)",
        "zeros = ConstantOfShape (table)",
        constant("one", 1.0),
        "ones = Add (zeros, one)",
        "earlier = Trilu <upper = 0> (ones)",
        "seen = Cast <to = 9> (earlier)",
        constant("lowest", LOWEST),
        "visible = Where (seen, biased, lowest)",
    ]
