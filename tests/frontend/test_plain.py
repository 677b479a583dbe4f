"""Multi-task models without experts, and what the frontend tidies in them."""

import math
from pathlib import Path

import numpy as np
import pytest
from onnx import helper

from edgemtl.frontend import Task, read_model
from examples.foreign import Writer, save
from tests.support.models import plain_cnn, plain_vit
from tests.support.run import assert_same, random_image, run_canonical, run_onnx


@pytest.mark.parametrize("build", [plain_cnn, plain_vit])
def test_computes_what_the_file_computes(build, tmp_path: Path) -> None:
    path = build(tmp_path)
    model = read_model(path)
    assert model.moe == ()
    image = random_image(model.inputs[0].shape)
    assert_same(run_canonical(model, image), run_onnx(path, {"image": image}))


def test_tasks_without_metadata_are_the_outputs(tmp_path: Path) -> None:
    model = read_model(plain_cnn(tmp_path))
    assert model.tasks == (Task("semseg", "semseg", "segmentation", 7), Task("depth", "depth", "depth", 1))
    assert (model.inputs[0].mean, model.inputs[0].std) == (None, None)
    assert model.notes == (
        "the model's opset 17 was converted to 20; checked on random inputs",
        "input image: batch size batch taken as 1",
        "input image: normalisation unknown, it is expected as the model takes it",
        "task semseg: an output of the graph, taken as segmentation by its name and channels (7)",
        "task depth: an output of the graph, taken as depth by its name and channels (1)",
    )


def test_outputs_that_turn_out_equal_keep_their_names(tmp_path: Path) -> None:
    w = Writer()
    w.nodes += [helper.make_node("Sin", ["image"], [name]) for name in ("b", "a")]
    w.nodes.append(helper.make_node("Identity", ["a"], ["c"]))
    image = helper.make_tensor_value_info("image", 1, [1, 3, 4, 4])
    outputs = [helper.make_tensor_value_info(name, 1, [1, 3, 4, 4]) for name in ("c", "a", "b")]
    path = save(w.nodes, w.initializers(), [image], outputs, tmp_path / "equal.onnx")
    model = read_model(path)
    assert [task.output for task in model.tasks] == ["c", "a", "b"]
    image = random_image(model.inputs[0].shape)
    assert_same(run_canonical(model, image), run_onnx(path, {"image": image}))


def test_kinds_need_both_a_name_and_fitting_channels(tmp_path: Path) -> None:
    kinds = {"my_Normals": (3, "normals"), "depth_map": (2, "other"), "edge": (1, "edges"), "sal": (1, "saliency")}
    w = Writer()
    for name, (channels, _) in kinds.items():
        w.nodes.append(helper.make_node("Conv", ["image", w.const(np.ones((channels, 3, 1, 1)))], [name]))
    image = helper.make_tensor_value_info("image", 1, [1, 3, 4, 4])
    outputs = [helper.make_tensor_value_info(n, 1, [1, c, 4, 4]) for n, (c, _) in kinds.items()]
    path = save(w.nodes, w.initializers(), [image], outputs, tmp_path / "kinds.onnx")
    model = read_model(path)
    assert {task.name: (task.channels, task.kind) for task in model.tasks} == kinds
    assert "task depth_map: an output of the graph, of unknown kind" in model.notes


def test_spelt_out_layers_become_one_operator(tmp_path: Path) -> None:
    kinds = [node.op_type for node in read_model(plain_vit(tmp_path)).ir.graph]
    assert (kinds.count("LayerNormalization"), kinds.count("Gelu"), kinds.count("Erf")) == (5, 2, 0)


def unary_model(folder: Path, write) -> Path:
    w = Writer()
    w.nodes.append(helper.make_node("Relu", [write(w, w.op("Sin", "image"))], ["map"]))
    image = helper.make_tensor_value_info("image", 1, [1, 3, 4, 6])
    output = helper.make_tensor_value_info("map", 1, [1, 3, 4, 6])
    return save(w.nodes, w.initializers(), [image], [output], folder / "unary.onnx", opset=18)


def gelu_half_last(w: Writer, x: str) -> str:
    step = w.op("Add", w.op("Erf", w.op("Div", x, w.const(math.sqrt(2)))), w.const(1))
    return w.op("Mul", w.op("Mul", step, x), w.const(0.5))


def gelu_half_inside(w: Writer, x: str) -> str:
    step = w.op("Add", w.const([1]), w.op("Erf", w.op("Mul", w.const(math.sqrt(0.5)), x)))
    return w.op("Mul", x, w.op("Mul", w.const(0.5), step))


def gelu_tanh(w: Writer, x: str) -> str:
    cube = w.op("Mul", x, w.op("Mul", x, x))
    inner = w.op("Mul", w.const(math.sqrt(2 / math.pi)), w.op("Add", x, w.op("Mul", cube, w.const(0.044715))))
    return w.op("Mul", w.op("Mul", w.const(0.5), x), w.op("Add", w.op("Tanh", inner), w.const(1)))


def gelu_tanh_by_power(w: Writer, x: str) -> str:
    cube = w.op("Mul", w.op("Pow", x, w.const(3)), w.const(0.044715))
    inner = w.op("Mul", w.op("Add", x, cube), w.const(math.sqrt(2 / math.pi)))
    return w.op("Mul", x, w.op("Mul", w.const(0.5), w.op("Add", w.const(1), w.op("Tanh", inner))))


def layer_norm_by_reciprocal(w: Writer, x: str) -> str:
    axes = w.ints(3)
    centred = w.op("Sub", x, w.op("ReduceMean", x, axes))
    variance = w.op("ReduceMean", w.op("Mul", centred, centred), axes)
    inverse = w.op("Div", w.const(1), w.op("Sqrt", w.op("Add", w.const(1e-3), variance)))
    normal = w.op("Mul", inverse, centred)
    return w.op("Add", w.const(np.arange(6)), w.op("Mul", w.const(np.linspace(1, 2, 6)), normal))


FUSED = [
    (gelu_half_last, "Gelu"),
    (gelu_half_inside, "Gelu"),
    (gelu_tanh, "Gelu"),
    (gelu_tanh_by_power, "Gelu"),
    (layer_norm_by_reciprocal, "LayerNormalization"),
]


@pytest.mark.parametrize(("write", "kind"), FUSED)
def test_every_spelling_is_fused(write, kind: str, tmp_path: Path) -> None:
    path = unary_model(tmp_path, write)
    model = read_model(path)
    assert [node.op_type for node in model.ir.graph] == ["Sin", kind, "Relu"]
    image = random_image(model.inputs[0].shape)
    assert_same(run_canonical(model, image), run_onnx(path, {"image": image}))


def nearly_gelu(w: Writer, x: str) -> str:
    step = w.op("Add", w.op("Erf", w.op("Mul", x, w.const(0.7))), w.const(1))
    return w.op("Mul", w.op("Mul", step, x), w.const(0.5))


def norm_over_another_axis(w: Writer, x: str) -> str:
    centred = w.op("Sub", x, w.op("ReduceMean", x, w.ints(1)))
    variance = w.op("ReduceMean", w.op("Mul", centred, centred), w.ints(1))
    normal = w.op("Div", centred, w.op("Sqrt", w.op("Add", variance, w.const(1e-3))))
    return w.op("Add", w.op("Mul", normal, w.const(np.arange(6))), w.const(np.arange(6)))


def norm_with_two_users(w: Writer, x: str) -> str:
    gelu = gelu_half_last(w, x)
    return w.op("Add", gelu, w.op("Erf", w.op("Mul", x, w.const(0.25))))


@pytest.mark.parametrize("write", [nearly_gelu, norm_over_another_axis, norm_with_two_users])
def test_what_only_resembles_one_keeps_its_result(write, tmp_path: Path) -> None:
    path = unary_model(tmp_path, write)
    model = read_model(path)
    image = random_image(model.inputs[0].shape)
    assert_same(run_canonical(model, image), run_onnx(path, {"image": image}))
    assert "LayerNormalization" not in {node.op_type for node in model.ir.graph}


def test_factors_of_one_and_what_is_computed_twice_go(tmp_path: Path) -> None:
    def write(w: Writer, x: str) -> str:
        y = w.op("Div", w.op("Mul", x, w.const(np.ones(6))), w.const(1))
        return w.op("Add", w.op("Cos", y), w.op("Cos", y))

    path = unary_model(tmp_path, write)
    model = read_model(path)
    assert [node.op_type for node in model.ir.graph] == ["Sin", "Cos", "Add", "Relu"]


def test_what_is_computed_from_constants_becomes_one(tmp_path: Path) -> None:
    def write(w: Writer, x: str) -> str:
        filled = w.op("ConstantOfShape", w.op("Slice", w.op("Shape", x), w.ints(2), w.ints(4)))
        return w.op("Add", x, w.op("Exp", w.op("Add", filled, w.const(np.arange(6)))))

    path = unary_model(tmp_path, write)
    model = read_model(path)
    assert [node.op_type for node in model.ir.graph] == ["Sin", "Add", "Relu"]
    image = random_image(model.inputs[0].shape)
    assert_same(run_canonical(model, image), run_onnx(path, {"image": image}))


def test_factors_of_one_that_widen_stay(tmp_path: Path) -> None:
    def write(w: Writer, x: str) -> str:
        return w.op("ReduceSum", w.op("Mul", x, w.const(np.ones((2, 1, 1, 1)))), w.ints(0))

    path = unary_model(tmp_path, write)
    model = read_model(path)
    image = random_image(model.inputs[0].shape)
    assert_same(run_canonical(model, image), run_onnx(path, {"image": image}))
