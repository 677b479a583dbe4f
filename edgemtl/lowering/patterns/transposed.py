"""Transposed convolutions as convolutions: one for each phase of the strides, so that no zeros are multiplied.

With stride s, output s q + p of an axis sums weight[k] input[q + (p + pad - k) / s] over the k that leave a whole
number: for every phase p a convolution of its own, whose results lie s apart. Phases that read one pixel each are one
linear layer.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import numpy as np
import onnx_ir as ir

from edgemtl.graph import array_of, attribute, dtype_of, is_op, operand, result, shape_of
from edgemtl.lowering.emit import Emitter
from edgemtl.lowering.ir import Constant, View
from edgemtl.lowering.match import Group
from edgemtl.lowering.patterns.activation import Activation, strip_activation
from edgemtl.lowering.patterns.linear import emit_linear
from edgemtl.operators import Array, Concat, Conv2d


@dataclass(frozen=True)
class Phase:
    """A phase of an axis: its taps in the order of the input, and the zeros before and after the input."""

    taps: tuple[int, ...]
    before: int
    after: int

    @property
    def reads_one_pixel(self) -> bool:
        """Whether every output reads the pixel that lies under it, and nothing else."""
        return len(self.taps) == 1 and self.before == self.after == 0


@dataclass(frozen=True)
class Transposed:
    """A transposed convolution: what it reads, weight [cin, cout, kh, kw], bias [cout], and the phases of both axes."""

    source: ir.Value
    value: ir.Value
    weight: Constant
    bias: Constant
    activation: str
    rows: tuple[Phase, ...]
    columns: tuple[Phase, ...]


def match_conv_transpose(node: ir.Node) -> Group | None:
    """ConvTranspose of a float32 image [1, C, H, W] in one group, undilated, with explicit pads, and its activation."""
    activation = strip_activation(result(node))
    last = activation.source.producer()
    layer = _layer(last, activation, result(node)) if last is not None and is_op(last, "ConvTranspose") else None
    if last is None or layer is None:
        return None
    return Group("conv transpose", (*activation.nodes, last), partial(_emit, layer=layer))


def _layer(node: ir.Node, activation: Activation, value: ir.Value) -> Transposed | None:
    source, kernel, added = operand(node, "X"), operand(node, "W"), operand(node, "B")
    weight, shift = array_of(kernel), array_of(added)
    if source is None or kernel is None or weight is None or (added is not None and shift is None):
        return None
    is_image = len(shape_of(source)) == 4 and shape_of(source)[0] == 1 and dtype_of(source) == "float32"
    is_plain = attribute(node, "group", 1) == 1 and set(attribute(node, "dilations", (1, 1))) == {1}
    is_explicit = attribute(node, "auto_pad", "NOTSET") == "NOTSET" and not attribute(node, "output_shape", ())
    if not (is_image and is_plain and is_explicit):
        return None
    strides, pads = attribute(node, "strides", (1, 1)), attribute(node, "pads", (0, 0, 0, 0))
    sizes, out = shape_of(source)[2:], shape_of(result(node))[2:]
    each = zip(weight.shape[2:], strides, pads[:2], sizes, out, strict=True)
    rows, columns = (_phases(*axis) for axis in each)
    if rows is None or columns is None:
        return None
    named = Constant(kernel.name or "weight", weight)
    width = weight.shape[1]
    bias = Constant(f"zeros_{width}" if added is None else added.name or "bias", np.zeros(width, np.float32))
    if shift is not None:
        bias = Constant(bias.name, shift)
    return Transposed(source, value, named, bias, activation.name, rows, columns)


def _phases(kernel: int, stride: int, pad: int, size: int, out: int) -> tuple[Phase, ...] | None:
    """The phases of an axis, all of as many outputs; None where one has no tap, or reads less than the whole input."""
    phases, count = [], -(-out // stride)
    for phase in range(stride):
        taps = [k for k in range(kernel) if (phase + pad - k) % stride == 0][::-1]
        if not taps:
            return None
        first, last = ((phase + pad - k) // stride for k in (taps[0], taps[-1]))
        phases.append(Phase(tuple(taps), -first, count - 1 + last - (size - 1)))
    return tuple(phases) if all(p.before >= 0 and p.after >= 0 for p in phases) else None


def _emit(em: Emitter, layer: Transposed) -> None:
    """All phases side by side, then in their places; what hangs over at the end is cut off."""
    pixels = em.pixels(layer.source)
    cout, (out_height, out_width) = layer.bias.array.size, shape_of(layer.value)[2:]
    rows, columns = len(layer.rows), len(layer.columns)
    high, wide = -(-out_height // rows), -(-out_width // columns)
    is_linear = all(phase.reads_one_pixel for phase in (*layer.rows, *layer.columns))
    parts = _emit_linear(em, layer, pixels) if is_linear else _emit_phases(em, layer, pixels, (high, wide))
    y = em.new((high, rows, wide, columns, cout))
    blocks = em.reshaped(parts, (high, wide, rows, columns, cout))
    em.copy(blocks.transpose((0, 2, 1, 3, 4)), y)
    image = em.reshaped(y, (high * rows, wide * columns, cout))
    cut = image.apply(lambda a: a[None, :out_height, :out_width])
    em.views[layer.value] = cut.transpose((0, 3, 1, 2))


def _emit_linear(em: Emitter, layer: Transposed, pixels: View) -> View:
    """All phases [height * width, phases * cout] as columns of one linear layer."""
    rows, columns = ([phase.taps[0] for phase in axis] for axis in (layer.rows, layer.columns))
    cin = layer.weight.array.shape[0]
    chosen = layer.weight.array[:, :, rows][:, :, :, columns].transpose(0, 2, 3, 1).reshape(cin, -1)
    bias = np.tile(layer.bias.array, len(rows) * len(columns))
    weight = Constant(f"{layer.weight.name}.phases", np.ascontiguousarray(chosen))
    return emit_linear(em, pixels, weight, Constant(f"{layer.bias.name}.phases", bias), layer.activation)


def _emit_phases(em: Emitter, layer: Transposed, pixels: View, size: tuple[int, int]) -> View:
    """All phases [size, phases * cout], a convolution each."""
    outputs = [_emit_phase(em, layer, pixels, (row, column)) for row in layer.rows for column in layer.columns]
    if len(outputs) == 1:
        return outputs[0]
    cout = layer.bias.array.size
    concat = Concat(size[0] * size[1], (cout,) * len(outputs))
    y = em.new((concat.rows, cout * len(outputs)))
    em.step(concat, {**dict(zip(concat.names, outputs, strict=True)), "y": y})
    return y


def _emit_phase(em: Emitter, layer: Transposed, pixels: View, phases: tuple[Phase, Phase]) -> View:
    """The results of a phase [pixels, cout]."""
    (above, beside), cout, (_, cin, height, width) = phases, layer.bias.array.size, shape_of(layer.source)
    kernel: Array = layer.weight.array[:, :, list(above.taps)][:, :, :, list(beside.taps)].transpose(1, 0, 2, 3)
    weight = Constant(f"{layer.weight.name}.{above.taps[0]}.{beside.taps[0]}", np.ascontiguousarray(kernel))
    pad = (above.before, beside.before, above.after, beside.after)
    size = (len(above.taps), len(beside.taps))
    conv = Conv2d(height, width, cin, cout, size, pad=pad, activation=layer.activation)
    part = em.new((conv.out_height * conv.out_width, cout))
    em.step(conv, {"x": pixels, "y": part}, {"weight": weight, "bias": layer.bias})
    return part
