"""Models told their task by an input."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper

from edgemtl.frontend import read_model
from examples.foreign import Writer, save
from tests.support.models import as_task_id_gather, as_task_id_if
from tests.support.run import assert_same, random_image, run_canonical, run_onnx


@pytest.mark.parametrize(
    ("build", "name", "value", "channels"),
    [
        (as_task_id_gather, "task_id", lambda t: np.int64(t), (5, 5, 5)),
        (as_task_id_if, "task", lambda t: np.array([t], np.int32), (5, 1, 3)),
    ],
)
def test_becomes_an_output_for_each_task(build, name, value, channels, tmp_path: Path) -> None:
    path = build(tmp_path)
    model = read_model(path)
    assert [task.name for task in model.tasks] == ["map_task0", "map_task1", "map_task2"]
    assert tuple(task.channels for task in model.tasks) == channels
    assert len(model.moe) == 3
    assert [v.name for v in model.ir.graph.inputs] == ["image"]
    note = f"input {name}: specialised for tasks 0 to 2, an output each; nothing else is compiled"
    assert note in model.notes
    image = random_image(model.inputs[0].shape)
    found = run_canonical(model, image)
    for task in range(3):
        expected = run_onnx(path, {"image": image, name: np.asarray(value(task))})["map"]
        np.testing.assert_allclose(found[f"map_task{task}"], expected, atol=1e-5)


def test_what_no_task_changes_is_there_once(tmp_path: Path) -> None:
    model = read_model(as_task_id_gather(tmp_path))
    assert sum(node.op_type == "Conv" for node in model.ir.graph) == 1


def selecting_model(folder: Path, select, shape: list[int] | None = None, kind: int = 7) -> Path:
    """The image scaled by a number that `select(writer)` chooses by the input `task`."""
    w = Writer()
    w.nodes.append(helper.make_node("Mul", [w.op("Relu", "image"), select(w)], ["map"]))
    w.nodes.append(helper.make_node("Relu", ["image"], ["common"]))
    image = helper.make_tensor_value_info("image", 1, [1, 1, 2, 3])
    task = helper.make_tensor_value_info("task", kind, shape or [])
    outputs = [helper.make_tensor_value_info(name, 1, [1, 1, 2, 3]) for name in ("map", "common")]
    return save(w.nodes, w.initializers(), [image, task], outputs, folder / "selecting.onnx")


def constant(value: float) -> onnx.GraphProto:
    w = Writer("branch/")
    result = w.op("Identity", w.const(value))
    return helper.make_graph(w.nodes, "b", [], [helper.make_tensor_value_info(result, 1, [])], w.initializers())


def by_comparison(w: Writer) -> str:
    first = w.op("Equal", w.op("Cast", "task", to=6), w.const(0, np.int32))
    return w.op("Where", first, w.const(2), w.const(3))


def by_one_hot(w: Writer) -> str:
    hot = w.op("OneHot", w.op("Unsqueeze", "task", w.ints(0)), w.const(2, np.int64), w.const([0, 1]))
    return w.op("ReduceSum", w.op("Mul", hot, w.const([2, 3])))


def by_torch_select(w: Writer) -> str:
    """`x[task]` as torch's exporter writes it: the index is itself gathered."""
    index = w.op("Gather", w.op("Reshape", "task", w.ints(-1)), w.const(0, np.int64), axis=0)
    return w.op("Gather", w.const([2, 3]), index, axis=0)


def by_torch_index(w: Writer) -> str:
    """`x[task]` of an index of rank 1."""
    index = w.op("Unsqueeze", w.op("Reshape", "task", w.ints(-1)), w.ints(-1))
    return w.op("GatherND", w.const([2, 3]), index, batch_dims=0)


def by_tuple(w: Writer) -> str:
    index = w.op("Concat", w.ints(1), w.op("Reshape", "task", w.ints(-1)), axis=0)
    return w.op("GatherND", w.const([[[7], [8]], [[2], [3]]]), index)


def by_signed_index(w: Writer) -> str:
    negative = w.op("Less", "task", w.const(0, np.int64))
    index = w.op("Where", negative, w.op("Add", "task", w.const(2, np.int64)), "task")
    return w.op("Gather", w.const([2, 3]), index)


def by_table(w: Writer) -> str:
    """Two tasks that pick two of five."""
    return w.op("Gather", w.const([1, 2, 4, 3, 6]), w.op("Gather", w.ints(1, 3), "task"))


def by_slice(w: Writer) -> str:
    start = w.op("Mul", w.op("Reshape", "task", w.ints(-1)), w.ints(2))
    part = w.op("Slice", w.const([1, 1, 1, 2]), start, w.op("Add", start, w.ints(2)), w.ints(0))
    return w.op("ReduceSum", part, w.ints(0), keepdims=0)


def by_equal_vector(w: Writer) -> str:
    hot = w.op("Cast", w.op("Equal", "task", w.ints(0, 1)), to=1)
    return w.op("ReduceSum", w.op("Mul", hot, w.const([2, 3])), w.ints(0), keepdims=0)


def by_scatter(w: Writer) -> str:
    hot = w.op("ScatterElements", w.const([0, 0]), w.op("Reshape", "task", w.ints(-1)), w.const([1]), axis=0)
    return w.op("ReduceSum", w.op("Mul", hot, w.const([2, 3])), w.ints(0), keepdims=0)


def by_less(w: Writer) -> str:
    return w.op("Where", w.op("Less", "task", w.const(1, np.int64)), w.const(2), w.const(3))


def by_greater(w: Writer) -> str:
    return w.op("Where", w.op("Greater", w.const(1, np.int64), "task"), w.const(2), w.const(3))


@pytest.mark.parametrize("shape", [[], [1]])
@pytest.mark.parametrize(
    "select",
    [
        lambda w: w.op("Gather", w.const([2, 3]), "task"),
        lambda w: w.op("If", w.op("Cast", "task", to=9), then_branch=constant(3), else_branch=constant(2)),
        by_comparison,
        by_one_hot,
        by_torch_select,
        by_torch_index,
        by_tuple,
        by_signed_index,
        by_table,
        by_slice,
        by_equal_vector,
        by_scatter,
        by_less,
        by_greater,
    ],
)
def test_ways_to_select(select, shape: list[int], tmp_path: Path) -> None:
    path = selecting_model(tmp_path, select, shape)
    model = read_model(path)
    assert [task.name for task in model.tasks] == ["map_task0", "map_task1", "common"]
    image = random_image(model.inputs[0].shape)
    found = run_canonical(model, image)
    np.testing.assert_array_equal(found["map_task0"], 2 * np.maximum(image, 0))
    np.testing.assert_array_equal(found["map_task1"], 3 * np.maximum(image, 0))
    np.testing.assert_array_equal(found["common"], np.maximum(image, 0))


@pytest.mark.parametrize(
    ("select", "count"),
    [
        (lambda w: w.op("Cast", "task", to=1), 1),
        (lambda w: w.op("Gather", w.const(np.arange(65)), "task"), 65),
    ],
)
def test_a_number_of_tasks_it_cannot_tell_stays_an_input(select, count: int, tmp_path: Path) -> None:
    path = selecting_model(tmp_path, select)
    model = read_model(path)
    assert [(spec.name, spec.dtype, spec.shape) for spec in model.inputs][1:] == [("task", "int64", ())]
    note = "input task: it does not select from 2 to 64 tasks, so it stays an input of every run"
    assert note in model.notes
    bounds = {"Cast": None, "Gather": (-65, 64)}
    assert model.inputs[1].bounds == bounds["Cast" if count == 1 else "Gather"]
    frame = {"image": random_image(model.inputs[0].shape), "task": np.array(count - 1)}
    assert_same(run_canonical(model, frame), run_onnx(path, frame))


def test_a_vector_is_no_task(tmp_path: Path) -> None:
    path = selecting_model(tmp_path, lambda w: w.op("ReduceSum", "task"), shape=[3], kind=1)
    assert [(spec.name, spec.shape) for spec in read_model(path).inputs][1:] == [("task", (3,))]
