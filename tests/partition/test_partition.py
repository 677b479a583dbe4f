"""Each task's graph against the whole model: onnxruntime, and onnx's numpy code with a MoE in loops."""

import numpy as np
import onnx_ir as ir
import pytest

from edgemtl.bundle import MoEEntry
from edgemtl.errors import InputError, UnsupportedError, UsageError
from edgemtl.frontend.moe_node import MoEAttributes, moe_nodes
from edgemtl.partition import partition
from tests.partition.handmade import DIM, EXPERTS, HIDDEN, Builder, as_multi_task, images, run, two_tasks
from tests.support.moe_reference import run_reference

GATES = ("multi", "window", "embedded", "masked", "none")
OPTIONS = (
    {"normalize": 1},
    {"threshold": 0.2},
    {"normalize": 1, "threshold": 0.3, "activation": "silu"},
    {"k": 1, "activation": "relu"},
    {"k": 3, "activation": "gelu_tanh"},
)
CASES = [*((gate, {}) for gate in GATES), *(("multi", o) for o in OPTIONS), ("window", OPTIONS[2])]


def _ops(model):
    return [node.op_type for node in model.graph]


def _bytes(model):
    return ir.to_proto(model).SerializeToString(deterministic=True)


def _names(model):
    return [task.name for task in model.tasks]


@pytest.mark.parametrize(("gate", "options"), CASES)
def test_exact_tasks_answer_as_the_whole_model(gate, options):
    model = two_tasks(gate, **options)
    tasks = partition(model, _names(model), "exact")
    for image in images(3):
        for whole, looped, task in zip(run(model.ir, image), run_reference(model.ir, image), tasks, strict=True):
            (alone,) = run(task.ir, image)
            np.testing.assert_allclose(alone, whole, rtol=1e-5, atol=1e-5)
            np.testing.assert_allclose(alone, looped, rtol=1e-4, atol=1e-4)
            np.testing.assert_allclose(run_reference(task.ir, image)[0], looped, rtol=1e-5, atol=1e-5)


def test_a_task_graph_holds_its_own_task_only():
    model = two_tasks("multi")
    first, second = partition(model, ["t0", "t1"], "exact")
    for task in (first, second):
        assert [v.name for v in task.ir.graph.outputs] == [task.task.output]
        assert [v.name for v in task.ir.graph.inputs] == ["image"]
        assert _ops(task.ir).count("MoE") == 1
        assert "BatchNormalization" not in _ops(task.ir)
        assert task.moe == (MoEEntry(next(moe_nodes(task.ir)).name, 0, tuple(range(8)), 8, 2),)
        assert task.notes == ("1 BatchNormalization folded into the layers before them",)
        assert (task.pathway, task.inputs, task.calibration) == ("exact", model.inputs, None)
    assert first.moe[0].node != second.moe[0].node


def test_tasks_come_in_the_order_asked_for():
    model = two_tasks("multi")
    assert [task.task.name for task in partition(model, ["t1", "t0"], "exact")] == ["t1", "t0"]
    assert [task.task.name for task in partition(model, ["t1"], "exact")] == ["t1"]


def test_equal_weights_are_one_object_across_tasks():
    first, second = (task.ir.graph.initializers for task in partition(two_tasks("multi"), ["t0", "t1"], "exact"))
    stacked = [value for value in first.values() if value.const_value.size == EXPERTS * DIM * HIDDEN]
    assert len(stacked) == 2
    held = {id(value.const_value) for value in second.values()}
    assert all(id(value.const_value) in held for value in stacked)


def test_the_model_is_left_as_it_was_and_the_result_is_always_the_same():
    model = two_tasks("window")
    before = ir.to_proto(model.ir).SerializeToString(deterministic=True)
    written = [
        [ir.to_proto(t.ir).SerializeToString(deterministic=True) for t in partition(model, ["t0", "t1"], "exact")]
        for _ in range(2)
    ]
    assert written[0] == written[1]
    assert ir.to_proto(model.ir).SerializeToString(deterministic=True) == before


def test_what_only_depends_on_constants_is_folded():
    for task in partition(two_tasks("embedded"), ["t0", "t1"], "exact"):
        assert _ops(task.ir).count("MatMul") == 1
        assert not {"Gather", "Gelu"} & set(_ops(task.ir))


def test_windows_leave_their_own_experts_and_columns():
    model = two_tasks("window")
    for task, start in zip(partition(model, ["t0", "t1"], "window"), (0, 4), strict=True):
        (node,) = moe_nodes(task.ir)
        assert task.moe[0].experts == tuple(range(start, start + 4))
        assert task.moe[0].total == EXPERTS
        assert [v.shape.numpy()[0] for v in node.inputs[2:]] == [4, 4, 4, 4]
        assert node.inputs[1].shape.numpy() == (4, 4)
        assert MoEAttributes.from_node(node) == MoEAttributes(2)
        assert "Slice" not in _ops(task.ir)
        fixed = f"4 of 8 experts are within the task's reach: {', '.join(map(str, range(start, start + 4)))}"
        assert f"{node.name}: {fixed}" in task.notes
        for image in images(3):
            np.testing.assert_allclose(run(task.ir, image)[0], run(model.ir, image)[start // 4], rtol=1e-5, atol=1e-5)


def test_exact_and_window_give_a_window_model_the_same_graph():
    model = two_tasks("window")
    exact, window = (partition(model, ["t0", "t1"], mode) for mode in ("exact", "window"))
    for one, other in zip(exact, window, strict=True):
        assert ir.to_proto(one.ir).SerializeToString(deterministic=True) == ir.to_proto(other.ir).SerializeToString(
            deterministic=True
        )
        assert (one.moe, one.notes) == (other.moe, other.notes)


@pytest.mark.parametrize("gate", ["multi", "window", "masked"])
def test_a_task_graph_partitioned_again_stays_as_it_is(gate):
    (task,) = partition(two_tasks(gate, seed=5, k=1), ["t0"], "calibrated", images(1))
    (again,) = partition(as_multi_task(task.ir), ["t0"], "exact")
    assert _bytes(again.ir) == _bytes(task.ir)
    assert 0 < len(again.moe[0].experts) < 8
    (fewer,) = partition(as_multi_task(task.ir), ["t0"], "calibrated", images(1))
    assert fewer.moe == again.moe


def test_a_mask_in_the_graph_puts_experts_out_of_reach():
    first, second = partition(two_tasks("masked"), ["t0", "t1"], "exact")
    assert first.moe[0].experts == (1, 3, 4, 6, 7)
    assert second.moe[0].experts == tuple(range(8))
    assert MoEAttributes.from_node(next(moe_nodes(first.ir))).experts == (1, 3, 4, 6, 7)


@pytest.mark.parametrize(("gate", "options"), CASES)
def test_calibrated_tasks_answer_as_the_whole_model_on_their_images(gate, options):
    model, seen = two_tasks(gate, seed=3, **options), images(2)
    tasks = partition(model, ["t0", "t1"], "calibrated", seen)
    for index, task in enumerate(tasks):
        for image in seen:
            whole = run(model.ir, image)[index]
            np.testing.assert_allclose(run(task.ir, image)[0], whole, rtol=1e-5, atol=1e-5)
            looped = run_reference(task.ir, image)[0]
            np.testing.assert_allclose(looped, run_reference(model.ir, image)[index], rtol=1e-5, atol=1e-5)
        assert task.calibration.max_abs < 1e-5


def test_unknown_requests_are_refused():
    model = two_tasks("multi")
    for tasks, text in ((["t2"], "t2"), ([], "none"), (["t0", "t0"], "t0, t0")):
        with pytest.raises(UsageError, match=f"^tasks must be different ones of t0, t1, not {text}$"):
            partition(model, tasks, "exact")
    with pytest.raises(UsageError, match=r"^pathway must be one of exact, window, calibrated, not 'all'$"):
        partition(model, ["t0"], "all")


def test_window_without_windows_is_refused():
    text = (
        "^--pathway window must have a layer that fixes its experts per task, and none of the 2 MoE layers "
        "does; use exact, or calibrated with --calibration FOLDER$"
    )
    with pytest.raises(UsageError, match=text):
        partition(two_tasks("multi"), ["t0"], "window")


def test_calibration_images_must_fit():
    model = two_tasks("multi")
    none = (
        "^the calibrated pathway must be given calibration images, not none; "
        "pass a folder of typical images, or use exact, which needs none$"
    )
    for missing in (None, [], iter(())):
        with pytest.raises(UsageError, match=none):
            partition(model, ["t0"], "calibrated", missing)
    text = "^calibration images must come with the calibrated pathway, not with exact$"
    with pytest.raises(UsageError, match=text):
        partition(model, ["t0"], "exact", images(1))
    small = [*images(1), {"image": np.zeros((1, 3, 8, 4), np.float32)}]
    fits = r"must be float32 \(1, 3, 8, 8\), not"
    text = rf"^calibration image 1 {fits} float32 \(1, 3, 8, 4\); resize and normalise it$"
    with pytest.raises(InputError, match=text):
        partition(model, ["t0"], "calibrated", small)
    text = rf"^calibration image 0 {fits} uint8 \(1, 3, 8, 8\); resize and normalise it$"
    with pytest.raises(InputError, match=text):
        partition(model, ["t0"], "calibrated", [{"image": np.zeros((1, 3, 8, 8), np.uint8)}])
    with pytest.raises(InputError, match=r"^calibration image 0 must be finite; it holds infinities or NaN$"):
        partition(model, ["t0"], "calibrated", [{"image": np.full((1, 3, 8, 8), np.nan, np.float32)}])


def test_experts_without_constant_weights_are_refused():
    b = Builder()
    x = b.node("Reshape", "image", b.const(np.array([32, DIM])))
    stacks = b.experts()
    stacks[0] = b.node("Mul", stacks[0], b.node("ReduceMax", "image", keepdims=0))
    y = b.node("MoE", x, b.node("MatMul", x, b.weight(DIM, EXPERTS)), *stacks, domain="edgemtl", k=2)
    b.node("Reshape", y, b.const(np.array([1, DIM, 4, 8])), out="t0")
    model = as_multi_task(b.graph({"t0": (1, DIM, 4, 8)}))
    with pytest.raises(UnsupportedError) as refusal:
        partition(model, ["t0"], "exact")
    assert str(refusal.value) == (
        "MoE_4: the weights of its experts are computed in the graph; export the model with its weights as initializers"
    )
