"""Nodes, inputs and outputs the compiler cannot handle: the node, the reason and what to do."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from edgemtl.errors import ModelError, UnsupportedError
from edgemtl.frontend import read_model
from edgemtl.frontend.moe_node import MoEAttributes
from examples.foreign import Writer, save
from tests.support.run import assert_same, random_image, run_canonical, run_onnx


def model(
    folder: Path,
    write: Callable[[Writer], str],
    shape: list[int | str | None] | None = None,
    kind: int = TensorProto.FLOAT,
    out: int = TensorProto.FLOAT,
    out_shape: list[int | str | None] | None = None,
) -> Path:
    """One image in, what `write` makes of it out."""
    w = Writer()
    w.nodes.append(helper.make_node("Identity", [write(w)], ["map"]))
    image = helper.make_tensor_value_info("image", kind, shape or [1, 3, 4, 4])
    output = helper.make_tensor_value_info("map", out, out_shape or [None] * 4)
    imports = [("", 18), ("edgemtl", 1), ("someone", 1)]
    graph = helper.make_graph(w.nodes, "g", [image], [output], w.initializers())
    opsets = [helper.make_opsetid(*item) for item in imports]
    path = folder / "model.onnx"
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=8), path)
    return path


def refused(path: Path) -> str:
    with pytest.raises(UnsupportedError) as error:
        read_model(path)
    return str(error.value)


OPERATORS = [
    (lambda w: w.op("Swirl", "image"), "node Swirl_0: operator Swirl of opset 18 is unknown; "),
    (lambda w: w.op("Swirl", "image", domain="someone"), "node Swirl_0: operator Swirl of domain someone is unknown; "),
    (lambda w: w.op("RotaryEmbedding", "image"), "node RotaryEmbedding_0: operator RotaryEmbedding of opset 18 is "),
    (
        lambda w: w.op("Cast", w.op("NonZero", "image"), to=1),
        "node NonZero_0: NonZero is not compiled: the size of its result depends on the data; "
        "compute every expert over every token and weigh, or write the layer as edgemtl::MoE",
    ),
    (
        lambda w: w.op("Mul", "image", w.op("RandomNormal", shape=[4])),
        "node RandomNormal_0: RandomNormal is not compiled: its result is random; export the model in evaluation mode",
    ),
    (
        lambda w: w.op("Mul", w.op("DynamicQuantizeLinear", w.op("Sin", "image"), outputs=3)[1], "image"),
        "node DynamicQuantizeLinear_1: DynamicQuantizeLinear is not compiled: the model is quantised with scales that "
        "are computed from each image; quantise it with constant scales",
    ),
]


@pytest.mark.parametrize(("write", "text"), OPERATORS)
def test_operators(write: Callable[[Writer], str], text: str, tmp_path: Path) -> None:
    assert refused(model(tmp_path, write)).startswith(text)


def test_unknown_operators_say_what_to_export(tmp_path: Path) -> None:
    text = refused(model(tmp_path, lambda w: w.op("Swirl", "image")))
    assert text.endswith("; export the model with standard operators of opset 20")


def branch(value: float) -> onnx.GraphProto:
    w = Writer("branch/")
    result = w.op("Mul", "image", w.const(value))
    output = helper.make_tensor_value_info(result, 1, [1, 3, 4, 4])
    return helper.make_graph(w.nodes, "b", [], [output], w.initializers())


def test_control_flow_that_depends_on_the_image(tmp_path: Path) -> None:
    def write(w: Writer) -> str:
        bright = w.op("Greater", w.op("ReduceMax", "image", keepdims=0), w.const(0))
        return w.op("If", bright, then_branch=branch(1), else_branch=branch(2))

    text = "node If_2: If is not compiled: its path depends on the data; export the model without control flow, "
    assert refused(model(tmp_path, write)) == text + "or with a constant condition"


def test_control_flow_with_a_constant_condition_is_followed(tmp_path: Path) -> None:
    def write(w: Writer) -> str:
        return w.op("If", w.const(True, np.bool_), then_branch=branch(3), else_branch=branch(2))

    read = read_model(model(tmp_path, write))
    assert [node.op_type for node in read.ir.graph] == ["Mul"]


INPUTS = [
    (
        [1, 3, "height", 4],
        TensorProto.FLOAT,
        "input image: its size is open in height (height), and shapes are fixed when compiling; "
        "give --shape image=1x3xHEIGHTx4, with numbers, or export the model with a fixed height",
    ),
    (
        [1, 3, "h", "w"],
        TensorProto.FLOAT,
        "input image: its size is open in height (h) and width (w), and shapes are fixed when compiling; "
        "give --shape image=1x3xHEIGHTxWIDTH, with numbers, or export the model with a fixed height and width",
    ),
    ([1, None, 4, 4], TensorProto.FLOAT, "input image: its size is open in channels (unknown), and shapes are fixed"),
    (
        [1, 3, 4, 4],
        TensorProto.FLOAT16,
        "input image: it is FLOAT16 of shape [1,3,4,4], and inputs are float32, int64, int32, uint8, bool; "
        "export the model with inputs of these types",
    ),
]


@pytest.mark.parametrize(("shape", "kind", "text"), INPUTS)
def test_inputs(shape: list[int | str | None], kind: int, text: str, tmp_path: Path) -> None:
    path = model(tmp_path, lambda w: w.op("Sin", "image"), shape, kind, kind, [None] * len(shape))
    assert refused(path).startswith(text)


@pytest.mark.parametrize("side", [0, 1 << 16])
def test_sizes_out_of_range(side: int, tmp_path: Path) -> None:
    path = model(tmp_path, lambda w: w.op("Sin", "image"), [1, 3, side, 4])
    with pytest.raises(ModelError) as error:
        read_model(path)
    assert str(error.value) == f"input image must have a height from 1 to 32768, not {side}"


def test_no_input(tmp_path: Path) -> None:
    output = helper.make_tensor_value_info("map", 1, [1, 3, 4, 4])
    nodes = [helper.make_node("Sin", ["constant"], ["map"])]
    constant = onnx.numpy_helper.from_array(np.ones((1, 3, 4, 4), np.float32), "constant")
    path = save(nodes, [constant], [], [output], tmp_path / "none.onnx")
    assert refused(path) == "graph: it has no input, so its outputs never change; export it with its inputs"


def test_outputs(tmp_path: Path) -> None:
    path = model(tmp_path, lambda w: w.op("Sin", w.const(np.ones((1, 3, 4, 4)))))
    assert refused(path) == "output map: it does not depend on an input; remove it from the exported model"


def test_types_that_are_not_compiled(tmp_path: Path) -> None:
    def half(w: Writer) -> str:
        return w.op("Cast", w.op("Sin", w.op("Cast", "image", to=10)), to=1)

    def byte(w: Writer) -> str:
        return w.op("Cast", w.op("Cast", "image", to=2), to=1)

    text = "node Cast_0: its type is float16, and float, int64, int32, bool are compiled; export the model in float32"
    assert refused(model(tmp_path, half)) == text
    text = "node Cast_0: its type is uint8, and float, int64, int32, bool are compiled; "
    text += "export the model before it is quantised; only an output can be uint8, as a cast of what ArgMax gives "
    assert refused(model(tmp_path, byte)) == text + "over at most 256 classes"
    double = model(tmp_path, lambda w: w.op("Sin", w.op("Cast", "image", to=11)), out=TensorProto.DOUBLE)
    assert "its type is double" in refused(double)


def test_shapes_that_depend_on_the_data(tmp_path: Path) -> None:
    def write(w: Writer) -> str:
        count = w.op("Cast", w.op("ReduceMax", "image", keepdims=0), to=7)
        shape = w.op("Concat", w.ints(1, 1, 1), w.op("Reshape", count, w.ints(1)), axis=0)
        return w.op("Sin", w.op("Expand", w.op("ReduceMax", "image"), shape))

    text = refused(model(tmp_path, write))
    assert "the shape of its output is not fixed" in text
    assert text.endswith("; export the model with fixed sizes and without data-dependent ones")


def test_empty_results(tmp_path: Path) -> None:
    path = model(tmp_path, lambda w: w.op("Slice", "image", w.ints(2), w.ints(2), w.ints(1)))
    with pytest.raises(ModelError) as error:
        read_model(path)
    rule = "must have from 1 to 268435456 elements, not shape [1, 0, 4, 4]; check the model's sizes"
    assert str(error.value) == f"the output of node Slice_0 {rule}"


def test_a_type_no_one_can_infer(tmp_path: Path) -> None:
    def write(w: Writer) -> str:
        hot = w.op("OneHot", w.op("Cast", w.op("ReduceMax", "image", keepdims=0), to=7), w.const(4), w.const([0, 1]))
        return w.op("Add", "image", hot)

    assert refused(model(tmp_path, write)).endswith(
        "ONNX cannot infer the type of its output; check its inputs and attributes"
    )


def moe(**changes: object) -> Callable[[Writer], str]:
    """A MoE node over the pixels of the image, with some of its parts changed."""
    shapes = {"w1": (5, 3, 6), "b1": (5, 6), "w2": (5, 6, 3), "b2": (5, 3)} | changes.get("shapes", {})
    attributes = MoEAttributes(2).to_dict() | changes.get("attributes", {})

    def write(w: Writer) -> str:
        x = w.op("Reshape", w.op("Transpose", "image", perm=[0, 2, 3, 1]), w.ints(*changes.get("tokens", (16, 3))))
        logits = w.op("MatMul", x, w.const(np.ones((3, changes.get("columns", 5)))))
        weights = [w.const(np.full(shape, 0.1)) for shape in shapes.values()]
        if "computed" in changes:
            weights[1] = w.op("MatMul", w.op("Slice", x, w.ints(0), w.ints(1), w.ints(0)), w.const(np.ones((3, 6))))
            weights[1] = w.op("Expand", weights[1], w.ints(5, 6))
        y = w.op("MoE", x, logits, *weights[: changes.get("given", 4)], domain="edgemtl", **attributes)
        return w.op("Reshape", y, w.ints(1, 3, 4, 4))

    return write


def test_a_sound_moe_node_is_read(tmp_path: Path) -> None:
    (layer,) = read_model(model(tmp_path, moe())).moe
    assert (layer.node, layer.experts, layer.top_k, layer.dim, layer.hidden) == ("MoE_3", 5, 2, 3, 6)


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"given": 3}, "MoE node MoE_3 must have the inputs x, logits, w1, b1, w2, b2, not 5 of them"),
        ({"attributes": {"k": 9}}, "MoE node MoE_3 must have experts that fit its attributes, not 5 experts for 5 "),
        ({"attributes": {"window": [3, 4]}}, "MoE node MoE_3 must have experts that fit its attributes, not 5 experts"),
        ({"attributes": {"experts": [0, 2]}}, "MoE node MoE_3 must have experts that fit its attributes, not 5 "),
        ({"attributes": {"activation": "tanh"}}, "node MoE_3: MoE attribute activation must be one of gelu, "),
        ({"shapes": {"b1": (5, 7)}}, "MoE node MoE_3 must have inputs whose shapes fit together, not "),
        ({"shapes": {"b2": (3,)}}, "MoE node MoE_3 must have inputs of ranks 2, 2, 3, 2, 3 and 2, not shapes "),
        ({"columns": 4}, "MoE node MoE_3 must have experts that fit its attributes, not 5 experts for 4 columns with "),
    ],
)
def test_moe_nodes_that_do_not_fit(changes: dict[str, object], text: str, tmp_path: Path) -> None:
    with pytest.raises(ModelError) as error:
        read_model(model(tmp_path, moe(**changes)))
    assert str(error.value).startswith(text)


def test_experts_whose_weights_are_computed(tmp_path: Path) -> None:
    text = refused(model(tmp_path, moe(computed=True)))
    expected = "its b1 is computed, and weights of experts are constants; export the model with its weights as "
    assert text.endswith(expected + "initializers")
    assert text.startswith("node MoE_")


def test_a_conversion_that_computes_something_else_is_refused(tmp_path: Path) -> None:
    """Opset 10 takes the last pixel where there are more and the next where there are fewer; opset 11 takes one."""
    w = Writer()
    w.nodes.append(helper.make_node("Resize", ["image", w.const([1, 1, 1.5, 0.7])], ["map"], mode="nearest"))
    image = helper.make_tensor_value_info("image", 1, ["batch", 3, 8, 8])
    output = helper.make_tensor_value_info("map", 1, ["batch", 3, 12, 5])
    path = save(w.nodes, w.initializers(), [image], [output], tmp_path / "old.onnx", opset=10)
    with pytest.raises(ModelError) as error:
        read_model(path)
    text = "opset 10 cannot be converted to 20 (the result computes something else); export it with opset 20"
    assert str(error.value) == f"the model's {text}"


def test_an_old_opset_is_converted_and_checked(tmp_path: Path) -> None:
    w = Writer()
    w.nodes.append(helper.make_node("ReduceMax", ["image"], ["top"], axes=[2, 3]))
    w.nodes.append(helper.make_node("Softmax", ["top"], ["map"], axis=1))
    image = helper.make_tensor_value_info("image", 1, ["batch", 3, 4, 4])
    output = helper.make_tensor_value_info("map", 1, ["batch", 3, 1, 1])
    path = save(w.nodes, [], [image], [output], tmp_path / "old.onnx", opset=11)
    read = read_model(path)
    assert read.notes[0] == "the model's opset 11 was converted to 20; checked on random inputs"
    x = random_image((1, 3, 4, 4))
    assert_same(run_canonical(read, x), run_onnx(path, {"image": x}))


def test_an_opset_that_cannot_be_converted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def convert(proto: onnx.ModelProto, version: int) -> onnx.ModelProto:
        raise RuntimeError("No Adapter for Swirl\nat line 3")

    monkeypatch.setattr(onnx.version_converter, "convert_version", convert)
    with pytest.raises(ModelError) as error:
        read_model(model(tmp_path, lambda w: w.op("Sin", "image")))
    text = "the model's opset 18 cannot be converted to 20 (No Adapter for Swirl); export it with opset 20"
    assert str(error.value) == text


def test_a_batch_below_zero_is_an_open_one(tmp_path: Path) -> None:
    """Exporters of PaddlePaddle write -1 where others write a name."""
    w = Writer()
    w.nodes.append(helper.make_node("Relu", ["image"], ["map"]))
    image, output = (helper.make_tensor_value_info(name, 1, [-1, 3, 4, 4]) for name in ("image", "map"))
    read = read_model(save(w.nodes, [], [image], [output], tmp_path / "paddle.onnx", opset=20))
    assert read.inputs[0].shape == (1, 3, 4, 4)
    assert "input image: batch size -1 taken as 1" in read.notes
