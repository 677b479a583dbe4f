"""Which convolutions the accelerator runs, with the steps around them, and why others stay on the host CPU."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from edgemtl import operators as ops
from edgemtl.codegen.fpga import networks as nets
from edgemtl.codegen.fpga.image_shapes import Shortage, column_parts, dilations, granules, largest_block, reach, strides
from edgemtl.codegen.fpga.matching import Uses, chained, inner, take
from edgemtl.codegen.fpga.networks import of
from edgemtl.codegen.fpga.weights import layer_lines
from edgemtl.hw.isa import BY_NAME, LINE_BYTES
from edgemtl.hw.spec import Engine
from edgemtl.lowering.ir import Step, View
from edgemtl.operators import QConv2d
from edgemtl.schedule.tiling import limits

FIELDS = {name: field for name, (field, _) in BY_NAME["CONV"].places.items()}
MOST_ROWS = FIELDS["height"].high
"""Most rows of an image."""
MOST_ROW_GRANULES = BY_NAME["LOAD"].places["size"][0].high
"""Most granules of a row of pixels."""
DESCRIPTION = (
    f"a convolution in one group with a kernel up to {FIELDS['kernel_height'].high} x {FIELDS['kernel_width'].high}, "
    f"a stride up to {FIELDS['stride'].high} and a dilation up to {FIELDS['dilation'].high}, each the same on both "
    f"axes, and padding up to {FIELDS['top'].high}; optionally after a bilinear upsampling by 2 and before a linear "
    f"layer over its pixels; up to {MOST_ROWS:,} rows; with the upsampling or directly behind LayerNorm an output no "
    "wider than the accumulators"
)
"""What the group consists of, and its limits."""


def match_image(steps: Sequence[Step], at: int, engine: Engine, uses: Uses) -> nets.Group | None:
    """An upsampling if there is one, a convolution, and a linear layer over its pixels if there is one."""
    upsample = of(steps[at], ops.QBilinear) if isinstance(steps[at].operator, ops.QBilinear) else None
    start = at + (upsample is not None)
    part = take(steps, start, ops.QConv2d)
    if not part or image_reason(steps, start, engine, upsample):
        return None
    group = nets.ImageGroup(upsample, of(part[0], ops.QConv2d), _pixels(steps, start, uses))
    inside = nets.steps_of(group)
    return group if chained(inside) and inner(inside, at, uses) else None


def _pixels(steps: Sequence[Step], at: int, uses: Uses) -> nets.Of[ops.QLinear] | None:
    """The linear layer over the pixels of the convolution at ``at`` that no other step reads, if there is one."""
    pair = take(steps, at, ops.QConv2d, ops.QLinear)
    if not pair or not chained(pair) or not inner(pair, at, uses):
        return None
    layer = of(pair[1], ops.QLinear)
    return None if layer.operator.residual else layer


def image_reason(steps: Sequence[Step], at: int, engine: Engine, upsample: nets.Of[ops.QBilinear] | None = None) -> str:
    """Why the accelerator cannot run the convolution at ``at``, behind ``upsample``; empty where it can."""
    conv = of(steps[at], QConv2d)
    images = [conv["x"], conv["y"], *([] if upsample is None else [upsample["x"]])]
    room = _room_reason(steps, at, engine, upsample is not None)
    return conv_reason(conv.operator, engine) or room or _view_reason(steps, images, conv.operator.cin)


def conv_reason(operator: QConv2d, engine: Engine) -> str:
    """Why the accelerator cannot run a convolution of this geometry; empty where it can."""
    return next((reason for reason in _conv_reasons(operator, engine) if reason), "")


def _conv_reasons(conv: QConv2d, engine: Engine) -> Iterator[str]:
    if conv.groups != 1:
        size = conv.cin // conv.groups
        channels = "1 channel" if size == 1 else f"{size} channels"
        yield (
            f"it convolves in {conv.groups} groups of {channels}; the accelerator convolves in one, where each group "
            f"would use {size} of the array's {engine.array_rows} rows"
        )
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


def _room_reason(steps: Sequence[Step], at: int, engine: Engine, upsample: bool) -> str:
    """Why memories on chip are too small, even for blocks of one row."""
    conv = of(steps[at], QConv2d)
    behind = take(steps, at, QConv2d, ops.QLinear)
    pixels = of(behind[1], ops.QLinear).operator if behind and chained(behind) else None
    writer = _writer(steps, conv["x"].buffer)
    on_chip = writer is not None and isinstance(writer.operator, ops.QLayerNorm)
    parts, most = column_parts(conv.operator, engine.accumulator_rows), engine.accumulator_rows
    if len(parts) > 1 and (upsample or on_chip):
        return f"a row of its output has {conv.operator.out_width} pixels, the accumulators hold {most}"
    for part in parts:
        block = largest_block(part.conv, pixels, upsample, engine, limits(engine, 1), on_chip)
        if isinstance(block, Shortage):
            return f"one row needs {block.needed:,} bytes for {block.what} of {block.there:,}"
    taps = conv.operator.kernel[0] * conv.operator.kernel[1]
    lines = layer_lines(engine, taps * conv.operator.cin, engine.array_columns, conv.operator.table)
    needed, there = lines * LINE_BYTES, engine.weight_ring_bytes
    return f"{engine.array_columns} columns of its weights have {needed:,} bytes, the weight ring {there:,}" * (
        needed > there
    )


def _view_reason(steps: Sequence[Step], images: Sequence[View], channels: int) -> str:
    """Why an image does not lie in a buffer of its own, pixel after pixel; all but the second have ``channels``."""
    for image in images:
        ends = (view.extent_bytes for step in steps for view in step.views if view.buffer == image.buffer)
        if image.offset or max(ends) > image.nbytes:
            return "its image is a part of another tensor, the accelerator reads and writes whole images"
    sources = {image.buffer for image in (images[0], *images[2:])}
    widths = {view.shape[-1] for step in steps for view in _rows_of(step, sources)}
    return "" if widths <= {channels} else "its image is read in rows of another width too"


def _rows_of(step: Step, buffers: set[str]) -> Iterator[View]:
    """What a step that may run on the accelerator reads of some buffers."""
    if isinstance(step.operator, QConv2d | ops.QLinear | ops.QLayerNorm | ops.QBilinear):
        yield from (view for view in step.inputs if view.buffer in buffers)


def _writer(steps: Sequence[Step], buffer: str) -> Step | None:
    return next((step for step in steps if any(view.buffer == buffer for view in step.outputs)), None)
