"""Forms of one operator, through the frontend and the compiler, against onnxruntime without graph optimisation.

Many forms are compiled as the tasks of one model, which is faster than one program each.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from onnx import helper, numpy_helper

from edgemtl.codegen.cpu import compile_cpu
from edgemtl.frontend import read_model
from edgemtl.operators import TensorType
from edgemtl.processor import resolve
from edgemtl.stages import choose_tasks, specialise
from edgemtl.tvm_bridge.generic import Call
from tests.codegen.harness import Machine


@dataclass(frozen=True)
class Form:
    """One node: its operands by name ("x" is the computed one, others constants), its attributes.

    shape: what "x" is cropped or reshaped to; None: the image as it is. outputs: how many the node has, and which one
    is compared. before: nodes in a chain from "x", whose outputs "0", "1", .. are operands too.
    """

    op: str
    attributes: Mapping[str, Any] = field(default_factory=dict)
    constants: Mapping[str, np.ndarray] = field(default_factory=dict)
    operands: tuple[str, ...] | None = None
    shape: tuple[int, ...] | None = None
    outputs: int = 1
    compared: int = 0
    integer_result: bool = False
    before: tuple[Form, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """The operands in order."""
        return self.operands if self.operands is not None else ("x", *self.constants)


def model_of(forms: Sequence[Form], image: tuple[int, ...], opset: int = 20) -> onnx.ModelProto:
    """A model with an output y0, y1, .. for each form, all of one image."""
    nodes, constants = [helper.make_node("Mul", ["image", "one"], ["scaled"])], {"one": np.float32(1)}
    for i, form in enumerate(forms):
        own, more = _nodes(i, form)
        nodes += own
        constants |= more
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("image", onnx.TensorProto.FLOAT, image)],
        [helper.make_tensor_value_info(f"y{i}", onnx.TensorProto.FLOAT, None) for i in range(len(forms))],
        [numpy_helper.from_array(np.asarray(array), name) for name, array in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=10)
    for value, result in zip(model.graph.output, reference(model, np.zeros(image, np.float32)), strict=True):
        value.CopyFrom(helper.make_tensor_value_info(value.name, onnx.TensorProto.FLOAT, result.shape))
    return model


Nodes = tuple[list[onnx.NodeProto], dict[str, np.ndarray]]


def _nodes(i: int, form: Form) -> Nodes:
    source, nodes, constants = _source(i, form)
    known = {"x": source, "": ""} | {name: f"{name}_{i}" for name in form.constants}
    constants |= {f"{name}_{i}": array for name, array in form.constants.items()}
    for step, earlier in enumerate(form.before):
        results = [f"before{i}_{step}_{k}" for k in range(earlier.outputs)]
        more = {f"before{i}_{step}_{name}": array for name, array in earlier.constants.items()}
        nodes.append(helper.make_node(earlier.op, [source, *more], results, **earlier.attributes))
        constants, source = constants | more, results[0]
        known |= {str(k): name for k, name in enumerate(results)}
    results = [f"r{i}_{k}" if k != form.compared else f"y{i}" for k in range(form.outputs)]
    if form.integer_result:
        results[form.compared] = f"integers_{i}"
    nodes.append(helper.make_node(form.op, [known[n] for n in form.names], results, name=f"node{i}", **form.attributes))
    if form.integer_result:
        nodes.append(helper.make_node("Cast", [f"integers_{i}"], [f"y{i}"], to=onnx.TensorProto.FLOAT))
    return nodes, constants


def _source(i: int, form: Form) -> tuple[str, list[onnx.NodeProto], dict[str, np.ndarray]]:
    """The name of "x", and what crops the image to its shape."""
    if form.shape is None:
        return "scaled", [], {}
    constants = {f"flat_{i}": np.array([-1]), f"shape_{i}": np.array(form.shape)}
    constants |= {f"zero_{i}": np.array([0]), f"end_{i}": np.array([int(np.prod(form.shape))])}
    nodes = [
        helper.make_node("Reshape", ["scaled", f"flat_{i}"], [f"row_{i}"]),
        helper.make_node("Slice", [f"row_{i}", f"zero_{i}", f"end_{i}"], [f"cut_{i}"]),
        helper.make_node("Reshape", [f"cut_{i}", f"shape_{i}"], [f"x_{i}"]),
    ]
    return f"x_{i}", nodes, constants


def reference(model: onnx.ModelProto, image: np.ndarray) -> list[np.ndarray]:
    """What onnxruntime computes without graph optimisation."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return session.run(None, {"image": image})


def compiled(model: onnx.ModelProto) -> Machine:
    """The model read, specialised and compiled for this machine."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        onnx.save(model, path)
        described = read_model(path)
    tasks = specialise(described, choose_tasks(described, ()), "exact", {})
    return Machine(compile_cpu(tasks, resolve("cpu"), memory_budget=None))


def compare(forms: Sequence[Form], images: Sequence[np.ndarray], opset: int = 20, **tolerances: float) -> None:
    """Compile the forms and compare every output on every image; names each form that differs."""
    model = model_of(forms, images[0].shape, opset)
    machine = compiled(model)
    bounds = {"rtol": 1e-5, "atol": 1e-5, **tolerances}
    for image in images:
        for i, (form, expected) in enumerate(zip(forms, reference(model, image), strict=True)):
            result = machine.run(f"y{i}", image)
            assert result.size == expected.size, f"{form}: {result.shape} instead of {expected.shape}"
            np.testing.assert_allclose(
                result.reshape(expected.shape), expected, **bounds, equal_nan=True, err_msg=str(form)
            )


def call_of(
    op: str,
    attributes: Mapping[str, Any],
    shape: Sequence[int],
    constants: Mapping[int, np.ndarray],
    *outputs: Sequence[int],
    opset: int = 20,
) -> Call:
    """A call of an operator on a float32 tensor and constants by operand, for forms that onnxruntime cannot run."""
    known = {i: TensorType(a.shape, a.dtype.name) for i, a in constants.items()}
    inputs = [TensorType(tuple(shape), "float32"), *(known.get(i) for i in range(1, max(known, default=0) + 1))]
    results = tuple(TensorType(tuple(output), "float32") for output in outputs)
    return Call(op, opset, dict(attributes), tuple(inputs), dict(constants), results)
