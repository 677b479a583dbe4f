"""How many tasks an input can name: as many as everything it selects from has, or as it is compared with."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import onnx

from edgemtl.frontend.session import open_session, run_session

MAX_TASKS = 64
MAX_TABLE = 1024
"""Elements of a constant that indices are computed with."""
INDEX_OPERATORS = frozenset(
    "Abs Add And Cast Clip Concat Constant Div Equal Flatten Gather GatherElements GatherND Greater GreaterOrEqual "
    "Identity Less LessOrEqual Max Min Mod Mul Neg Not Or Reshape Slice Squeeze Sub Unsqueeze Where".split()
)
"""What exporters compute indices with; none makes a small input large."""

COMPARISONS = {"Equal": (0, 0), "Less": (0, 1), "GreaterOrEqual": (0, 1), "Greater": (1, 0), "LessOrEqual": (1, 0)}
"""What to take off a constant that is the first or the second operand, so that the next number is the first beyond."""

Values = Mapping[str, np.ndarray]


@dataclass(frozen=True)
class Selection:
    """A node that selects by an index: the values that say what, and whether they fit what it selects from."""

    reads: tuple[str, ...]
    fits: Callable[[Values], bool]


def count_tasks(proto: onnx.ModelProto, name: str) -> int:
    """The number of tasks that input `name` can tell apart, 1 where nothing selects by it, at most `MAX_TASKS` + 1."""
    graph, constants = proto.graph, _constants(proto.graph)
    indices, shapes = _indices(graph, name, constants), _shapes(proto, constants)
    options = (_selection(node, shapes, constants) for node in graph.node)
    selections = [s for s in options if s is not None and indices.intersection(s.reads)]
    if selections:
        return _count_fitting(proto, name, selections, indices)
    numbers = _compared(graph.node, _same_number(graph, name), _scalars(constants))
    return min(max(numbers, default=-1), MAX_TASKS - 1) + 2


def _indices(graph: onnx.GraphProto, name: str, constants: Mapping[str, np.ndarray]) -> set[str]:
    """What is computed from the input and small constants alone, by operators that make indices."""
    small = {key for key, array in constants.items() if array.size <= MAX_TABLE} | {""}
    indices = {name}
    for node in graph.node:
        reads = set(node.input)
        if node.op_type in INDEX_OPERATORS and reads & indices and reads <= indices | small:
            indices.update(node.output)
    return indices


def _constants(graph: onnx.GraphProto) -> dict[str, np.ndarray]:
    tensors = {tensor.name: tensor for tensor in graph.initializer}
    for node in graph.node:
        if node.op_type == "Constant" and node.attribute[0].HasField("t"):
            tensors[node.output[0]] = node.attribute[0].t
    return {name: onnx.numpy_helper.to_array(tensor) for name, tensor in tensors.items()}


def _shapes(proto: onnx.ModelProto, constants: Mapping[str, np.ndarray]) -> dict[str, list[int]]:
    shapes = {name: list(array.shape) for name, array in constants.items()}
    inferred = onnx.shape_inference.infer_shapes(proto).graph
    for value in [*inferred.value_info, *inferred.input]:
        shapes.setdefault(value.name, [dim.dim_value for dim in value.type.tensor_type.shape.dim])
    return shapes


def _selection(
    node: onnx.NodeProto, shapes: Mapping[str, list[int]], constants: Mapping[str, np.ndarray]
) -> Selection | None:
    """The node as a selection, None where it is none or the shape it selects from is unknown."""
    attributes = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
    shape = shapes.get(node.input[0], []) if node.input else []
    axis = attributes.get("axis", 0)
    if node.op_type in ("Gather", "GatherElements", "ScatterElements") and -len(shape) <= axis < len(shape):
        return _within(shape[axis], node.input[1]) if shape[axis] else None
    if node.op_type in ("GatherND", "ScatterND") and not attributes.get("batch_dims") and all(shape):
        return _tuples_within(shape, node.input[1])
    if node.op_type == "OneHot" and node.input[1] in constants:
        return _within(int(constants[node.input[1]].reshape(-1)[0]), node.input[0])
    if node.op_type == "Equal":
        return _one_of(node, constants)
    return _cut(node, shape, constants) if node.op_type == "Slice" and len(node.input) > 3 else None


def _within(size: int, index: str) -> Selection:
    """Indices of an axis."""
    return Selection((index,), lambda values: bool((values[index] < size).all() and (values[index] >= -size).all()))


def _tuples_within(shape: list[int], index: str) -> Selection:
    """Indices of the first axes, a tuple along the last axis of `index`."""

    def fits(values: Values) -> bool:
        array = values[index]
        sizes = np.array(shape[: array.shape[-1]])
        return bool((array < sizes).all() and (array >= -sizes).all())

    return Selection((index,), fits)


def _one_of(node: onnx.NodeProto, constants: Mapping[str, np.ndarray]) -> Selection | None:
    """A one-hot by comparison with a vector."""
    vectors = [name for name in node.input if name in constants and constants[name].size > 1]
    others = [name for name in node.input if name not in constants]
    if len(vectors) != 1 or len(others) != 1:
        return None
    vector, index = constants[vectors[0]], others[0]
    return Selection((index,), lambda values: bool(np.equal(values[index], vector).any()))


def _cut(node: onnx.NodeProto, shape: list[int], constants: Mapping[str, np.ndarray]) -> Selection | None:
    """A slice that starts inside its axis and, where its end moves too, ends there."""
    start, end, axes = node.input[1:4]
    axis = int(constants[axes].reshape(-1)[0]) if axes in constants and constants[axes].size == 1 else None
    if axis is None or not -len(shape) <= axis < len(shape):
        return None
    size = shape[axis] or np.iinfo(np.int64).max

    def fits(values: Values) -> bool:
        moving = end in values and end not in constants
        return bool((values[start] < size).all() and not (moving and (values[end] > size).any()))

    return Selection((start, end), fits)


def _count_fitting(proto: onnx.ModelProto, name: str, selections: list[Selection], indices: set[str]) -> int:
    """The first number that does not fit all selections."""
    reads = sorted({read for s in selections for read in s.reads if read in indices})
    constants, run = _constants(proto.graph), _index_runner(proto, name, reads, indices)
    for task in range(MAX_TASKS + 1):
        results = run(task)
        if results is None or not all(s.fits(constants | results) for s in selections):
            return task
    return MAX_TASKS + 1


def _index_runner(
    proto: onnx.ModelProto, name: str, reads: list[str], indices: set[str]
) -> Callable[[int], dict[str, np.ndarray] | None]:
    """From a task to the indices it gives; to None where one of them cannot be computed, as beyond a table."""
    nodes = [node for node in proto.graph.node if indices.issuperset(node.output) or node.op_type == "Constant"]
    needed = {read for node in nodes for read in node.input}
    (given,) = (value for value in proto.graph.input if value.name == name)
    outputs = [onnx.ValueInfoProto(name=read) for read in reads if read != name]
    tensors = [tensor for tensor in proto.graph.initializer if tensor.name in needed]
    graph = onnx.helper.make_graph(nodes, "indices", [given], outputs, tensors)
    model = onnx.helper.make_model(graph, opset_imports=list(proto.opset_import), ir_version=proto.ir_version)
    session, kind = open_session(model) if outputs else None, given.type.tensor_type
    shape, dtype = [d.dim_value for d in kind.shape.dim], onnx.helper.tensor_dtype_to_np_dtype(kind.elem_type)

    def run(task: int) -> dict[str, np.ndarray] | None:
        feeds = {name: np.full(shape, task, dtype)}
        results = run_session(session, feeds) if outputs else []
        return None if results is None else feeds | dict(zip([o.name for o in outputs], results, strict=True))

    return run


def _same_number(graph: onnx.GraphProto, name: str) -> set[str]:
    """The input and what only changes its type or shape."""
    names = {name}
    for node in graph.node:
        if node.op_type in ("Cast", "Squeeze", "Unsqueeze", "Reshape", "Identity") and node.input[0] in names:
            names.update(node.output)
    return names


def _scalars(constants: Mapping[str, np.ndarray]) -> dict[str, int]:
    """The constants of one element."""
    single = {name: array.reshape(-1)[0] for name, array in constants.items() if array.shape in ((), (1,))}
    return {
        name: int(v) for name, v in single.items() if v.dtype.kind in "iub" or (v.dtype.kind == "f" and np.isfinite(v))
    }


def _compared(nodes: Iterable[onnx.NodeProto], index: set[str], constants: dict[str, int]) -> list[int]:
    """The numbers the input is compared with, in subgraphs too; a cast to bool tells 0 from 1.

    To ask for less than n is to compare with n - 1.
    """
    numbers = []
    for node in nodes:
        if not index.isdisjoint(node.input) and node.op_type in COMPARISONS:
            less = COMPARISONS[node.op_type]
            numbers += [constants[name] - less[place] for place, name in enumerate(node.input) if name in constants]
        if not index.isdisjoint(node.input) and node.op_type == "Cast":
            numbers += [0 for a in node.attribute if a.name == "to" and a.i == onnx.TensorProto.BOOL]
        for graph in [graph for attribute in node.attribute for graph in graphs_of(attribute)]:
            numbers += _compared(graph.node, index, constants | _scalars(_constants(graph)))
    return numbers


def graphs_of(attribute: onnx.AttributeProto) -> list[onnx.GraphProto]:
    """The subgraphs an attribute holds."""
    return [*([attribute.g] if attribute.HasField("g") else []), *attribute.graphs]
