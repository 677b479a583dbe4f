"""Files that onnxruntime runs and ONNX's checker does not take, and outputs of unusual form."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper

from edgemtl.frontend import read_model
from tests.support.run import random_image, run_canonical, run_onnx

FLOAT = onnx.TensorProto.FLOAT
SIZES = [1, 3, 8, 8]


def described(name: str, shape: list[int] | None) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, FLOAT, shape)


def save(folder: Path, nodes: list[onnx.NodeProto], outputs: list[onnx.ValueInfoProto], domain: str = "") -> Path:
    graph = helper.make_graph(nodes, "spelt", [described("image", SIZES)], outputs)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid(domain, 18)], ir_version=8)
    onnx.save(model, folder / "spelt.onnx")
    return folder / "spelt.onnx"


def outputs_of(path: Path) -> dict[str, np.ndarray]:
    """By name, each equal to what onnxruntime gives for the file."""
    model = read_model(path)
    image = random_image(model.inputs[0].shape)
    found, expected = run_canonical(model, image), run_onnx(path, {"image": image})
    for name, array in found.items():
        assert array.shape == expected[name].shape
        np.testing.assert_allclose(array, expected[name], atol=1e-5)
    return found


@pytest.mark.parametrize("output", [onnx.ValueInfoProto(name="map"), described("map", None)], ids=["type", "shape"])
@pytest.mark.parametrize(
    ("node", "shape"),
    [
        (helper.make_node("Relu", ["image"], ["map"]), (1, 3, 8, 8)),
        (helper.make_node("ReduceMean", ["image"], ["map"], keepdims=0), ()),
        (helper.make_node("Squeeze", ["image"], ["map"]), (3, 8, 8)),
    ],
    ids=["map", "scalar", "no leading one"],
)
def test_outputs_without_a_recorded_shape(
    node: onnx.NodeProto, shape: tuple[int, ...], output: onnx.ValueInfoProto, tmp_path: Path
) -> None:
    path = save(tmp_path, [node], [output])
    assert outputs_of(path)["map"].shape == shape
    assert [task.output for task in read_model(path).tasks] == ["map"]


@pytest.mark.parametrize("imported", ["", "ai.onnx"])
@pytest.mark.parametrize("used", ["", "ai.onnx"])
def test_the_standard_domain_by_its_name(imported: str, used: str, tmp_path: Path) -> None:
    node = helper.make_node("Selu", ["image"], ["map"], domain=used)
    path = save(tmp_path, [node], [described("map", SIZES)], imported)
    outputs_of(path)
    assert {node.domain for node in read_model(path).ir.graph} == {""}


def test_the_standard_domain_by_its_name_in_branches_and_functions(tmp_path: Path) -> None:
    domain = "ai.onnx"
    branch = helper.make_graph(
        [helper.make_node("Abs", ["image"], ["b"], domain=domain)], "b", [], [described("b", None)]
    )
    function = helper.make_function(
        "own",
        "F",
        ["x"],
        ["y"],
        [helper.make_node("Sin", ["x"], ["y"], domain=domain)],
        [helper.make_opsetid(domain, 18)],
    )
    nodes = [
        helper.make_node("ReduceSum", ["image"], ["sum"], keepdims=0),
        helper.make_node("Constant", [], ["yes"], value=helper.make_tensor("yes", onnx.TensorProto.BOOL, [], [True])),
        helper.make_node("If", ["yes"], ["c"], then_branch=branch, else_branch=branch, domain=domain),
        helper.make_node("F", ["c"], ["map"], domain="own"),
    ]
    graph = helper.make_graph(nodes, "spelt", [described("image", SIZES)], [described("map", SIZES)])
    imports = [helper.make_opsetid(domain, 18), helper.make_opsetid("", 18), helper.make_opsetid("own", 1)]
    model = helper.make_model(graph, opset_imports=imports, functions=[function], ir_version=8)
    onnx.save(model, tmp_path / "spelt.onnx")
    image = random_image(tuple(SIZES))
    found = run_canonical(read_model(tmp_path / "spelt.onnx"), image)
    np.testing.assert_allclose(found["map"], np.sin(np.abs(image)), atol=1e-6)


def test_an_output_listed_twice_is_one_task(tmp_path: Path) -> None:
    outputs = [described(name, SIZES) for name in ("map", "other", "map")]
    nodes = [helper.make_node("Relu", ["image"], ["map"]), helper.make_node("Sin", ["image"], ["other"])]
    path = save(tmp_path, nodes, outputs)
    model = read_model(path)
    assert [task.name for task in model.tasks] == ["map", "other"]
    assert "output map: listed more than once, kept once" in model.notes
    image = random_image(model.inputs[0].shape)
    found = run_canonical(model, image)
    np.testing.assert_array_equal(found["map"], np.maximum(image, 0))
    np.testing.assert_allclose(found["other"], np.sin(image), atol=1e-6)


def test_the_image_as_an_output_has_a_name_of_its_own(tmp_path: Path) -> None:
    outputs = [described("map", SIZES), described("image", SIZES)]
    model = read_model(save(tmp_path, [helper.make_node("Relu", ["image"], ["map"])], outputs))
    assert [(task.name, task.output) for task in model.tasks] == [("map", "map"), ("image", "image.output")]
    image = random_image(model.inputs[0].shape)
    np.testing.assert_array_equal(run_canonical(model, image)["image.output"], image)
