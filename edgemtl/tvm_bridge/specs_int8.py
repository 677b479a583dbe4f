"""What the integer kernels compute, by their sizes; `edgemtl.hw.law` says which bits come out.

A step's constants come in the order given here. ``scale`` words are `edgemtl.hw.arith.pack_scale`: a multiplier and a
shift per channel, int32. Arrays are row-major; images are channels-last, [H, W, C].
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from edgemtl.hw.law import Finish


@dataclass(frozen=True)
class QuantiseImageSpec:
    """`law.quantise_image` and `law.cut_patches`: float32 [1, C, H, W] to patches int8 [P, C * patch * patch]."""

    channels: int
    height: int
    width: int
    patch: int
    inverse_scale: float
    zero: int


@dataclass(frozen=True)
class QPatchEmbedSpec:
    """`law.patch_embed`: patches int8 [patches, k] to tokens int16 [leading + patches, n].

    Constants: weight int8 [k, n], bias int32 [n], scale [n], table int16 [leading + patches, n].
    """

    patches: int
    k: int
    n: int
    leading: int


@dataclass(frozen=True)
class QLinearSpec:
    """`law.linear`: int8 [rows, k] (and the residual, int16 [rows, n]) to int8 or int16 [rows, n].

    Constants: weight int8 [k, n], bias int32 [n], scale [n], and int8 [256] where there is a ``table``.
    """

    rows: int
    k: int
    n: int
    how: Finish
    table: bool = False
    residual: bool = False


@dataclass(frozen=True)
class QLayerNormSpec:
    """`law.layer_norm`: int16 [rows, dim] to int8 [rows, dim].

    Constants: halvings int8 [dim], offset int8 [dim].
    """

    rows: int
    dim: int
    epsilon: int
    mul: int
    shift: int


@dataclass(frozen=True)
class QAttentionSpec:
    """`law.attention`: packed q, k, v int8 [tokens, 3 heads head_dim] to int8 [tokens, heads head_dim]."""

    tokens: int
    heads: int
    head_dim: int
    score_shift: int
    mul: int
    shift: int


@dataclass(frozen=True)
class QRouterSpec:
    """`law.route`: logits int16 [tokens, experts] to weight int32 [tokens, k], slot int32 [tokens, k], token int32
    [tokens k], first int32 [candidates + 1].
    """

    tokens: int
    experts: int
    top_k: int
    candidates: tuple[int, ...]
    normalize: bool
    threshold: int


@dataclass(frozen=True)
class QExpertSpec:
    """One `law.linear` of every expert over its own slots, in expert order: inputs x, token, first as in ExpertSpec.

    With ``gather`` slot s reads row token[s] of x int8 [tokens, k], else row s of x int8 [tokens top_k, k]; the result
    is int8 or int16 [tokens top_k, n]. Constants: weight int8 [k, n], bias int32 [n], scale [n] of each expert in turn;
    then int8 [256] where there is a ``table``, one for all.
    """

    tokens: int
    top_k: int
    slots: int
    k: int
    n: int
    gather: bool
    how: Finish
    table: bool = False


@dataclass(frozen=True)
class QCombineSpec:
    """`law.combine`: expert outputs int16 [tokens top_k, dim], weight and slot int32 [tokens, top_k] (and the residual,
    int16 [tokens, dim]) to int16 [tokens, dim].
    """

    tokens: int
    top_k: int
    dim: int
    residual: bool


@dataclass(frozen=True)
class QConv2dSpec:
    """`law.conv2d`: int8 [height * width, cin] to int8 or int16 [out_height * out_width, cout], ``zero`` the padding.

    Constants: weight int8 [cout, cin, kh, kw], bias int32 [cout], scale [cout], and int8 [256] where there is a
    ``table``. ``stride`` and ``dilation`` are (vertical, horizontal), ``pad`` is (top, left, bottom, right).
    """

    height: int
    width: int
    cin: int
    cout: int
    out_height: int
    out_width: int
    kernel: tuple[int, int]
    stride: tuple[int, int]
    pad: tuple[int, int, int, int]
    dilation: tuple[int, int]
    zero: int
    how: Finish
    table: bool = False


@dataclass(frozen=True)
class QBilinearSpec:
    """`law.bilinear`: int8 [height * width, channels] to int8 [4 height * width, channels]."""

    height: int
    width: int
    channels: int


@dataclass(frozen=True)
class DequantiseImageSpec:
    """`law.dequantise` of [height * width, channels] to float32 planes [1, channels, H, W].

    With ``enlarge`` the integers are `law.enlarge`'s, 16 times the value at twice the size, and ``scale`` is theirs.
    """

    height: int
    width: int
    channels: int
    enlarge: bool
    dtype: str
    scale: float
    zero: int


@dataclass(frozen=True)
class QuantiseSpec:
    """`law.quantise` of float32 [size] to int8 or int16 [size], behind a layer that is kept in float."""

    size: int
    dtype: Literal["int8", "int16"]
    inverse_scale: float
    zero: int


@dataclass(frozen=True)
class DequantiseSpec:
    """`law.dequantise` of int8 or int16 [size] to float32 [size], in front of a layer that is kept in float."""

    size: int
    dtype: str
    scale: float
    zero: int


@dataclass(frozen=True)
class ConvertSpec:
    """`law.convert` of int16 [size] to int8 [size]."""

    size: int
    mul: int
    shift: int
    zero: int


@dataclass(frozen=True)
class QCopySpec:
    """Copy elements of ``itemsize`` 1 or 2 bytes between two strided views of one shape; strides count elements."""

    itemsize: int
    shape: tuple[int, ...]
    source_strides: tuple[int, ...]
    target_strides: tuple[int, ...]
