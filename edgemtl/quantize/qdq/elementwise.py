"""Steps without weights as ONNX operators: sums, products, tables, pools, concatenations, resizes by taps."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np
from onnx import TensorProto

from edgemtl import operators as ops
from edgemtl.errors import UnsupportedError
from edgemtl.hw.arith import unpack_scale
from edgemtl.hw.law_generic import NORM_OCTAVES
from edgemtl.operators import Array
from edgemtl.quantize.qdq import mixture
from edgemtl.quantize.qdq.graph import Attributes, Value, planes, rows_of
from edgemtl.quantize.qdq.task import TaskWriter
from edgemtl.tvm_bridge.generic import Generic, spell_call

REDEFINED = ("GroupNormalization",)
"""Operators that the opset of QDQ models defines otherwise than the one before."""


LEVELS = 256


def node(task: TaskWriter) -> None:
    """A node that runs in a generic kernel, as it is."""
    operator = task.step.operator
    assert isinstance(operator, Generic)
    inputs = {index: task.integers(name) for index, name in zip(operator.reads, operator.signature.inputs, strict=True)}
    for view, value in zip(task.step.outputs, _results(task, operator, inputs), strict=True):
        task.values[view.buffer] = value


def _results(task: TaskWriter, operator: Generic, operands: Mapping[int, Value]) -> list[Value]:
    """What a node gives; computed operands by index.

    They get their shape as integers: onnxruntime gives a Reshape behind a DequantizeLinear integers of another type.
    """
    call, graph = operator.call, task.graph
    if call.op in REDEFINED and call.opset < mixture.OPSET:
        reason = f"{call.op} of opset {call.opset} means something else in the opset {mixture.OPSET} of a QDQ model"
        raise UnsupportedError(task.step.origin[0], reason, f"export the model with opset {mixture.OPSET}")
    inputs = []
    for index, kind in enumerate(call.inputs):
        if kind is None:
            inputs.append("")
        elif index in operands:
            inputs.append(graph.real(graph.reshape(operands[index], kind.shape)).name)
        else:
            array = call.constants.get(index, np.zeros(kind.shape, kind.dtype))
            inputs.append(graph.constant(f"{task.step.origin[0]}.{index}", array).name)

    def constant(name: str, array: Array) -> str:
        return graph.constant(f"{task.step.origin[0]}.{name}", array).name

    names = spell_call(call, inputs, graph.node, constant)
    return [Value(name, kind.shape) for name, kind in zip(names, call.outputs, strict=True)]


def between(task: TaskWriter) -> None:
    """A generic node between integers: what its integer form computes."""
    source = task.source
    operands = {
        index: task.integers(name)
        for index, name in zip(source.reads, task.step.operator.signature.inputs, strict=True)
    }
    (value,) = _results(task, source, operands)
    task.write(task.graph.reshape(value, task.step.result.shape))


def _product(task: TaskWriter) -> None:
    """In the shapes of the step, where leading axes may be one; a constant side has the scale that is left for it."""
    spec, step = task.operator, task.step
    sides = {name: task.input(name) for name in ("a", "b") if name != spec.constant}
    if spec.constant:
        scale = spec.mul * 2.0**-spec.shift * task.tensor(step["y"].buffer).scale
        scale /= task.tensor(step.main_input.buffer).scale
        constant = step.constant(spec.constant)
        sides[spec.constant] = task.dequantised(constant.name, constant.array, np.array(scale), 0)
    task.write(task.graph.op("MatMul", (sides["a"], sides["b"]), spec.shape))


def _softmax(task: TaskWriter) -> None:
    x = task.input()
    task.write(task.graph.op("Softmax", (x,), x.shape, {"axis": -1}))


def _normalise(task: TaskWriter) -> None:
    """Rows by their moments, and a scale and an offset for each channel."""
    spec, graph, step = task.operator, task.graph, task.step
    region, x = spec.region, graph.reshape(task.input(), (spec.region.rows, spec.region.width))
    unit, moment = task.tensor(step["y"].buffer).scale, (region.rows, 1)

    def mean(value: Value) -> Value:
        return graph.op("ReduceMean", (value, graph.ints([-1])), moment, {"keepdims": 1})

    centred = graph.op("Sub", (x, mean(x)), x.shape) if spec.is_centred else x
    variance = mean(graph.op("Mul", (centred, centred), x.shape))
    real = spec.epsilon * task.tensor(step["x"].buffer).scale ** 2 / region.width**2
    added = graph.op("Add", (variance, graph.constant("epsilon", np.array(real, np.float32))), moment)
    y = graph.op("Div", (centred, graph.op("Sqrt", (added,), moment)), x.shape)
    words, offset = (step.constant(name).array.astype(np.int64) for name in ("scale", "offset"))
    mul, shift = unpack_scale(np.abs(words))
    gamma = np.sign(words) * mul * 2.0 ** (NORM_OCTAVES - shift) * unit
    channels = (region.parameters // region.channels, region.channels, 1)
    shape = region.rows, region.channels, region.inner
    scale, shifted = (a.reshape(channels).astype(np.float32) for a in (gamma, offset * unit))
    y = graph.op("Mul", (graph.reshape(y, shape), graph.constant("gamma", scale)), shape)
    y = graph.op("Add", (y, graph.constant("beta", shifted)), shape)
    task.write(graph.reshape(y, step.result.shape))


def _add(task: TaskWriter) -> None:
    """A sum; of a layer and its residual it is one of the layer's steps."""
    if isinstance(task.source, Generic):
        return between(task)
    total = task.graph.op("Add", (task.input("a"), task.input("b")), task.operator.shape)
    task.write(task.curve(total, task.source.activation if isinstance(task.source, ops.Add) else ""))


def _multiply(task: TaskWriter) -> None:
    if "a" in task.step.operator.signature.inputs and task.step["a"].buffer in task.parts:
        return mixture.multiply(task)
    if isinstance(task.source, Generic):
        return between(task)
    task.write(task.graph.op("Mul", (task.input("a"), task.input("b")), task.source.shape))


def _activate(task: TaskWriter) -> None:
    task.write(task.curve(task.input(), task.source.activation))


def _look_up(task: TaskWriter) -> None:
    """The function of which the table holds the values."""
    return between(task) if isinstance(task.source, Generic) else _activate(task)


def _pool(task: TaskWriter) -> None:
    spec, graph = task.operator, task.graph
    windows = spec.windows
    image = graph.real(planes(graph, task.integers(), windows.height, windows.width))
    attributes: Attributes = {
        "strides": windows.stride,
        "dilations": windows.dilation,
        "pads": (*windows.pad, *windows.beyond),
    }
    shape = (1, spec.channels, windows.out_height, windows.out_width)
    if spec.kind == "max":
        pooled = graph.op("MaxPool", (image,), shape, {**attributes, "kernel_shape": windows.kernel})
    else:
        pooled = _mean(task, image, shape, attributes)
    task.place(rows_of(graph, task.rounded(pooled)))


def _mean(task: TaskWriter, image: Value, shape: tuple[int, ...], attributes: Attributes) -> Value:
    """Sums times their factors: onnxruntime's fused form of AveragePool between integers refuses its own scales."""
    spec, graph = task.operator, task.graph
    ones = graph.constant("pool.ones", np.ones((spec.channels, 1, *spec.windows.kernel), np.float32))
    sums = graph.op("Conv", (image, ones), shape, {**attributes, "group": spec.channels})
    if isinstance(task.source, ops.Pool):
        factor = task.floats[task.task.sources[task.index]].constant("factor").array
    else:
        mul, shift = unpack_scale(task.step.constant("scale").array)
        unit = task.tensor(task.step["y"].buffer).scale / task.tensor(task.step["x"].buffer).scale
        factor = (mul * 2.0**-shift * unit).astype(np.float32)
    return graph.op("Mul", (sums, graph.constant("pool.factor", factor.reshape(1, 1, *shape[2:]))), shape)


def _pixels(task: TaskWriter) -> None:
    task.write(pixel_values(task))


def pixel_values(task: TaskWriter) -> Value:
    """Rows [pixels, C] of a camera's frame, each channel by its table of real values."""
    spec, graph = task.source, task.graph
    table = task.floats[task.task.sources[task.index]].constant("table")
    shape = (spec.pixels, spec.channels)
    indices = graph.op("Cast", (graph.reshape(task.integers(), shape),), shape, {"to": int(TensorProto.INT32)})
    places = graph.constant("pixels.first", np.arange(spec.channels, dtype=np.int32) * LEVELS)
    index = graph.op("Add", (indices, places), shape)
    values = graph.constant(table.name, table.array.reshape(-1))
    return graph.op("Gather", (values, index), shape, {"axis": 0})


def _concat(task: TaskWriter) -> None:
    spec = task.operator
    values = [task.input(name) for name in spec.names]
    task.write(task.graph.op("Concat", values, (spec.rows, sum(spec.widths)), {"axis": 1}))


def _move(task: TaskWriter) -> None:
    """A gather of blocks of the operand and, behind them, of constants."""
    spec, graph, step = task.operator, task.graph, task.step
    blocks = graph.reshape(task.integers(), (spec.count, spec.width))
    fill = graph.constant(step.constant("fill").name, step.constant("fill").array)
    both = graph.op("Concat", (blocks, fill), (spec.count + spec.fills, spec.width), {"axis": 0})
    index = graph.constant(step.constant("index").name, step.constant("index").array)
    moved = graph.op("Gather", (both, index), (spec.rows, spec.width), {"axis": 0})
    task.place(replace(moved, tensor=blocks.tensor))


def _resample(task: TaskWriter) -> None:
    """Both axes as products with a matrix of their weights."""
    spec, graph, step = task.operator, task.graph, task.step
    image = graph.real(planes(graph, task.integers(), spec.height, spec.width))
    matrices = {}
    for axis, size, out in (("row", spec.height, spec.out_height), ("column", spec.width, spec.out_width)):
        index, weight = (step.constant(f"{axis}_{what}").array for what in ("index", "weight"))
        dense = np.zeros((out, size), np.float32)
        one = 1 if weight.dtype == np.float32 else weight[0].sum()
        np.add.at(dense, (np.arange(out)[:, None], index), weight / one)
        matrices[axis] = dense
    rows, columns = (
        graph.constant("resize.rows", matrices["row"]),
        graph.constant("resize.columns", matrices["column"].T),
    )
    lines = graph.op("MatMul", (rows, image), (1, spec.channels, spec.out_height, spec.width))
    y = graph.op("MatMul", (lines, columns), (1, spec.channels, spec.out_height, spec.out_width))
    task.place(rows_of(graph, task.rounded(y)))


WRITERS: Mapping[type, Callable[[TaskWriter], None]] = {
    ops.Activate: _activate,
    ops.Add: _add,
    ops.Concat: _concat,
    ops.Multiply: _multiply,
    ops.Pixels: _pixels,
    ops.Pool: _pool,
    ops.QAdd: _add,
    ops.QConcat: _concat,
    ops.QCurve: _look_up,
    ops.QLookup: _look_up,
    ops.QMove: _move,
    ops.QMultiply: _multiply,
    ops.QNormalise: _normalise,
    ops.QPixels: _pixels,
    ops.QPool: _pool,
    ops.QProduct: _product,
    ops.QSoftmax: _softmax,
    ops.QResample: _resample,
    ops.Resample: _resample,
    Generic: node,
}
