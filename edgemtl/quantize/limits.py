"""What integer forms ask of an operator: the words of refusals and of the table of supported operators."""

from __future__ import annotations

from collections.abc import Mapping

from edgemtl import operators as ops
from edgemtl.hw.law import MOST_TOKENS, MOST_WIDTH

NO_FORM = "it has no integer form"
NORM_WIDTH = f"a LayerNorm has an integer form up to a width of {MOST_WIDTH}"
NORM_READERS = "a LayerNorm has an integer form in front of linear layers and convolutions only"
ATTENTION = f"attention has an integer form behind one layer that makes q, k and v, up to {MOST_TOKENS} tokens"
SIDE_BY_SIDE = "attention has an integer form where one layer makes q, k and v side by side, not behind a copy"
ATTENTION_SCALE = "attention needs a positive scale and calibration images on which q, k and v are not 0"
ONE_BYTE = "has an integer form in 8 bits only"
CONV_GROUPS = "a convolution has an integer form for one group, or for as many groups as channels"
RESIZE_FACTOR = "the resize that gives the output has an integer form for a factor of 2"

NO_RANGE = "the model gives no scale for what it computes or reads, and there are no calibration images"
NO_STREAM = "it reads or gives 16 bits of the residual stream, whose scale takes calibration images"
SCALE_CHANGES = "it keeps the scale of what it reads, and the model gives its result another one"
NO_PLACE = "it reads values for whose scales in the model the integer law has no place"
SIXTEEN = "it reads 16 bits, and has an integer form for 8"
OWN_NORM = (
    "a LayerNorm whose result has a scale of the model's own has no integer form: that folds gamma into its readers"
)
WEIGHT_FORM = (
    "its weights are not integers of 8 bits with a scale per output channel, and there are no calibration images"
)
WEIGHT_RANGE = "its weights less their zero point must lie from -127 to 127"

FINAL_BYTE = f"where it gives the output, it {ONE_BYTE}"

LIMITS: Mapping[type, tuple[str, ...]] = {
    ops.Activate: (FINAL_BYTE,),
    ops.Attention: (ATTENTION, SIDE_BY_SIDE, ATTENTION_SCALE),
    ops.Conv2d: (CONV_GROUPS, f"an activation {ONE_BYTE}"),
    ops.Experts: (f"an activation {ONE_BYTE}",),
    ops.LayerNorm: (NORM_WIDTH, NORM_READERS),
    ops.Linear: (f"an activation {ONE_BYTE}",),
    ops.Resize: (RESIZE_FACTOR,),
}
"""By float operator; a step beyond them runs in float32 between conversions."""
