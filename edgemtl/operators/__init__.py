"""Operators: kinds of computation with their sizes, signatures, meanings and integer law. One file for each family.

Float operators have plain names, their integer twins begin with Q. Kernels, code generation, quantisation and
comparisons each have a table by these types; what they read of a step they ask for by the signature's names.
"""

from edgemtl.operators.attention import Attention, QAttention
from edgemtl.operators.conv import Conv2d, QConv2d, Winograd, WinogradWeights
from edgemtl.operators.convert import Convert, Copy, Dequantise, QCopy, Quantise
from edgemtl.operators.embed import PatchEmbed, QPatchEmbed, QuantiseImage
from edgemtl.operators.linear import Linear, QLinear
from edgemtl.operators.mixture import Combine, Experts, QCombine, QExperts, QRouter, Router
from edgemtl.operators.norm import LayerNorm, QLayerNorm
from edgemtl.operators.operator import Array, Operator, Signature, TensorType, Values
from edgemtl.operators.resize import DequantiseImage, QBilinear, Resize

__all__ = [
    "Array",
    "Attention",
    "Combine",
    "Conv2d",
    "Convert",
    "Copy",
    "Dequantise",
    "DequantiseImage",
    "Experts",
    "LayerNorm",
    "Linear",
    "Operator",
    "PatchEmbed",
    "QAttention",
    "QBilinear",
    "QCombine",
    "QConv2d",
    "QCopy",
    "QExperts",
    "QLayerNorm",
    "QLinear",
    "QPatchEmbed",
    "QRouter",
    "Quantise",
    "QuantiseImage",
    "Resize",
    "Router",
    "Signature",
    "TensorType",
    "Values",
    "Winograd",
    "WinogradWeights",
]
