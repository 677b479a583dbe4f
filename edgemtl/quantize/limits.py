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
ATTENTION_RANGE = "attention scores are too large for 16 bits"
ONE_BYTE = "has an integer form in 8 bits only"
CONV_GROUPS = "a convolution has an integer form for one group, or for as many groups as channels"
RESIZE_FACTOR = "the resize that gives the output has an integer form for a factor of 2"

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
