"""Operators: kinds of computation with their sizes, signatures, meanings and integer law. One file for each family.

Float operators have plain names, their integer twins begin with Q. Kernels, code generation, quantisation and
comparisons each have a table by these types; what they read of a step they ask for by the signature's names.
"""

from edgemtl.operators.attention import Attention, QAttention
from edgemtl.operators.concat import Concat, QConcat
from edgemtl.operators.conv import Conv2d, QConv2d, QWinograd, QWinogradWeights, Winograd, WinogradWeights
from edgemtl.operators.convert import Convert, Copy, Dequantise, QCopy, Quantise, Widen
from edgemtl.operators.elementwise import Activate, Add, Multiply, QAdd, QCurve, QLookup, QMultiply
from edgemtl.operators.embed import PatchEmbed, QPatchEmbed, QuantiseImage
from edgemtl.operators.generic import QMove, QNormalise, QProduct, QSoftmax
from edgemtl.operators.linear import Linear, QLinear
from edgemtl.operators.mixture import Combine, Dispatch, Experts, QCombine, QExperts, QRouter, Router
from edgemtl.operators.norm import LayerNorm, QLayerNorm
from edgemtl.operators.operator import Array, Frame, Operator, Signature, TensorType, Values
from edgemtl.operators.pixels import Pixels, QPixelPatches, QPixels
from edgemtl.operators.pool import Pool, QPool
from edgemtl.operators.resize import DequantiseImage, QBilinear, QClasses, QResample, Resample, Resize

__all__ = [
    "Activate",
    "Add",
    "Array",
    "Attention",
    "Combine",
    "Concat",
    "Conv2d",
    "Convert",
    "Copy",
    "Dequantise",
    "DequantiseImage",
    "Dispatch",
    "Experts",
    "Frame",
    "LayerNorm",
    "Linear",
    "Multiply",
    "Operator",
    "PatchEmbed",
    "Pixels",
    "Pool",
    "QAdd",
    "QAttention",
    "QBilinear",
    "QClasses",
    "QCombine",
    "QConcat",
    "QConv2d",
    "QCopy",
    "QCurve",
    "QExperts",
    "QLayerNorm",
    "QLinear",
    "QLookup",
    "QMove",
    "QMultiply",
    "QNormalise",
    "QPatchEmbed",
    "QPixelPatches",
    "QPixels",
    "QPool",
    "QProduct",
    "QResample",
    "QRouter",
    "QSoftmax",
    "QWinograd",
    "QWinogradWeights",
    "Quantise",
    "QuantiseImage",
    "Resample",
    "Resize",
    "Router",
    "Signature",
    "TensorType",
    "Values",
    "Widen",
    "Winograd",
    "WinogradWeights",
]
