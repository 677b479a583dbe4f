"""A model whose outputs have other tools' names goes through every verb, under its legal name or the user's."""

import json
from pathlib import Path

import numpy as np
import onnx
import pytest

from edgemtl.cli.app import main
from edgemtl.runtime import Session
from tests.cli.test_errors import assert_fails
from tests.support.run import run_onnx

OUTPUTS = ("save_infer_model/scale_0.tmp_1", "Identity:0")
LEGAL = ["save_infer_model_scale_0.tmp_1", "Identity_0"]


@pytest.fixture(scope="module")
def foreign(tmp_path_factory: pytest.TempPathFactory) -> Path:
    helper = onnx.helper
    shape = [1, 3, 8, 8]
    weight = onnx.numpy_helper.from_array(np.random.default_rng(0).standard_normal((3, 3, 3, 3), np.float32), "w")
    nodes = [
        helper.make_node("Conv", ["image", "w"], ["a"], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["a"], [OUTPUTS[0]]),
        helper.make_node("Add", ["a", "image"], [OUTPUTS[1]]),
    ]
    image, *outputs = (helper.make_tensor_value_info(name, 1, shape) for name in ("image", *OUTPUTS))
    graph = helper.make_graph(nodes, "g", [image], outputs, [weight])
    path = tmp_path_factory.mktemp("foreign") / "m.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10), path)
    return path


def test_inspect_says_what_tasks_are_called(foreign, capsys):
    assert main(["inspect", str(foreign), "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert [entry["name"] for entry in document["tasks"]] == LEGAL
    assert any("named 'Identity:0' in the file, which no task can be; --rename" in note for note in document["notes"])
    assert main(["inspect", str(foreign), "--json", "--rename", "Identity:0=depth"]) == 0
    tasks = json.loads(capsys.readouterr().out)["tasks"]
    assert [(entry["name"], entry["output"]) for entry in tasks] == [
        (LEGAL[0], OUTPUTS[0]),
        ("depth", OUTPUTS[1]),
    ]


def test_check_compile_and_run_by_these_names(foreign, in_folder, capsys):
    assert main(["-q", "check", str(foreign), "--task", LEGAL[1]]) == 0
    renamed = ["--rename", f"{OUTPUTS[0]}=edges"]
    assert main(["compile", str(foreign), "-o", "a.edgemtl", *renamed]) == 0
    assert "note: task Identity_0: named 'Identity:0' in the file" in " ".join(capsys.readouterr().err.split())
    image = np.random.default_rng(1).standard_normal((1, 3, 8, 8), np.float32)
    expected = run_onnx(foreign, {"image": image})
    with Session.open("a.edgemtl") as session:
        assert session.tasks == ("edges", LEGAL[1])
        for task, output in zip(session.tasks, OUTPUTS, strict=True):
            np.testing.assert_allclose(session.run(task, image), expected[output], atol=1e-5)


def test_compare_and_quantize_by_the_users_names(foreign, in_folder, capsys):
    images = Path("images")
    images.mkdir()
    for seed in range(8):
        np.save(images / f"{seed}.npy", np.random.default_rng(seed).standard_normal((1, 3, 8, 8), np.float32))
    renamed = ["--rename", "Identity:0=depth"]
    model = ["--model", str(foreign), "--task", "depth", "--input", "images/0.npy"]
    assert main(["-q", "compare", "onnx", "fp32", *model, *renamed, "--fail-below", "100dB"]) == 0
    assert_fails(capsys, 2, "--task must be one of", "compare", "onnx", "fp32", *model)
    quantised = ["--calibration", "images", "--task", LEGAL[0], "--keep-float", "Relu*", "-o", "q.onnx"]
    assert main(["-q", "quantize", str(foreign), *quantised]) == 0
    assert [value.name for value in onnx.load("q.onnx").graph.output] == [OUTPUTS[0]]
    assert list(json.loads(Path("q.json").read_text())["tasks"]) == [LEGAL[0]]


def test_tasks_of_one_spelling_have_symbols_of_their_own(tmp_path):
    """ "a.b" as a symbol is made of its number; a task may be called just that."""
    helper = onnx.helper
    names = ("a_b_1", "a.b", "x1_a_b")
    kinds = zip(("Relu", "Tanh", "Sigmoid"), names, strict=True)
    nodes = [helper.make_node(op, ["image"], [name]) for op, name in kinds]
    image, *outputs = (helper.make_tensor_value_info(name, 1, [1, 3, 8, 8]) for name in ("image", *names))
    graph = helper.make_graph(nodes, "g", [image], outputs)
    path = tmp_path / "m.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10), path)
    assert main(["-q", "compile", str(path), "-o", str(tmp_path / "a.edgemtl")]) == 0
    with Session.open(tmp_path / "a.edgemtl") as session:
        assert session.tasks == names
