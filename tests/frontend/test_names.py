"""Names of tasks that other tools give outputs, made legal; and what a user calls them."""

from pathlib import Path

import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgemtl.bundle import TASK_NAME
from edgemtl.errors import UsageError
from edgemtl.frontend import read_model, rename_tasks
from edgemtl.frontend.names import legal_names


@pytest.mark.parametrize(
    ("names", "legal"),
    [
        (["depth", "x.1-a_B"], ["depth", "x.1-a_B"]),
        (["save_infer_model/scale_0.tmp_1"], ["save_infer_model_scale_0.tmp_1"]),
        (["Identity:0", "Identity_0"], ["Identity_0_2", "Identity_0"]),
        (["a:0", "a/0", "a_0_2"], ["a_0", "a_0_3", "a_0_2"]),
        (["..-a", "-"], ["a", "task"]),
        (["a..b", ""], ["a_.b", "task"]),
        (["größe"], ["gr__e"]),
        (["x" * 200, "x" * 300], ["x" * 128, "x" * 126 + "_2"]),
        (["y", "y"], ["y", "y_2"]),
    ],
)
def test_what_becomes_of_names(names, legal):
    assert list(legal_names(names)) == legal


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=140), max_size=6))
def test_all_are_legal_and_different(names):
    legal = legal_names(names)
    assert len(set(legal)) == len(names)
    assert all(TASK_NAME.fullmatch(name) and ".." not in name for name in legal)
    assert legal_names(legal) == legal


def two_outputs(folder: Path, *names: str) -> Path:
    nodes = [onnx.helper.make_node("Relu", ["image"], [names[0]]), onnx.helper.make_node("Tanh", ["image"], [names[1]])]
    shape = [1, 3, 4, 4]
    image, *outputs = (onnx.helper.make_tensor_value_info(name, 1, shape) for name in ("image", *names))
    graph = onnx.helper.make_graph(nodes, "g", [image], outputs)
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 21)], ir_version=10)
    onnx.save(model, folder / "m.onnx")
    return folder / "m.onnx"


def test_a_model_of_another_tool(tmp_path):
    model = read_model(two_outputs(tmp_path, "Identity:0", "depth/x"))
    assert [(task.name, task.output) for task in model.tasks] == [("Identity_0", "Identity:0"), ("depth_x", "depth/x")]
    assert "task Identity_0: named 'Identity:0' in the file" in " ".join(model.notes)
    assert [value.name for value in model.ir.graph.outputs] == ["Identity:0", "depth/x"]


def test_tasks_are_chosen_by_their_legal_names(tmp_path):
    model = read_model(two_outputs(tmp_path, "Identity:0", "depth/x"), tasks=("depth_x",))
    assert [(task.name, task.output) for task in model.tasks] == [("depth_x", "depth/x")]


def test_renaming_by_either_name(tmp_path):
    model = read_model(two_outputs(tmp_path, "Identity:0", "depth/x"))
    renamed = rename_tasks(model, {"Identity:0": "semseg", "depth_x": "depth"})
    assert [(task.name, task.output) for task in renamed.tasks] == [("semseg", "Identity:0"), ("depth", "depth/x")]
    swapped = rename_tasks(model, {"Identity_0": "depth_x", "depth_x": "Identity_0"})
    assert [task.name for task in swapped.tasks] == ["depth_x", "Identity_0"]


@pytest.mark.parametrize(
    ("renames", "text"),
    [
        ({"edges": "a"}, "--rename must be OLD=NEW with OLD one of Identity_0, depth_x, not 'edges'"),
        ({"depth_x": "a/b"}, "--rename depth_x: the new name must have at most 128 letters, .* not 'a/b'"),
        ({"depth_x": "Identity_0"}, "--rename must leave tasks with names of their own, not Identity_0, Identity_0"),
    ],
)
def test_names_that_cannot_be(tmp_path, renames, text):
    with pytest.raises(UsageError, match=text):
        rename_tasks(read_model(two_outputs(tmp_path, "Identity:0", "depth/x")), renames)
