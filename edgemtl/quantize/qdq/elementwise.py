"""Steps without weights as ONNX operators: sums, products, tables, pools, concatenations, resizes by taps."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from onnx import TensorProto

from edgemtl import operators as ops
from edgemtl.errors import UnsupportedError
from edgemtl.quantize.qdq.graph import Attributes, Value, planes, rows_of
from edgemtl.quantize.qdq.mixture import OPSET
from edgemtl.quantize.qdq.task import TaskWriter
from edgemtl.tvm_bridge.generic import Generic

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
    if call.op in REDEFINED and call.opset < OPSET:
        reason = f"{call.op} of opset {call.opset} means something else in the opset {OPSET} of a QDQ model"
        raise UnsupportedError(task.step.origin[0], reason, f"export the model with opset {OPSET}")
    inputs = []
    for index, kind in enumerate(call.inputs):
        if kind is None:
            inputs.append("")
        elif index in operands:
            inputs.append(graph.real(graph.reshape(operands[index], kind.shape)).name)
        else:
            array = call.constants.get(index, np.zeros(kind.shape, kind.dtype))
            inputs.append(graph.constant(f"{task.step.origin[0]}.{index}", array).name)
    names = graph.node(call.op, inputs, call.attributes, len(call.outputs))
    return [Value(name, kind.shape) for name, kind in zip(names, call.outputs, strict=True)]


def _add(task: TaskWriter) -> None:
    total = task.graph.op("Add", (task.input("a"), task.input("b")), task.source.shape)
    task.write(task.curve(total, task.source.activation))


def _multiply(task: TaskWriter) -> None:
    task.write(task.graph.op("Mul", (task.input("a"), task.input("b")), task.source.shape))


def _activate(task: TaskWriter) -> None:
    task.write(task.curve(task.input(), task.source.activation))


def _look_up(task: TaskWriter) -> None:
    """The function of which the table holds the values."""
    source = task.source
    if not isinstance(source, Generic):
        return _activate(task)
    (value,) = _results(task, source, dict.fromkeys(source.reads, task.integers()))
    task.write(value)


def _pool(task: TaskWriter) -> None:
    spec, graph = task.source, task.graph
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
    spec, graph = task.source, task.graph
    ones = graph.constant("pool.ones", np.ones((spec.channels, 1, *spec.windows.kernel), np.float32))
    sums = graph.op("Conv", (image, ones), shape, {**attributes, "group": spec.channels})
    factor = task.floats[task.task.sources[task.index]].constant("factor").array
    return graph.op("Mul", (sums, graph.constant("pool.factor", factor.reshape(1, 1, *shape[2:]))), shape)


def _pixels(task: TaskWriter) -> None:
    """Each channel by its table of real values."""
    spec, graph = task.source, task.graph
    table = task.floats[task.task.sources[task.index]].constant("table")
    shape = (spec.pixels, spec.channels)
    indices = graph.op("Cast", (graph.reshape(task.integers(), shape),), shape, {"to": int(TensorProto.INT32)})
    places = graph.constant("pixels.first", np.arange(spec.channels, dtype=np.int32) * LEVELS)
    index = graph.op("Add", (indices, places), shape)
    values = graph.constant(table.name, table.array.reshape(-1))
    task.write(graph.op("Gather", (values, index), shape, {"axis": 0}))


def _concat(task: TaskWriter) -> None:
    spec = task.source
    values = [task.input(name) for name in spec.names]
    task.write(task.graph.op("Concat", values, (spec.rows, sum(spec.widths)), {"axis": 1}))


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
    ops.QLookup: _look_up,
    ops.QMultiply: _multiply,
    ops.QPixels: _pixels,
    ops.QPool: _pool,
    ops.QResample: _resample,
    ops.Resample: _resample,
    Generic: node,
}
