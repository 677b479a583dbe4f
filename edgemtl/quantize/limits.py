"""What integer forms ask of an operator: the words of refusals and of the table of supported operators."""

from __future__ import annotations

from collections.abc import Mapping

from edgemtl import operators as ops
from edgemtl.hw.law import MOST_TOKENS
from edgemtl.hw.law_generic import MOST_DEPTH, MOST_SOFTMAX

NO_FORM = "it has no integer form"
ATTENTION = f"attention has an integer form behind one layer that makes q, k and v, up to {MOST_TOKENS} tokens"
SIDE_BY_SIDE = "attention has an integer form where nothing else reads the layer that makes q, k and v"
ATTENTION_SCALE = "attention needs a positive scale and calibration images on which q, k and v are not 0"
ATTENTION_RANGE = "attention scores are too large for 16 bits"
NORM_RANGE = "a normalisation has an integer form up to 2048 elements of 16 bits or 2^18 bytes"
NORM_FLOOR = "an L2 normalisation has an integer form whose least norm is at most an LSB of what it reads"
PRODUCT_DEPTH = f"a product of two computed values has an integer form up to {MOST_DEPTH} terms in a sum"
SOFTMAX_WIDTH = f"a softmax has an integer form up to {MOST_SOFTMAX} elements in a row"

GIVEN_WEIGHTS = "a mixture has an integer form for weights of a softmax, not for those of the model's own operators"
NO_RANGE = "the model gives no scale for what it computes or reads, and there are no calibration images"
NO_STREAM = "it reads or gives 16 bits of the residual stream, whose scale takes calibration images"
SCALE_CHANGES = "it keeps the scale of what it reads, and the model gives its result another one"
AS_THE_MODEL = "the model computes it in float32 between its roundings (with --bit-exact: in integers)"
NO_PLACE = "it reads or gives values for whose scales in the model the integer law has no place"
SIXTEEN = "it reads 16 bits, and has an integer form for 8"
EIGHT = "the model gives its result 16 bits, and its integer form has 8"
WEIGHT_FORM = (
    "its weights are not integers of 8 bits with a scale per output channel, and there are no calibration images"
)
WEIGHT_RANGE = "its weights less their zero point must lie from -128 to 127"

LIMITS: Mapping[type, tuple[str, ...]] = {
    ops.Attention: (ATTENTION, SIDE_BY_SIDE, ATTENTION_SCALE),
    ops.Combine: (GIVEN_WEIGHTS,),
    ops.LayerNorm: (NORM_RANGE,),
}
"""By float operator; a step beyond them runs in float32 between conversions."""
