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
from edgemtl.frontend.peek import peek_tasks
from edgemtl.options import CompileOptions
from edgemtl.stages import describe
from tests.support.models import build_and_export, small_config


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


def test_notes_go_with_the_names(tmp_path):
    model = read_model(two_outputs(tmp_path, "Identity:0", "depth/x"))
    assert [note.split(",")[0] for note in model.notes if note.startswith("task ")] == [
        "task Identity_0: named 'Identity:0' in the file",
        "task depth_x: named 'depth/x' in the file",
        "task Identity_0: an output of the graph",
        "task depth_x: an output of the graph",
    ]
    renamed = rename_tasks(model, {"Identity:0": "semseg"})
    assert [note.split(",")[0] for note in renamed.notes if note.startswith("task ")] == [
        "task depth_x: named 'depth/x' in the file",
        "task semseg: an output of the graph",
        "task depth_x: an output of the graph",
    ]


def test_what_the_user_says_is_not_guessed(tmp_path):
    model = read_model(two_outputs(tmp_path, "semseg", "depth"))
    assert "input image: normalisation unknown, it is expected as the model takes it" in model.notes
    mean, std = (0.5, 0.5, 0.5), (0.2, 0.2, 0.2)
    assert not [note for note in describe(model, CompileOptions(mean=mean, std=std)).notes if note.startswith("input")]
    notes = describe(model, CompileOptions(kinds=(("depth", "other"),))).notes
    assert [note.split(":")[0] for note in notes] == ["input image", "task semseg"]


@pytest.mark.parametrize(("output", "name"), [("Identity:0", "Identity_0"), ("depth", "depth")])
def test_peeking_tells_the_names_of_reading(tmp_path, output, name):
    path = two_outputs(tmp_path, output, "b/c")
    tasks = {task.name: task.output for task in read_model(path).tasks}
    assert peek_tasks(path) == tasks
    assert name in tasks


def test_peeking_tells_the_names_of_the_exporter(tmp_path):
    path = build_and_export(small_config(), 0, tmp_path)[1]
    assert peek_tasks(path) == {task.name: task.output for task in read_model(path).tasks}


def test_where_peeking_does_not_tell(tmp_path):
    path = two_outputs(tmp_path, "a", "b")
    model = onnx.load(path)
    model.graph.input.append(onnx.helper.make_tensor_value_info("task_id", 7, []))
    onnx.save(model, path)
    assert peek_tasks(path) is None
    path.write_bytes(b"no model")
    assert peek_tasks(path) is None
    assert peek_tasks(tmp_path / "nothing.onnx") is None


@pytest.mark.parametrize(
    ("shape", "looks"), [([1, 224, 224, 3], True), ([1, 3, 224, 224], False), ([1, 8, 9, 9], False)]
)
def test_an_input_with_channels_last_is_noted(tmp_path, shape, looks):
    node = onnx.helper.make_node("Relu", ["image"], ["y"])
    image, output = (onnx.helper.make_tensor_value_info(name, 1, shape) for name in ("image", "y"))
    graph = onnx.helper.make_graph([node], "g", [image], [output])
    opset = [onnx.helper.make_opsetid("", 21)]
    onnx.save(onnx.helper.make_model(graph, opset_imports=opset, ir_version=10), tmp_path / "m.onnx")
    text = (
        "input image: [1, 224, 224, 3] looks like [N, H, W, C], and it is read as [N, C, H, W], 224 channels of 224x3; "
        "if that is wrong, export the model with channels first"
    )
    assert (text in read_model(tmp_path / "m.onnx").notes) == looks


@pytest.mark.parametrize(
    ("renames", "text"),
    [
        ({"edges": "a"}, "OLD of --rename OLD=NEW must be one of Identity_0, depth_x, not 'edges'"),
        ({"depth_x": "a/b"}, "--rename depth_x: the new name must have at most 128 letters, .* not 'a/b'"),
        ({"depth_x": "Identity_0"}, "--rename must leave tasks with names of their own, not Identity_0, Identity_0"),
    ],
)
def test_names_that_cannot_be(tmp_path, renames, text):
    with pytest.raises(UsageError, match=text):
        rename_tasks(read_model(two_outputs(tmp_path, "Identity:0", "depth/x")), renames)
