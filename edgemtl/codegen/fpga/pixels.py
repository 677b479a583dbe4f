"""Which steps of the vector unit alone the accelerator runs, and why the others stay on the host CPU."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from edgemtl import operators as ops
from edgemtl.codegen.fpga import networks as nets
from edgemtl.codegen.fpga.enlarging import EXACT_FACTOR, mode_of
from edgemtl.codegen.fpga.networks import Of, of
from edgemtl.hw.arith import SHIFT_RANGE
from edgemtl.hw.isa_vector import FACTORS
from edgemtl.hw.rules import MOST_CLASSES, MOST_PIXELS, mean_channels
from edgemtl.hw.spec import Engine
from edgemtl.lowering.ir import Step, View
from edgemtl.operators import Operator

MOST_IMAGE_ROWS = 2047
"""Most rows and columns of an image, enlarged: operands have 11 bits."""


def vector_group(steps: Sequence[Step], at: int, engine: Engine) -> nets.Group | None:
    """The step at ``at`` as a group of the vector unit; None where it is none, or not one that it can run."""
    step = steps[at]
    if type(step.operator) not in REASONS or vector_reason(steps, at, engine):
        return None
    match step.operator:
        case ops.QAdd():
            return nets.AddGroup(of(step, ops.QAdd))
        case ops.QLookup():
            return nets.MapGroup(of(step, ops.QLookup), row_width(steps, step["x"]))
        case ops.Convert():
            return nets.RescaleGroup(of(step, ops.Convert), row_width(steps, step["x"]))
        case ops.QConcat():
            return nets.ConcatGroup(of(step, ops.QConcat))
        case ops.QPool():
            return nets.MeanGroup(of(step, ops.QPool))
        case ops.QClasses():
            return nets.ClassesGroup(of(step, ops.QClasses))
    return nets.ResizeGroup(_resize(step))


def vector_reason(steps: Sequence[Step], at: int, engine: Engine) -> str:
    """Why the vector unit cannot run the step at ``at``; empty where it can, or where no group of it has such steps."""
    step = steps[at]
    reason = REASONS.get(type(step.operator))
    if reason is None:
        return ""
    if not all(_is_whole(steps, view) for view in step.views):
        return "it reads a part of a tensor, the vector unit whole ones"
    return reason(step, step.operator, engine) or _layout_reason(steps, step)


def _is_whole(steps: Sequence[Step], view: View) -> bool:
    """Whether a view is all of what is written to its buffer, element after element."""
    sizes = {written.size for step in steps for written in step.outputs if written.buffer == view.buffer}
    return view.offset == 0 and view.is_dense and sizes <= {view.size}


def row_width(steps: Sequence[Step], view: View) -> int:
    """The values of a row of a buffer: what the step that writes it says, or the step before those that only follow."""
    writer = next((step for step in steps for written in step.outputs if written.buffer == view.buffer), None)
    if writer is None:
        return view.shape[-1]
    if isinstance(writer.operator, ops.QLookup | ops.Convert):
        return row_width(steps, writer["x"])
    return writer.result.shape[-1]


def _layout_reason(steps: Sequence[Step], step: Step) -> str:
    if not isinstance(step.operator, ops.QLookup | ops.Convert):
        return ""
    width = row_width(steps, step["x"])
    return f"its rows have {width:,} values, the accelerator's up to {MOST_WIDTH:,}" if width > MOST_WIDTH else ""


MOST_WIDTH = 4096
"""Most values of a row of which only the order is known."""


def _add_reason(step: Step, operator: ops.QAdd, engine: Engine) -> str:
    if operator.constant:
        return "it adds a constant, the vector unit two tensors"
    if operator.a != operator.b:
        return f"its operands are {operator.a} and {operator.b}, the vector unit adds those of one shape"
    return ""


def _lookup_reason(step: Step, operator: ops.QLookup, engine: Engine) -> str:
    return "it has a table for each column, the vector unit one for all" if operator.by_column else ""


def _convert_reason(step: Step, operator: ops.Convert, engine: Engine) -> str:
    return _shift_reason(operator.how.shift)


def _shift_reason(shift: int) -> str:
    most = SHIFT_RANGE[1]
    return "" if 1 <= shift <= most else f"it scales by a shift of {shift}, the accelerator's are 1 to {most}"


def _concat_reason(step: Step, operator: ops.QConcat, engine: Engine) -> str:
    columns = engine.array_columns
    broken = [width for width in operator.widths[:-1] if width % columns]
    if broken:
        return f"an operand of {broken[0]} values before the last fills no whole number of {columns}-byte granules"
    return next(filter(None, (_shift_reason(how.shift) for how in operator.scales)), "")


def _pool_reason(step: Step, operator: ops.QPool, engine: Engine) -> str:
    windows = operator.windows
    whole = windows.kernel == (windows.height, windows.width) and windows.out_pixels == 1 and windows.pad == (0, 0)
    if operator.kind != "average" or not whole:
        return "the vector unit takes the mean of a whole image, not of windows, and no largest value"
    if operator.is_fine:
        return "its multiplier has 20 bits, the accelerator's 17"
    if operator.channels > mean_channels(engine):
        return f"it has {operator.channels:,} channels, the vector unit sums up {mean_channels(engine):,}"
    return f"it has {windows.pixels:,} pixels, a sum holds {MOST_PIXELS:,}" if windows.pixels > MOST_PIXELS else ""


def _resize(step: Step) -> Of[ops.QBilinear] | Of[ops.QResample]:
    bilinear = isinstance(step.operator, ops.QBilinear)
    return of(step, ops.QBilinear) if bilinear else of(step, ops.QResample)


def _resize_reason(step: Step, operator: ops.QBilinear | ops.QResample, engine: Engine) -> str:
    mode = mode_of(_resize(step))
    if mode is None:
        factors = ", ".join(map(str, FACTORS))
        return (
            f"the vector unit enlarges by {factors}, nearest by floor(y / factor) or bilinear with centres at halves "
            f"(16 bits up to {EXACT_FACTOR}), not so"
        )
    return _size_reason(mode.factor * max(operator.height, operator.width))


def _classes_reason(step: Step, operator: ops.QClasses, engine: Engine) -> str:
    if operator.channels > MOST_CLASSES:
        return f"it has {operator.channels:,} channels, and a byte tells {MOST_CLASSES} apart"
    return _size_reason(max(operator.out_height, operator.out_width))


def _size_reason(largest: int) -> str:
    if largest > MOST_IMAGE_ROWS:
        return f"an image of {largest:,} rows or columns is more than the counters hold, {MOST_IMAGE_ROWS:,}"
    return ""


REASONS: Mapping[type[Operator], Callable[[Step, Any, Engine], str]] = {
    ops.QAdd: _add_reason,
    ops.QLookup: _lookup_reason,
    ops.Convert: _convert_reason,
    ops.QConcat: _concat_reason,
    ops.QPool: _pool_reason,
    ops.QBilinear: _resize_reason,
    ops.QResample: _resize_reason,
    ops.QClasses: _classes_reason,
}
"""By the operator of a step of the vector unit alone."""
VECTOR_GROUPS: Mapping[type, str] = {
    nets.AddGroup: "the sum of two tensors of one shape, of 8 or 16 bits, with a ReLU behind it",
    nets.MapGroup: "a table of 256 bytes, which any function of a byte is",
    nets.RescaleGroup: "a change of scale, or between 8 and 16 bits",
    nets.ConcatGroup: "tensors side by side; all but the last must have whole granules of values (32 on a ZCU104)",
    nets.MeanGroup: "the mean of a whole image, of up to 64 channels for each lane of the vector unit",
    nets.ResizeGroup: "an image enlarged by 2, 4 or 8, nearest or bilinear with centres at halves; bilinear by 8 in 8 "
    "bits alone",
    nets.ClassesGroup: "the class of each pixel: the channel of the largest of up to 256 logits of 8 or 16 bits, also "
    "of logits upsampled by 2, bilinear with centres at halves",
}
"""What a group consists of, and its limits."""
