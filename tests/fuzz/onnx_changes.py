"""Changes of an ONNX graph, one function each."""

from __future__ import annotations

from random import Random

import numpy as np
import onnx
from onnx import GraphProto, helper, numpy_helper

SIZES = (0, 1, 2, -1, 7, 2**16, 2**28, 2**31 - 1, 2**31, 2**62, 2**63 - 1, -(2**63))
OPERATORS = tuple(schema.name for schema in onnx.defs.get_all_schemas() if schema.domain == "")
DOMAINS = ("", "ai.onnx", "com.microsoft", "edgemtl", "ai.onnx.ml", "x")
FILES = ("/etc/passwd", "../../../etc/passwd", "changed.onnx", ".", "", "nowhere", "/proc/self/mem", "C:x", "/dev/zero")
NAMES = ("", "../x", "a b", "x" * 5000, "\n", "é", "image")


def change_shape(graph: GraphProto, rng: Random) -> None:
    """A constant that says another size than its bytes have."""
    tensor = rng.choice(graph.initializer)
    sizes = [*tensor.dims] or [1]
    sizes[rng.randrange(len(sizes))] = rng.choice(SIZES)
    tensor.dims[:] = sizes


def change_type(graph: GraphProto, rng: Random) -> None:
    """A constant of another type, or of none that there is."""
    rng.choice(graph.initializer).data_type = rng.choice([*range(28), 100])


def change_values(graph: GraphProto, rng: Random) -> None:
    """A constant full of one value, NaN and infinity among them."""
    tensor = rng.choice(graph.initializer)
    array = numpy_helper.to_array(tensor).copy()
    array[...] = rng.choice([0, 1, -1, 100]) if array.dtype.kind in "iub" else rng.choice([np.nan, np.inf, 0, 1e38])
    tensor.CopyFrom(numpy_helper.from_array(array, tensor.name))


def change_data(graph: GraphProto, rng: Random) -> None:
    """A constant with a byte too few or too many."""
    tensor = rng.choice(graph.initializer)
    tensor.raw_data = rng.choice([b"", tensor.raw_data[:-1], tensor.raw_data + b"\0"])


def place_data_outside(graph: GraphProto, rng: Random) -> None:
    """A constant in a file that it must not read."""
    tensor = rng.choice(graph.initializer)
    tensor.data_location = onnx.TensorProto.EXTERNAL
    del tensor.external_data[:]
    offset, length = (rng.choice(["0", "4", "-1", "99999999999999", "x"]) for _ in range(2))
    for key, value in (("location", rng.choice(FILES)), ("offset", offset), ("length", length)):
        tensor.external_data.add(key=key, value=value)


def change_operator(graph: GraphProto, rng: Random) -> None:
    """A node of another operator."""
    rng.choice(graph.node).op_type = rng.choice(OPERATORS)


def change_domain(graph: GraphProto, rng: Random) -> None:
    """A node of another domain."""
    rng.choice(graph.node).domain = rng.choice(DOMAINS)


def change_edge(graph: GraphProto, rng: Random) -> None:
    """A node that reads another value: a cycle, a constant, a name that nobody writes."""
    node = rng.choice(graph.node)
    others = (rng.choice(graph.node).output[0], "missing", "", graph.input[0].name, rng.choice(graph.initializer).name)
    if node.input and rng.random() < 0.7:
        node.input[rng.randrange(len(node.input))] = rng.choice(others)
    else:
        node.input.append(rng.choice(others))


def change_attribute(graph: GraphProto, rng: Random) -> None:
    """An attribute with another value, of another type, or gone."""
    node = rng.choice([node for node in graph.node if node.attribute])
    attribute = rng.choice(node.attribute)
    if attribute.type == onnx.AttributeProto.INT:
        attribute.i = rng.choice(SIZES)
    elif attribute.type == onnx.AttributeProto.INTS and attribute.ints:
        attribute.ints[rng.randrange(len(attribute.ints))] = rng.choice(SIZES)
    elif attribute.type == onnx.AttributeProto.FLOAT:
        attribute.f = rng.choice([float("nan"), float("inf"), -1.0, 0.0, 1e38])
    elif attribute.type == onnx.AttributeProto.STRING:
        attribute.s = rng.choice([b"", b"x" * 10_000, b"\xff\xfe", b"NOTSET", b"SAME_UPPER"])
    elif rng.random() < 0.5:
        attribute.type = rng.randrange(15)
    else:
        node.attribute.remove(attribute)


def reorder(graph: GraphProto, rng: Random) -> None:
    """Nodes out of order."""
    nodes = [*graph.node]
    rng.shuffle(nodes)
    changed = [onnx.NodeProto.FromString(node.SerializeToString()) for node in nodes]
    del graph.node[:]
    graph.node.extend(changed)


def drop_or_double(graph: GraphProto, rng: Random) -> None:
    """A node gone, or there twice."""
    at = rng.randrange(len(graph.node))
    if rng.random() < 0.5:
        del graph.node[at]
    else:
        graph.node.add().CopyFrom(graph.node[at])


def change_border(graph: GraphProto, rng: Random) -> None:
    """An input or output with another size, type or name."""
    value = rng.choice([*graph.input, *graph.output])
    sizes = value.type.tensor_type.shape.dim
    match rng.randrange(3):
        case 0 if sizes:
            rng.choice(sizes).dim_value = rng.choice(SIZES)
        case 1:
            value.type.tensor_type.elem_type = rng.randrange(25)
        case _:
            value.name = rng.choice((*NAMES, graph.output[0].name))


def add_large_constant(graph: GraphProto, rng: Random) -> None:
    """A large value made by a small constant, in the way of some node."""
    name, shape = f"large{rng.randrange(999)}", rng.choice([[2**20, 2**10], [2**15, 2**15], [2**31, 2]])
    graph.initializer.append(numpy_helper.from_array(np.array(shape, np.int64), f"{name}_shape"))
    nodes = [onnx.NodeProto.FromString(node.SerializeToString()) for node in graph.node]
    reduce = rng.choice(["ReduceSum", "ReduceMax", "Identity", "Exp"])
    readers = [node for node in nodes if node.input]
    node = rng.choice(readers)
    node.input[rng.randrange(len(node.input))] = f"{name}_small"
    del graph.node[:]
    graph.node.append(helper.make_node("ConstantOfShape", [f"{name}_shape"], [name]))
    graph.node.append(helper.make_node(reduce, [name], [f"{name}_small"]))
    graph.node.extend(nodes)


CHANGES = (
    *(change_shape, change_type, change_values, change_data, place_data_outside, change_operator, change_domain),
    *(change_edge, change_attribute, reorder, drop_or_double, change_border, add_large_constant),
)
