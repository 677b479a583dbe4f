"""Nodes no pattern takes: run in generic kernels as onnxruntime runs them, reported by check, refused by name."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnx_ir as ir
import onnxruntime
import pytest

from edgemtl.codegen.cpu import CpuProgram, check, compile_cpu
from edgemtl.errors import UnsupportedError
from edgemtl.frontend import InputSpec, Task
from edgemtl.graph import shape_of
from edgemtl.partition import TaskModel
from edgemtl.processor import resolve
from tests.codegen.graphs import int64, parse, random
from tests.codegen.harness import Machine

TARGET = resolve("cpu")
IMAGE = "float[1,3,8,12] image"
CONV = "a = Conv<pads = [1, 1, 1, 1]>(image, w)"


def task_of(text: str, **constants: np.ndarray) -> TaskModel:
    model = parse(text, **constants)
    image = model.graph.inputs[0]
    return TaskModel(Task("t", "y", "other", 1), model, (InputSpec("image", shape_of(image), None, None),), "exact", ())


def compare(task: TaskModel) -> CpuProgram:
    """Compile, run and compare with onnxruntime."""
    program = compile_cpu((task,), TARGET, memory_budget=None)
    image = random(*task.inputs[0].shape, seed=2)
    session = onnxruntime.InferenceSession(ir.to_proto(task.ir).SerializeToString())
    (expected,) = session.run(None, {"image": image})
    np.testing.assert_allclose(Machine(program).run("t", image), expected, atol=1e-5, rtol=1e-5)
    return program


BODIES = {
    "pooling": "b = MaxPool<kernel_shape = [2, 2], strides = [2, 2]>(a) \n y = Sigmoid(b)",
    "a sum of images": "b = Conv<pads = [1, 1, 1, 1]>(a, v) \n c = Add(a, b) \n y = Relu(c)",
    "a scale per channel": "b = Mul(a, s) \n y = Tanh(b)",
    "a mean per channel": "b = ReduceMean<keepdims = 1>(a, axes) \n y = Mul(a, b)",
    "concatenation": "b = Sigmoid(a) \n y = Concat<axis = 1>(a, b)",
    "nearest resize": 'y = Resize<mode = "nearest">(a, , scales)',
    "softmax over channels": "y = Softmax<axis = 1>(a)",
}
CONSTANTS = {
    "v": random(5, 5, 3, 3, seed=1, scale=0.1),
    "s": random(1, 5, 1, 1),
    "axes": int64(2, 3),
    "scales": np.array([1, 1, 2, 2], np.float32),
}


@pytest.mark.parametrize("name", BODIES)
def test_leftover_nodes_match_onnxruntime(name: str) -> None:
    body = BODIES[name]
    used = {k: v for k, v in CONSTANTS.items() if f" {k})" in body}
    compare(task_of(f"g ({IMAGE}) => (y) {{{CONV} \n {body}}}", w=random(5, 3, 3, 3, scale=0.1), **used))


def test_elementwise_nodes_between_images_need_no_copy() -> None:
    body = BODIES["a sum of images"] + " \n z = Conv<pads = [1, 1, 1, 1]>(y, v)"
    text = f"g ({IMAGE}) => (z) {{{CONV} \n {body}}}"
    program = compare(task_of(text, w=random(5, 3, 3, 3, scale=0.1), v=CONSTANTS["v"]))
    copies = [layer.origin[0] for layer in program.tasks[0].program.layers if layer.kernel.startswith("copy")]
    assert copies == ["Conv->a", "Conv->z"]  # the image comes and the result goes in planes


def test_integers_change_their_layout_in_words() -> None:
    body = "a = ArgMax<axis = 1, keepdims = 1>(image) \n b = Transpose(a) \n y = Cast<to = 1>(b)"
    program = compare(task_of(f"g ({IMAGE}) => (y) {{{body}}}"))
    assert [layer.kernel.split("_")[0] for layer in program.tasks[0].program.layers] == ["generic", "copy", "generic"]


def test_booleans_change_their_layout_in_bytes() -> None:
    body = "a = Greater(image, h) \n b = Transpose(a) \n c = Not(b) \n y = Cast<to = 1>(c)"
    program = compare(task_of(f"g ({IMAGE}) => (y) {{{body}}}", h=np.float32(0)))
    assert [layer.kernel.split("_")[0] for layer in program.tasks[0].program.layers] == [
        "generic",
        "qcopy1",
        "generic",
        "generic",
    ]


def test_an_output_of_another_type_is_refused() -> None:
    task = task_of(f"g ({IMAGE}) => (y) {{y = Cast<to = 11>(image)}}")
    message = r"^y: a task's output must be float32, int64, int32, bool, uint8, not float64; end the model before that"
    with pytest.raises(UnsupportedError, match=message):
        compile_cpu((task,), TARGET, memory_budget=None)


@pytest.mark.parametrize("body", ["y = ArgMax<axis = 1>(image)", "a = Sum(image) \n y = Greater(image, h)"])
def test_outputs_of_integers_and_truth_values(body: str) -> None:
    compare(task_of(f"g ({IMAGE}) => (y) {{{body}}}", h=np.float32(0)))


def test_a_task_name_that_is_no_identifier_gets_a_symbol_that_is() -> None:
    task = task_of(f"g ({IMAGE}) => (y) {{y = Sigmoid(image)}}")
    renamed = replace(task, task=Task("out.1/é", "y", "other", 1))
    program = compile_cpu((renamed,), TARGET, memory_budget=None)
    assert program.tasks[0].program.entry == "run_0_out_1__"
    assert Machine(program).run("out.1/é", random(1, 3, 8, 12)).shape == (1, 3, 8, 12)


UNKNOWN = f"g ({IMAGE}) => (y) {{a = Sigmoid(image) \n b = custom.Warp(a) \n y = Relu(b)}}"


def unknown() -> TaskModel:
    """A graph with an operator nobody knows; its shapes are written by hand."""
    model = parse(UNKNOWN.replace("custom.Warp", "Identity"))
    node = next(n for n in model.graph if n.op_type == "Identity")
    node.op_type, node.domain, node.name = "Warp", "custom", "warp"
    model.graph.opset_imports["custom"] = 1
    return TaskModel(Task("t", "y", "other", 1), model, (InputSpec("image", (1, 3, 8, 12), None, None),), "exact", ())


def test_an_operator_nobody_knows_is_refused_by_name() -> None:
    with pytest.raises(
        UnsupportedError,
        match=r"^warp: operator Warp of domain custom is unknown; export the model with standard operators$",
    ) as caught:
        compile_cpu((unknown(),), TARGET, memory_budget=None)
    assert caught.value.node == "warp"


def test_check_reports_every_node_and_goes_on_behind_a_refused_one() -> None:
    rows = check([unknown(), unknown()], TARGET)
    assert [(row.node, row.how) for row in rows] == [
        ("Sigmoid->a", "generic"),
        ("warp", "unsupported"),
        ("Relu->y", "generic"),
    ]
    assert rows[0].reason == "no kernel of ours runs Sigmoid in this form"
    assert rows[1].hint == "export the model with standard operators"
    assert all(row.tasks == ("t", "t") for row in rows)


REFUSALS = {
    "y = Conv(image, k)": "Conv weights must be constants, not computed",
    'y = Conv<auto_pad = "SAME_UPPER">(image, w)': "Conv must have two dimensions, explicit pads and one image, not 2",
    'y = Resize<mode = "linear">(image, , deep)': "Resize must change height and width of float32 [1, C, H, W], not",
}


@pytest.mark.parametrize("body", REFUSALS)
def test_a_form_our_kernels_do_not_run_is_reported_with_its_reason(body: str) -> None:
    constants = {
        "w": random(4, 3, 3, 3),
        "scales": np.array([1, 1, 2, 2], np.float32),
        "bent": np.array([1, 1, 1.3, 1.3], np.float32),
        "deep": np.array([1, 2, 2, 2], np.float32),
        "seed": random(4, 3, 3, 3),
    }
    computed = "k = Sigmoid(seed) \n " if " k)" in body else ""
    used = {k: v for k, v in constants.items() if f" {k})" in computed + body or f"({k})" in computed + body}
    rows = check([task_of(f"g ({IMAGE}) => (y) {{{computed}{body}}}", **used)], TARGET)
    assert rows[-1].reason.startswith(REFUSALS[body])
