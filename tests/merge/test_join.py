"""What counts as the same, on graphs written by hand: by structure and content, never by name."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgemtl.frontend.exact import read_exactly
from edgemtl.merge.join import join
from edgemtl.merge.names import name_apart
from tests.cli.test_errors import assert_fails
from tests.cli.test_verbs import run_json
from tests.support.run import random_image, run_onnx

SHAPE = (1, 3, 8, 8)
Nodes = list[onnx.NodeProto]


class Graph:
    """A model from the image to one output, whose names all begin with a prefix; the trunk is the same for all."""

    def __init__(self, prefix: str = "", image: str = "image") -> None:
        self.prefix, self.image = prefix, image
        self.nodes: Nodes = []
        self.constants: dict[str, np.ndarray] = {}

    def const(self, array: object, dtype: type = np.float32) -> str:
        name = f"{self.prefix}c{len(self.constants)}"
        self.constants[name] = np.array(array, dtype)
        return name

    def op(self, kind: str, *inputs: str, **attributes: object) -> str:
        name = f"{self.prefix}{kind}{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, [*inputs], [f"{name}/out"], name=name, **attributes))
        return f"{name}/out"

    def trunk(self) -> str:
        return self.op("Relu", self.op("Conv", self.image, self.const(_weights(0, (4, 3, 2, 2))), strides=[2, 2]))

    def head(self, x: str, seed: int, kind: str = "Tanh") -> str:
        return self.op(kind, self.op("Conv", x, self.const(_weights(seed, (2, 4, 1, 1)))))

    def save(self, path: Path, output: str, name: str = "y", as_nodes: bool = False) -> Path:
        """With the output called ``name``; constants as initializers, or ``as_nodes``."""
        nodes = [_rename(node, output, name) for node in self.nodes]
        tensors = [numpy_helper.from_array(array, constant) for constant, array in self.constants.items()]
        if as_nodes:
            nodes = [helper.make_node("Constant", [], [t.name], value=t) for t in tensors] + nodes
        image = helper.make_tensor_value_info(self.image, TensorProto.FLOAT, SHAPE)
        result = helper.make_tensor_value_info(name, TensorProto.FLOAT, None)
        graph = helper.make_graph(nodes, "g", [image], [result], [] if as_nodes else tensors)
        onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9), path)
        return path


def _weights(seed: int, shape: tuple[int, ...]) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def _rename(node: onnx.NodeProto, old: str, new: str) -> onnx.NodeProto:
    copy = onnx.NodeProto()
    copy.CopyFrom(node)
    copy.output[:] = [new if name == old else name for name in node.output]
    copy.input[:] = [new if name == old else name for name in node.input]
    return copy


def merge(capsys: pytest.CaptureFixture[str], output: Path, *paths: Path) -> tuple[dict, list[str]]:
    """The document and the operators of the merged model, whose outputs have the bits of the files."""
    document = run_json(capsys, "merge", *paths, "-o", output)
    proto = onnx.load(output)
    onnx.checker.check_model(proto, full_check=True)
    image = random_image(SHAPE, 9)
    outputs = run_onnx(output, {proto.graph.input[0].name: image}, optimise=False)
    assert [task["task"] for task in document["tasks"]] == [*outputs]
    for task, result in zip(document["tasks"], outputs.values(), strict=True):
        source = Path(task["file"])
        name = onnx.load(source).graph.input[0].name
        (expected,) = run_onnx(source, {name: image}, optimise=False).values()
        np.testing.assert_array_equal(result, expected)
    return document, [node.op_type for node in proto.graph.node]


def plain(path: Path, seed: int = 1) -> Path:
    graph = Graph()
    return graph.save(path, graph.head(graph.trunk(), seed))


def test_names_do_not_matter(capsys, tmp_path):
    graph = Graph("other/", image="pixels")
    b = graph.save(tmp_path / "b.onnx", graph.head(graph.trunk(), 2), "result", as_nodes=True)
    document, operators = merge(capsys, tmp_path / "all.onnx", plain(tmp_path / "a.onnx"), b)
    assert sorted(operators) == ["Conv", "Conv", "Conv", "Relu", "Tanh", "Tanh"]
    assert document["shared_until"] == "Conv0"


def test_the_order_of_nodes_does_not_matter(capsys, tmp_path):
    graph = Graph()
    x = graph.trunk()
    extra = graph.op("Sigmoid", graph.op("Conv", x, graph.const(_weights(5, (2, 4, 1, 1)))))
    y = graph.op("Add", extra, graph.head(x, 2))
    a = graph.save(tmp_path / "a.onnx", y)
    conv, relu, gate, sigmoid, head, tanh, total = graph.nodes
    graph.nodes = [conv, relu, head, gate, tanh, sigmoid, total]
    graph.nodes.append(helper.make_node("Neg", [y], ["last"], name="last"))
    _, operators = merge(capsys, tmp_path / "all.onnx", a, graph.save(tmp_path / "b.onnx", "last"))
    assert sorted(operators) == ["Add", "Conv", "Conv", "Conv", "Neg", "Relu", "Sigmoid", "Tanh"]


def spelled(change: Callable[[Graph, str], str], path: Path) -> Path:
    graph = Graph()
    return graph.save(path, change(graph, graph.trunk()))


SPELLINGS: dict[str, tuple[Callable[[Graph, str], str], Callable[[Graph, str], str]]] = {
    "operands in another order": (
        lambda g, x: g.op("Add", x, g.const([[[[2]]]])),
        lambda g, x: g.op("Add", g.const([[[[2]]]]), x),
    ),
    "an attribute that is the default": (
        lambda g, x: g.op("LeakyRelu", x),
        lambda g, x: g.op("LeakyRelu", x, alpha=0.01),
    ),
    "a shape with -1": (
        lambda g, x: g.op("Reshape", x, g.const([1, 4, 16], np.int64)),
        lambda g, x: g.op("Reshape", x, g.const([0, 0, -1], np.int64)),
    ),
    "Flatten and Reshape": (
        lambda g, x: g.op("Reshape", x, g.const([1, -1], np.int64)),
        lambda g, x: g.op("Flatten", x),
    ),
    "an Identity": (lambda g, x: g.op("Exp", x), lambda g, x: g.op("Exp", g.op("Identity", x))),
    "a constant that is transposed": (
        lambda g, x: g.op("MatMul", x, g.const(_weights(7, (4, 5)).T.copy().T)),
        lambda g, x: g.op("MatMul", x, g.op("Transpose", g.const(_weights(7, (4, 5)).T), perm=[1, 0])),
    ),
    "a shape that is computed": (
        lambda g, x: g.op("Reshape", x, g.const([1, 4, 16], np.int64)),
        lambda g, x: g.op(
            "Reshape",
            x,
            g.op("Concat", g.op("Shape", x, start=0, end=2), g.const([-1], np.int64), axis=0),
        ),
    ),
}


@pytest.mark.parametrize("form", SPELLINGS)
def test_two_spellings_of_the_same_are_shared(capsys, tmp_path, form):
    first, second = (
        spelled(lambda g, x, write=write, end=end: g.op(end, write(g, x)), tmp_path / f"{end}.onnx")
        for write, end in zip(SPELLINGS[form], ("Neg", "Abs"), strict=True)
    )
    _, operators = merge(capsys, tmp_path / "all.onnx", first, second)
    assert len(operators) == 2 + 1 + 2


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (lambda g, x: g.op("LeakyRelu", x), lambda g, x: g.op("LeakyRelu", x, alpha=0.02)),
        (lambda g, x: g.op("Sub", x, g.const([[[[2]]]])), lambda g, x: g.op("Sub", g.const([[[[2]]]]), x)),
        (
            lambda g, x: g.op("Add", x, g.const(2)),
            lambda g, x: g.op("Add", x, g.const(np.nextafter(np.float32(2), np.float32(3)))),
        ),
        (lambda g, x: g.op("Softmax", x, axis=1), lambda g, x: g.op("Softmax", x, axis=2)),
        (
            lambda g, x: g.op("Reshape", x, g.const([1, 4, 16], np.int64)),
            lambda g, x: g.op("Reshape", x, g.const([1, 16, 4], np.int64)),
        ),
    ],
)
def test_what_differs_a_little_is_not_shared(capsys, tmp_path, first, second):
    paths = [spelled(form, tmp_path / f"{name}.onnx") for name, form in (("a", first), ("b", second))]
    _, operators = merge(capsys, tmp_path / "all.onnx", *paths)
    assert len(operators) == 2 + 2


def test_equal_names_of_different_things(capsys, tmp_path):
    """Nodes, constants and outputs of three files have the same names; a task's name is that of an inner value."""
    paths = [plain(tmp_path / f"{name}.onnx", seed) for seed, name in enumerate(("a", "b", "Relu1"), start=1)]
    merge(capsys, tmp_path / "all.onnx", *paths)
    graph = onnx.load(tmp_path / "all.onnx").graph
    names = [node.name for node in graph.node]
    assert len(set(names)) == len(names)
    assert {"Conv2", "b/Conv2", "Relu1/Conv2"} <= set(names)


def test_a_task_with_the_name_of_the_image(capsys, tmp_path):
    merge(capsys, tmp_path / "all.onnx", plain(tmp_path / "image.onnx"), plain(tmp_path / "b.onnx", 2))
    assert [value.name for value in onnx.load(tmp_path / "all.onnx").graph.input] == ["image_"]


def test_two_files_that_compute_the_same(capsys, tmp_path):
    """Their bytes differ; each task keeps an output of its own."""
    graph = Graph("x/")
    b = graph.save(tmp_path / "b.onnx", graph.head(graph.trunk(), 1))
    _, operators = merge(capsys, tmp_path / "all.onnx", plain(tmp_path / "a.onnx"), b)
    assert sorted(operators) == ["Conv", "Conv", "Identity", "Relu", "Tanh"]


def test_a_task_whose_output_another_one_reads(capsys, tmp_path):
    graph = Graph()
    a = graph.save(tmp_path / "a.onnx", graph.trunk())
    _, operators = merge(capsys, tmp_path / "all.onnx", a, plain(tmp_path / "b.onnx"))
    assert sorted(operators) == ["Conv", "Conv", "Relu", "Tanh"]


def test_files_of_several_outputs(capsys, tmp_path):
    graph = Graph()
    x = graph.trunk()
    one, two = graph.head(x, 1), graph.head(x, 2)
    path = graph.save(tmp_path / "both.onnx", one, "near")
    proto = onnx.load(path)
    proto.graph.output.append(helper.make_tensor_value_info(two, TensorProto.FLOAT, None))
    onnx.save(proto, path)
    document = run_json(capsys, "merge", path, plain(tmp_path / "c.onnx", 3), "-o", tmp_path / "all.onnx")
    names = [task["task"] for task in document["tasks"]]
    assert names == ["both_near", "both_Tanh5_out", "c"]
    image = random_image(SHAPE, 2)
    outputs = run_onnx(tmp_path / "all.onnx", {"image": image}, optimise=False)
    for name, expected in zip(names[:2], run_onnx(path, {"image": image}, optimise=False).values(), strict=True):
        np.testing.assert_array_equal(outputs[name], expected)


def test_open_sizes_that_the_user_fixes(capsys, tmp_path):
    paths = [plain(tmp_path / f"{seed}.onnx", seed) for seed in (1, 2)]
    for path in paths:
        proto = onnx.load(path)
        for axis, name in ((2, "H"), (3, "W")):
            proto.graph.input[0].type.tensor_type.shape.dim[axis].dim_param = name
        onnx.save(proto, path)
    run_json(capsys, "merge", *paths, "--shape", "image=1x3x6x10", "-o", tmp_path / "all.onnx")
    feed = {"image": random_image((1, 3, 6, 10), 4)}
    outputs = run_onnx(tmp_path / "all.onnx", feed, optimise=False)
    for path in paths:
        np.testing.assert_array_equal(outputs[path.stem], run_onnx(path, feed, optimise=False)["y"])
    text = "NAME of --shape NAME=SIZES must be one of image, not 'imag'"
    assert_fails(capsys, 2, text, "merge", *paths, "--shape", "imag=1x3x6x10", "-o", tmp_path / "none.onnx")


def test_several_inputs_go_by_name_and_outputs_may_be_integers(capsys, tmp_path):
    """The second file lists its inputs the other way round, and returns classes."""
    paths = []
    for name, is_reversed in (("a", False), ("b", True)):
        graph = Graph(f"{name}/")
        table = graph.const(_weights(3, (6, 4)))
        rows = graph.op("ReduceMean", graph.op("Gather", table, "which"), graph.const([0], np.int64))
        bias = graph.op("Reshape", rows, graph.const([1, 4, 1, 1], np.int64))
        x = graph.op("Add", graph.trunk(), bias)
        y = graph.head(x, 2) if name == "a" else graph.op("ArgMax", graph.head(x, 3), axis=1)
        proto = onnx.load(graph.save(tmp_path / f"{name}.onnx", y))
        proto.graph.input.append(helper.make_tensor_value_info("which", TensorProto.INT64, [2]))
        if is_reversed:
            inputs = [*reversed(proto.graph.input)]
            del proto.graph.input[:]
            proto.graph.input.extend(inputs)
            proto.graph.output[0].type.tensor_type.elem_type = TensorProto.INT64
        onnx.save(proto, tmp_path / f"{name}.onnx")
        paths.append(tmp_path / f"{name}.onnx")
    document = run_json(capsys, "merge", *paths, "-o", tmp_path / "all.onnx")
    assert document["shared_until"] == "a/Conv3"
    feed = {"image": random_image(SHAPE, 9), "which": np.array([4, 1])}
    outputs = run_onnx(tmp_path / "all.onnx", feed, optimise=False)
    for path in paths:
        np.testing.assert_array_equal(outputs[path.stem], run_onnx(path, feed, optimise=False)["y"])
    assert run_json(capsys, "check", tmp_path / "all.onnx")["supported"]


def test_graphs_inside_nodes(tmp_path):
    """Each file has an If of its own, whose branches read what is shared and have names that collide."""
    paths = []
    for seed in (1, 2):
        graph = Graph()
        x = graph.trunk()
        chosen = graph.op("Greater", graph.op("ReduceMax", x, keepdims=0), graph.const(0.5))
        branches = []
        for index in range(2):
            weight = numpy_helper.from_array(_weights(seed + 10 * index, (2, 4, 1, 1)), "w")
            nodes = [helper.make_node("Conv", [x, "w"], ["inner"], name="inside")]
            inner = helper.make_tensor_value_info("inner", TensorProto.FLOAT, None)
            branches.append(helper.make_graph(nodes, "branch", [], [inner], [weight]))
        y = graph.op("Tanh", graph.op("If", chosen, then_branch=branches[0], else_branch=branches[1]))
        paths.append(graph.save(tmp_path / f"{seed}.onnx", y))
    image = ir.Value(name="image", shape=ir.Shape(SHAPE), type=ir.TensorType(ir.DataType.FLOAT))
    joined = join([read_exactly(path, 20).ir.graph for path in paths], [image], 20)
    name_apart(joined.nodes, joined.constants, ["a", "b"], {"image"})
    outputs = [value for values in joined.outputs for value in values]
    graph = ir.Graph([image], outputs, nodes=[*joined.nodes], initializers=[*joined.constants], name="joined")
    graph.opset_imports[""] = 20
    proto = ir.to_proto(ir.Model(graph, ir_version=9))
    assert [node.op_type for node in proto.graph.node].count("Conv") == 1
    onnx.checker.check_model(proto)
    feed = {"image": random_image(SHAPE, 3)}
    for result, path in zip(run_onnx(proto, feed, optimise=False).values(), paths, strict=True):
        np.testing.assert_array_equal(result, run_onnx(path, feed, optimise=False)["y"])
