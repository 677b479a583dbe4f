"""Which convolutions the accelerator runs, with the steps around them, and why others stay on the host CPU."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from edgemtl import operators as ops
from edgemtl.codegen.fpga import networks as nets
from edgemtl.codegen.fpga.image_shapes import column_parts, dilations, granules, reach, strides
from edgemtl.codegen.fpga.matching import Uses, chained, inner, take
from edgemtl.codegen.fpga.networks import of
from edgemtl.codegen.fpga.pixels import vector_reason
from edgemtl.codegen.fpga.ranges import integers_reason
from edgemtl.hw.isa import BY_NAME
from edgemtl.hw.spec import Engine
from edgemtl.lowering.ir import Step, View
from edgemtl.operators import QConv2d

FIELDS = {name: field for name, (field, _) in BY_NAME["CONV"].places.items()}
MOST_ROWS = FIELDS["height"].high
"""Most rows of an image."""
MOST_ROW_GRANULES = BY_NAME["LOAD"].places["size"][0].high
"""Most granules of a row of pixels."""
MOST_KERNEL = f"{FIELDS['kernel_height'].high} x {FIELDS['kernel_width'].high}"
DESCRIPTION = (
    f"a convolution in any number of groups with a kernel up to {MOST_KERNEL}, a stride up to {FIELDS['stride'].high} "
    f"and a dilation up to {FIELDS['dilation'].high}, each the same on both axes, and padding up to "
    f"{FIELDS['top'].high}; optionally after a bilinear upsampling by 2 and before a linear layer over its pixels; up "
    f"to {MOST_ROWS:,} rows; the upsampling is a layer of its own where the output is wider than the accumulators"
)
"""What the group consists of, and its limits."""
WITH_CLASSES = (
    "a `picture` whose rows are not cut into parts, with `classes` behind it, where nothing else reads the logits"
)
"""The same of the group with classes."""


def match_image(steps: Sequence[Step], at: int, engine: Engine, uses: Uses) -> nets.Group | None:
    """An upsampling if there is one, a convolution, and a linear layer over its pixels if there is one."""
    upsample = of(steps[at], ops.QBilinear) if isinstance(steps[at].operator, ops.QBilinear) else None
    start = at + (upsample is not None)
    part = take(steps, start, ops.QConv2d)
    if not part or image_reason(steps, start, engine):
        return None
    conv = of(part[0], ops.QConv2d)
    if upsample is not None and (_is_cut(conv.operator, engine) or _view_reason(steps, upsample["x"])):
        return None
    group = nets.ImageGroup(upsample, conv, _pixels(steps, start, uses))
    inside = nets.steps_of(group)
    return group if chained(inside) and inner(inside, at, uses) else None


def match_class_image(steps: Sequence[Step], at: int, engine: Engine, uses: Uses) -> nets.Group | None:
    """The same with the class of each pixel behind it, where no other step reads what they are of."""
    image = match_image(steps, at, engine, uses)
    if not isinstance(image, nets.ImageGroup) or _is_cut(image.conv.operator, engine):
        return None
    behind = at + len(nets.steps_of(image))
    if not take(steps, behind, ops.QClasses) or vector_reason(steps, behind, engine):
        return None
    classes, conv = of(steps[behind], ops.QClasses), image.conv.operator
    inside = *nets.steps_of(image), classes.step
    of_pixels = (classes.operator.height, classes.operator.width) == (conv.out_height, conv.out_width)
    joined = of_pixels and classes["x"].sees_as(image.result) and chained(inside) and inner(inside, at, uses)
    return nets.ClassImageGroup(image.upsample, image.conv, image.pixels, classes) if joined else None


def _is_cut(conv: QConv2d, engine: Engine) -> bool:
    """Whether a row of the output is computed in parts, which upsampled rows on chip are not."""
    return len(column_parts(conv, engine.accumulator_rows)) > 1


def _pixels(steps: Sequence[Step], at: int, uses: Uses) -> nets.Of[ops.QLinear] | None:
    """The linear layer over the pixels of the convolution at ``at`` that no other step reads, if the accelerator can
    run one.
    """
    pair = take(steps, at, ops.QConv2d, ops.QLinear)
    if not pair or not chained(pair) or not inner(pair, at, uses):
        return None
    layer = of(pair[1], ops.QLinear)
    return None if layer.operator.residual or integers_reason(layer.step) else layer


def image_reason(steps: Sequence[Step], at: int, engine: Engine) -> str:
    """Why the accelerator cannot run the convolution at ``at``; empty where it can."""
    conv = of(steps[at], QConv2d)
    reasons = (conv_reason(conv.operator, engine), *(_view_reason(steps, conv[name]) for name in ("x", "y")))
    return next((reason for reason in reasons if reason), "")


def conv_reason(operator: QConv2d, engine: Engine) -> str:
    """Why the accelerator cannot run a convolution of this geometry; empty where it can."""
    return next((reason for reason in _conv_reasons(operator, engine) if reason), "")


def _conv_reasons(conv: QConv2d, engine: Engine) -> Iterator[str]:
    for name, values in (("strides", strides(conv)), ("dilations", dilations(conv))):
        if len(values) > 1:
            pair = " and ".join(map(str, conv.stride if name == "strides" else conv.dilation))
            yield f"its {name} are {pair}, the accelerator has one for both axes"
    for part in column_parts(conv, engine.accumulator_rows):
        yield from _limits(part.conv)
        read = part.conv.width * granules(engine, conv.cin, "int8")
        row = max(read, part.conv.out_width * granules(engine, conv.cout, "int16"))
        if row > MOST_ROW_GRANULES:
            yield f"a row of pixels has {row:,} granules, an instruction copies {MOST_ROW_GRANULES:,}"
    if conv.pad[0] >= reach(conv) + (conv.out_height - 1) * max(strides(conv)):
        yield "it reads no row of its image, only padding"


def _limits(conv: QConv2d) -> Iterator[str]:
    """Sizes that the operands do not hold."""
    sizes = {
        "kernel_height": ("its kernel has", conv.kernel[0], "rows"),
        "kernel_width": ("its kernel has", conv.kernel[1], "columns"),
        "stride": ("it has", max(strides(conv)), "for a stride"),
        "dilation": ("it has", max(dilations(conv)), "for a dilation"),
        "top": ("it pads", conv.pad[0], "rows above"),
        "left": ("it pads", conv.pad[1], "pixels on the left"),
        "height": ("its image has", conv.height, "rows"),
        "first": ("its output has", conv.out_height, "rows"),
        "width": ("its image has", conv.width, "pixels in a row"),
        "k": ("it has", conv.cin, "input channels"),
        "n": ("it has", conv.cout, "output channels"),
    }
    for name, (begin, size, what) in sizes.items():
        if not 0 <= size <= FIELDS[name].high:
            yield f"{begin} {size:,} {what}, the accelerator holds 0 to {FIELDS[name].high:,}"


def _view_reason(steps: Sequence[Step], image: View) -> str:
    """Why an image does not lie in a buffer of its own, pixel after pixel."""
    ends = (view.extent_bytes for step in steps for view in step.views if view.buffer == image.buffer)
    if image.offset or max(ends) > image.nbytes:
        return "its image is a part of another tensor, the accelerator reads and writes whole images"
    return ""
