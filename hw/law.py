"""The law: every operator of a quantised network in exact integers; kernels, simulators and RTL keep it bit for bit.

Notation and ranges
- A quantised tensor stands for scale * (q - zero). Weights are int8 in [-127, 127] with zero 0 and a scale per output
  channel; those of a model that was quantised before may be -128, and their layer stays on the CPU. Activations are
  int8 with one scale and one zero a tensor; the zero of a tensor is folded into the bias of the layer that reads it
  (bias - zero * sum of weights), so products see the bytes as they are, and convolutions pad with it. Inputs of
  attention and of LayerNorm have zero 0. The residual stream is int16 with zero 0.
- Sums of products are int32 with an int32 bias; a sum that could leave 31 bits is refused when a layer is quantised.
- `requantise`: (acc * mul + 2^(shift-1)) >> shift, a multiplier of 17 bits and a shift of 12..43 per channel. The one
  multiplier of a LayerNorm or an attention may be larger: its shift may be below 12.
- Products run in float64 BLAS: at most 128 * 128 * 2^17 per sum, far below 2^53, so they are exact.

Every function returns the exact answer for integer arrays; dtypes of results are int8, int16, int32 or float32 as said.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt

from edgemtl.hw.arith import (
    INT8,
    INT16,
    Ints,
    Wide,
    exp2_byte,
    exp2_fine,
    exp2_wide,
    reciprocal,
    reciprocal_sqrt,
    requantise,
    round_shift,
    saturate,
    scale_mantissa,
)

Array = npt.NDArray[Any]

ROUTER_FRACTION_BITS: Final = 10
"""Fraction bits of gate logits, which are logarithms to base 2: 16 bits reach from -32 to 32."""
LEAST_ROUTER_FRACTION_BITS: Final = 7
"""Fraction bits of the largest logits there are: 16 bits reach from -256 to 256."""
GATE_BITS: Final = 15
"""Fraction bits of a gate's weight."""
MOST_TOKENS: Final = 2**13
"""Tokens that attention takes: its sums of 255 * 127 then keep below 2^28."""
WIDE: Final = (-(2**11), 2**11 - 1)
"""A wide activation: 12 bits, stored in 16. Sums of products with bytes keep below 2^31 for up to 8192 of them."""
MOST_WIDE_TOKENS: Final = 2**12
"""Tokens that wide attention takes: its sums of 4080 * 127 then keep below 2^31."""
MOST_WIDTH: Final = 1024
"""Width of a row that LayerNorm takes: n * x - sum(x) then keeps below 2^26, the wide operand of a DSP48E2."""


@dataclass(frozen=True)
class Finish:
    """What becomes of a layer's sums after requantisation.

    dtype "int8": add ``zero``, saturate to [``low``, 127], and look the byte up where there is a table.
    dtype "int16": saturate to 16 bits, from 0 on where ``low`` is 0 (a Relu), and add the residual with saturation
    where there is one.
    ``wide``, with "int16": add ``zero``, saturate to 12 bits, and look the value up where there is a table.
    """

    dtype: Literal["int8", "int16"]
    zero: int = 0
    low: int = INT8[0]
    wide: bool = False

    @property
    def limits(self) -> tuple[int, int]:
        """Between what a value saturates."""
        if self.wide:
            return WIDE
        if self.dtype == "int8":
            return self.low, INT8[1]
        return (0 if self.low == 0 else INT16[0]), INT16[1]


def matmul(x: Ints, w: Ints) -> Wide:
    """The exact product of integer matrices whose sums stay below 2^53."""
    return np.asarray((x.astype(np.float64) @ w.astype(np.float64)).astype(np.int64))


def finish(sums: Wide, mul: Ints, shift: Ints, how: Finish, table: Ints | None, residual: Ints | None) -> Array:
    """Sums [.., N] to int8 or int16 [.., N]; mul, shift [N]; residual int16.

    table: int8 [256] by byte + 128, or int16 [4096] by wide value + 2048.
    """
    value = requantise(sums, mul, shift)
    if how.wide:
        value = saturate(value + how.zero, *how.limits)
        return value.astype(np.int16) if table is None else table.astype(np.int16)[value - WIDE[0]]
    if how.dtype == "int16":
        value = saturate(value, *how.limits)
        if residual is not None:
            value = saturate(value + residual.astype(np.int64), *INT16)
        return value.astype(np.int16)
    value = saturate(value + how.zero, *how.limits)
    return value.astype(np.int8) if table is None else table.astype(np.int8)[value + 128]


def linear(
    x: Ints,
    w: Ints,
    bias: Ints,
    mul: Ints,
    shift: Ints,
    how: Finish,
    table: Ints | None = None,
    residual: Ints | None = None,
) -> Array:
    """finish(x w + bias): x int8 or wide [M, K], w int8 [K, N], bias int32 [N], residual int16 [M, N].

    Against the real layer of the same quantised weights: half a step of the output, 2^-17 of the value from the
    multiplier, half a step of the bias, and what saturates.
    """
    return finish(matmul(x, w) + bias.astype(np.int64), mul, shift, how, table, residual)


def patch_embed(
    patches: Ints, w: Ints, bias: Ints, mul: Ints, shift: Ints, table: Ints, leading: int
) -> npt.NDArray[np.int16]:
    """Tokens int16 [leading + P, D] of patches int8 [P, K]: saturate(requantise(patches w + bias) + table).

    table int16 [leading + P, D] holds positions and biases on the scale of the residual stream; the ``leading`` rows
    (a class token) are the table's alone. bias int32 [D] is there for the zero of the image.
    """
    value = saturate(requantise(matmul(patches, w) + bias.astype(np.int64), mul, shift), *INT16)
    rows = np.concatenate([np.zeros((leading, w.shape[1]), np.int64), value])
    return saturate(rows + table.astype(np.int64), *INT16).astype(np.int16)


def quantise_image(image: npt.NDArray[np.float32], inverse_scale: float, zero: int, wide: bool = False) -> Array:
    """Bytes of a float32 image: saturate(nearest(image * inverse_scale) + zero), halves to even.

    One float32 product and one rounding, so that no compiler can contract them into something else. With ``wide``
    int16, saturated to 12 bits.
    """
    return quantise(image, inverse_scale, zero, "int16" if wide else "int8", wide)


def quantise(
    x: npt.NDArray[np.float32], inverse_scale: float, zero: int, dtype: Literal["int8", "int16"], wide: bool = False
) -> Array:
    """Integers of any float32 array: saturate(nearest(x * inverse_scale) + zero) to ``dtype``, halves to even.

    With ``wide`` it is saturated to 12 bits. NaN becomes the largest, as in a minimum that compares.
    """
    nearest = np.rint(x * np.float32(inverse_scale)) + np.float32(zero)
    low, high = WIDE if wide else INT8 if dtype == "int8" else INT16
    return np.asarray(np.clip(np.where(np.isnan(nearest), high, nearest), low, high).astype(dtype))


def cut_patches(image: Array, patch: int) -> Array:
    """Patches [P, C * patch * patch] in row order of an image [C, H, W]; within a patch channel, row, column."""
    channels, height, width = image.shape
    grid = image.reshape(channels, height // patch, patch, width // patch, patch)
    return np.ascontiguousarray(grid.transpose(1, 3, 0, 2, 4).reshape(-1, channels * patch * patch))


def layer_norm(x: Ints, epsilon: int, mul: int, shift: int, halvings: Ints, offset: Ints, wide: bool = False) -> Array:
    """Rows int16 [M, n] (n <= 1024) to int8 [M, n]: (x - mean) / sd on the scale that mul * 2^-shift is one over.

    S = sum x, V = n * sum x^2 - S^2 + epsilon, exact below 2^53; 1 / sqrt(V) by `reciprocal_sqrt`. Then
    ((n x - S) * m + half) >> t, with m the product of both mantissas and t = 16 + exponent + shift + halvings[channel],
    plus offset[channel], saturated. ``epsilon`` is eps * n^2 / scale_x^2, at least 1. ``halvings`` (0..7) make room for
    channels that are larger than the rest: the next layer's weights double as often. gamma and beta lie in the next
    layer; ``offset`` is beta / gamma where that layer pads with zeros and cannot hold it.
    With ``wide`` the result is int16 [M, n], saturated to 12 bits, and ``halvings`` are at most 3.
    t must lie in 1..62. Against the real function with the same epsilon: half a step, and 2.5 * 2^-16 of the value from
    the root and the multipliers, 0.005 of a step at most.
    """
    x = x.astype(np.int64)
    n = x.shape[-1]
    total = x.sum(-1, keepdims=True)
    mantissa, exponent = reciprocal_sqrt(n * (x * x).sum(-1, keepdims=True) - total * total + epsilon)
    scaled = requantise(n * x - total, scale_mantissa(mantissa, mul), 16 + exponent + shift + halvings.astype(np.int64))
    if wide:
        return saturate(scaled + offset.astype(np.int64), *WIDE).astype(np.int16)
    return saturate(scaled + offset.astype(np.int64), *INT8).astype(np.int8)


def attention(qkv: Ints, heads: int, score_shift: int, mul: int, shift: int, wide: bool = False) -> Array:
    """softmax(q k^T) v of every head: rows int8 [T, 3 heads d] of q, k and v side by side to int8 [T, heads d].

    With ``wide`` the result is int16, saturated to 12 bits; scores have 7 fraction bits and weights, by `exp2_fine`, 12
    bits, for at most 4096 tokens.

    Scores are round_shift(q k^T, score_shift), saturated to 16 bits: logarithms to base 2 with 6 fraction bits, since
    the scales of q and k are chosen so. Weights of a row are `exp2_byte` of its distance to the row's largest score,
    0..255, not normalised: flat rows of a thousand keys keep their 8 bits. The sum of the products with v is divided by
    the sum of the weights when it leaves: one multiplier a row, `reciprocal` times mul * 2^-shift (v's scale over the
    output's). exponent + shift - 1 must lie in 1..62. The maximum is the whole row's: a unit that follows a running
    maximum holds the scores until the row ends, because rescaled partial sums would round differently.
    Against the real function: half a step of each score, 0.55% of a weight (1.1% between two weights), which moves the
    output by at most 0.7 steps of v; half of 1/255 of the largest weight for each key from the byte; half a step of the
    output. Keys below 1/510 of the largest weight vanish, however many: long rows with one peak lose their tail.
    """
    tokens, width = qkv.shape
    head_dim = width // (3 * heads)
    parts = qkv.reshape(tokens, 3, heads, head_dim)
    out = np.empty((tokens, heads, head_dim), np.int16 if wide else np.int8)
    for head in range(heads):
        q, k, v = (parts[:, i, head] for i in range(3))
        scores = saturate(round_shift(matmul(q, k.T), score_shift), *INT16)
        weights = (exp2_fine if wide else exp2_byte)(scores.max(-1, keepdims=True) - scores)
        mantissa, exponent = reciprocal(weights.sum(-1, keepdims=True))
        scaled = requantise(matmul(weights, v), scale_mantissa(mantissa, mul), exponent + shift - 1)
        out[:, head] = saturate(scaled, *(WIDE if wide else INT8))
    return out.reshape(tokens, heads * head_dim)


@dataclass(frozen=True)
class Routes:
    """What a router decides for T tokens and k experts each, candidates counted from 0 in ascending order.

    weight int32 [T, k] with 15 fraction bits; slot int32 [T, k]: where each choice stands in expert order;
    token int32 [T k]: the token of each slot; first int32 [candidates + 1]: the first slot of each candidate.
    """

    weight: npt.NDArray[np.int32]
    slot: npt.NDArray[np.int32]
    token: npt.NDArray[np.int32]
    first: npt.NDArray[np.int32]


def route(
    logits: Ints,
    top_k: int,
    candidates: tuple[int, ...],
    normalize: bool,
    threshold: int,
    fraction_bits: int = ROUTER_FRACTION_BITS,
) -> Routes:
    """Routes of gate logits int16 [T, E], logarithms to base 2 with 10 ``fraction_bits``; with fewer, down to 7, where
    16 bits would not hold the logits.

    The k largest among ``candidates``, equal ones in order of index. Probabilities p = `exp2_wide` of the distance to
    the row's largest logit (its largest candidate's where ``normalize``), rounded to 6 fraction bits; weight = p * 2^15
    / (sum of p over all experts, or over the chosen ones where ``normalize``), by `reciprocal`; weights below
    ``threshold`` (15 fraction bits) become 0.
    Against the real softmax: 1.1% of a weight (a step of 6 fraction bits between two), 2^-16 of it for every expert,
    and 2^-15.
    """
    tokens = logits.shape[0]
    wide = logits.astype(np.int64)
    columns = np.array(candidates)
    leader = (wide[:, columns] if normalize else wide).max(-1, keepdims=True)
    # Others than candidates may lead where they do not count.
    distance = round_shift(np.maximum(leader - wide, 0), fraction_bits - 6)
    probability = exp2_wide(distance)
    order = np.argsort(-wide[:, columns], axis=-1, kind="stable")[:, :top_k]
    chosen = np.take_along_axis(probability[:, columns], order, -1)
    mantissa, exponent = reciprocal((chosen if normalize else probability).sum(-1, keepdims=True))
    weight = requantise(chosen, mantissa, exponent + 1)
    weight = np.where(weight < threshold, 0, weight)
    flat = order.reshape(-1)
    by_expert = np.argsort(flat, kind="stable")
    slot = np.empty_like(by_expert)
    slot[by_expert] = np.arange(len(flat))
    first = np.concatenate([[0], np.cumsum(np.bincount(flat, minlength=len(candidates)))])
    return Routes(
        weight.astype(np.int32),
        slot.reshape(tokens, top_k).astype(np.int32),
        (by_expert // top_k).astype(np.int32),
        first.astype(np.int32),
    )


def combine(y: Ints, weight: Ints, slot: Ints, residual: Ints | None) -> npt.NDArray[np.int16]:
    """Tokens int16 [T, D] of expert outputs: saturate(round_shift(residual * 2^15 + sum of weight * y[slot], 15)).

    y int16 [T k, D]; weight [T, k] with 15 fraction bits and slot [T, k] as of `route`; residual int16 [T, D], 0 where
    there is none. Weights of a token are at most 2^15 and sum to at most 2^15 + k / 2, so the sum of products keeps
    within int32.
    Any order of the experts gives the same bits, also in a sum of 32 bits that begins as residual * 2^15 + 2^14 and
    saturates with every addition, for k <= 2^16. It begins within 2^30 - 2^14 of zero, and a weight moves it by at most
    2^15 a unit: when it leaves int32, weights of at least 2^15 + 1/2 are in it, and at most (k - 1) / 2 is to come.
    That moves it by at most (k - 1) * 2^14 < 2^30: it ends at 2^30 or beyond on that side, as the exact sum does, and
    both saturate to the same 16 bits.
    Against real numbers: half a step, and what saturates.
    """
    picked = y.astype(np.int64)[slot]
    total = (weight.astype(np.int64)[:, :, None] * picked).sum(1)
    if residual is not None:
        total = total + (residual.astype(np.int64) << GATE_BITS)
    return saturate(round_shift(total, GATE_BITS), *INT16).astype(np.int16)


def conv2d(
    x: Ints,
    w: Ints,
    bias: Ints,
    mul: Ints,
    shift: Ints,
    how: Finish,
    zero: int,
    stride: tuple[int, int] = (1, 1),
    pad: tuple[int, int, int, int] = (0, 0, 0, 0),
    dilation: tuple[int, int] = (1, 1),
    table: Ints | None = None,
    groups: int = 1,
) -> Array:
    """finish(convolution): x int8 [H, W, C], w int8 [N, C / groups, kh, kw], to [H', W', N].

    Pads are (top, left, bottom, right), of ``zero``, the byte that stands for 0 in x. Errors as of `linear`.
    """
    top, left, bottom, right = pad
    padded = np.pad(x, ((top, bottom), (left, right), (0, 0)), constant_values=zero)
    windows = sliding_windows(padded, w.shape[2:], stride, dilation)
    height, width = windows.shape[:2]
    seen, filters = np.split(windows, groups, -1), np.split(w.transpose(2, 3, 1, 0), groups, -1)
    parts = [
        matmul(part.reshape(height * width, -1), kernel.reshape(-1, kernel.shape[-1]))
        for part, kernel in zip(seen, filters, strict=True)
    ]
    sums = np.concatenate(parts, -1) + bias.astype(np.int64)
    return finish(sums, mul, shift, how, table, None).reshape(height, width, -1)


def sliding_windows(x: Ints, kernel: tuple[int, ...], stride: tuple[int, int], dilation: tuple[int, int]) -> Ints:
    """Windows [H', W', kh, kw, C] of a padded image [H, W, C]."""
    reach = [(size - 1) * step + 1 for size, step in zip(kernel, dilation, strict=True)]
    seen = np.lib.stride_tricks.sliding_window_view(x, reach, axis=(0, 1))
    cut = seen[:: stride[0], :: stride[1], :, :: dilation[0], :: dilation[1]]
    return cut.transpose(0, 1, 3, 4, 2)


def enlarge(x: Ints) -> Wide:
    """Sixteen times the bilinear enlargement by 2 of an image [H, W, C], edges clamped, exact: int64 [2H, 2W, C].

    Each axis weighs the nearer pixel 3 and the further 1 (half-pixel centres).
    """
    return _double(_double(x.astype(np.int64), 0), 1)


def _double(x: Wide, axis: int) -> Wide:
    x = np.moveaxis(x, axis, 0)
    before, after = np.concatenate([x[:1], x[:-1]]), np.concatenate([x[1:], x[-1:]])
    pairs = np.stack([before + 3 * x, 3 * x + after], 1)
    return np.moveaxis(pairs.reshape(-1, *x.shape[1:]), 0, axis)


def bilinear(x: Ints) -> npt.NDArray[np.int8]:
    """An image int8 [H, W, C] enlarged by 2: round_shift(enlarge(x), 4), at most half a step from the real value."""
    return round_shift(enlarge(x), 4).astype(np.int8)


def dequantise(x: Ints, scale: float, zero: int) -> npt.NDArray[np.float32]:
    """float32 of integers below 2^24: one product, scale * (x - zero)."""
    return (x.astype(np.int64) - zero).astype(np.float32) * np.float32(scale)


def argmax(x: Ints) -> npt.NDArray[np.int32]:
    """Channel of the largest value of an image [H, W, C], the lowest of equal ones: int32 [H, W]."""
    return np.asarray(np.asarray(x).argmax(-1), np.int32)
