"""Normalisations, alone or fused with the sums before them."""

from __future__ import annotations

from edgemtl.frontend.contrib.call import Call, constant, integers, number


def skip_layer_norm(call: Call) -> list[str]:
    """LayerNormalization of a residual sum, which is an output too."""
    call.refuse_outputs(mean=1, inv_std_var=2)
    epsilon = number(call.get("epsilon", 1e-12))
    operands = "total, gamma, beta" if call.has(3) else "total, gamma"
    return [*_residual(call, 4), f"Y = LayerNormalization <axis = -1, epsilon = {epsilon}> ({operands})"]


def skip_rms_norm(call: Call) -> list[str]:
    """Root-mean-square normalisation of a residual sum, which is an output too."""
    call.refuse_outputs(mean=1, inv_std_var=2)
    return [*_residual(call, 3), *_rms(call, "total", "gamma", [-1], 1e-12)]


def rms_norm(call: Call) -> list[str]:
    """onnxruntime's SimplifiedLayerNormalization."""
    call.refuse_outputs(inv_std_var=1)
    return _rms(call, "X", "scale", _axes(call), 1e-5)


def layer_norm(call: Call) -> list[str]:
    """LayerNormalization in opsets that do not have it."""
    call.refuse_outputs(mean=1, inv_std_var=2)
    lines = [
        *_mean(call, "X", "mean", _axes(call)),
        "centred = Sub (X, mean)",
        "square = Mul (centred, centred)",
        *_mean(call, "square", "variance", _axes(call)),
        *_by_root(call, "centred", "variance", 1e-5),
    ]
    if not call.has(2):
        return [*lines, "Y = Mul (normal, scale)"]
    return [*lines, "scaled = Mul (normal, scale)", "Y = Add (scaled, bias)"]


def group_norm(call: Call) -> list[str]:
    """GroupNormalization as an instance normalisation of the groups; the affine part is per channel since opset 21."""
    groups = call.get("num_groups", 1)
    lines = [integers("by_group", 0, groups, -1), "shape = Shape (X)", "grouped = Reshape (X, by_group)"]
    epsilon = number(call.get("epsilon", 1e-5))
    operator = f"InstanceNormalization <epsilon = {epsilon}>"
    if call.opset < 21:
        return [*lines, f"normal = {operator} (grouped, scale, bias)", "Y = Reshape (normal, shape)"]
    ones, zeros = (f"float[{groups}] {{{', '.join([value] * groups)}}}" for value in ("1.0", "0.0"))
    return [
        *lines,
        f"ones = Constant <value = {ones}> ()",
        f"zeros = Constant <value = {zeros}> ()",
        f"normal = {operator} (grouped, ones, zeros)",
        "centred = Reshape (normal, shape)",
        integers("axes", *range(1, call.rank(0) - 1)),
        "scales = Unsqueeze (scale, axes)",
        "biases = Unsqueeze (bias, axes)",
        "scaled = Mul (centred, scales)",
        "Y = Add (scaled, biases)",
    ]


def mean_variance_norm(call: Call) -> list[str]:
    """MeanVarianceNormalization as ONNX defines it."""
    axes = call.get("axes", [0, 2, 3])
    return [
        *_mean(call, "X", "mean", axes),
        "centred = Sub (X, mean)",
        "square = Mul (centred, centred)",
        *_mean(call, "square", "variance", axes),
        "deviation = Sqrt (variance)",
        constant("small", 1e-9),
        "above = Add (deviation, small)",
        "Y = Div (centred, above)",
    ]


def embed_layer_norm(call: Call) -> list[str]:
    """The sum of word, position and segment embeddings, normalised."""
    call.refuse_inputs(mask=7)
    call.refuse_outputs(mask_index=1)
    if call.has(8):
        place = ["places = Gather (position_embedding, position_ids)"]
    else:
        first = [integers("zero", 0), "length = Shape <start = 1, end = 2> (input_ids)"]
        place = [*first, "places = Slice (position_embedding, zero, length, zero)"]
    lines = ["words = Gather (word_embedding, input_ids)", *place, "placed = Add (words, places)"]
    if call.has(1):
        lines += ["segments = Gather (segment_embedding, segment_ids)", "total = Add (placed, segments)"]
    else:
        lines += ["total = Identity (placed)"]
    epsilon = number(call.get("epsilon", 1e-12))
    return [*lines, f"Y = LayerNormalization <axis = -1, epsilon = {epsilon}> (total, gamma, beta)"]


def _residual(call: Call, bias: int) -> list[str]:
    if not call.has(bias):
        return ["total = Add (input, skip)"]
    return ["sum = Add (input, skip)", "total = Add (sum, bias)"]


def _axes(call: Call) -> list[int]:
    """From the attribute `axis` to the last."""
    axis = call.get("axis", -1)
    return [-1] if axis == -1 else list(range(axis - call.rank(0) if axis >= 0 else axis, 0))


def _rms(call: Call, x: str, scale: str, axes: list[int], epsilon: float) -> list[str]:
    lines = [f"square = Mul ({x}, {x})", *_mean(call, "square", "variance", axes)]
    return [*lines, *_by_root(call, x, "variance", epsilon), f"Y = Mul (normal, {scale})"]


def _by_root(call: Call, x: str, variance: str, epsilon: float) -> list[str]:
    small = constant("epsilon", call.get("epsilon", epsilon))
    return [small, f"above = Add ({variance}, epsilon)", "deviation = Sqrt (above)", f"normal = Div ({x}, deviation)"]


def _mean(call: Call, x: str, y: str, axes: list[int]) -> list[str]:
    if call.opset < 18:
        return [f"{y} = ReduceMean <axes = {axes}, keepdims = 1> ({x})"]
    return [integers(f"{y}_axes", *axes), f"{y} = ReduceMean <keepdims = 1> ({x}, {y}_axes)"]
