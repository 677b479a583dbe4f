"""Functions of one element against numpy in float64: near zero, in between and far out, in units in the last place."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import onnx
import pytest
from onnx import helper

from edgemtl.codegen.cpu import compile_cpu
from edgemtl.frontend import read_model
from edgemtl.processor import resolve
from edgemtl.stages import choose_tasks, specialise
from tests.codegen.harness import Machine

MOST_ULP = 4.0
COUNT = 1 << 14
Function = Callable[[np.ndarray], np.ndarray]


def softplus(x: np.ndarray) -> np.ndarray:
    return np.logaddexp(0, x)


def elu(x: np.ndarray) -> np.ndarray:
    return np.where(x < 0, np.expm1(np.minimum(x, 0)), x)


def selu(x: np.ndarray) -> np.ndarray:
    alpha, gamma = (float(np.float32(v)) for v in (1.67326319217681884765625, 1.05070102214813232421875))
    return gamma * np.where(x < 0, alpha * np.expm1(np.minimum(x, 0)), x)


FUNCTIONS: dict[str, tuple[Function, float]] = {
    # operator: its function, and the largest argument
    "Asinh": (np.arcsinh, 1e30),
    "Atan": (np.arctan, 1e30),
    "Atanh": (np.arctanh, 1.0),
    "Celu": (elu, 1e30),
    "Cosh": (np.cosh, 88.0),
    "Elu": (elu, 1e30),
    "Erf": (np.vectorize(math.erf), 1e30),
    "Exp": (np.exp, 80.0),
    "Mish": (lambda x: x * np.tanh(softplus(x)), 80.0),
    "Selu": (selu, 1e30),
    "Sigmoid": (lambda x: 1 / (1 + np.exp(-x)), 80.0),
    "Sin": (np.sin, 1e4),
    "Sinh": (np.sinh, 88.0),
    "Softplus": (softplus, 80.0),
    "Softsign": (lambda x: x / (1 + np.abs(x)), 1e30),
    "Tan": (np.tan, 1e4),
    "Tanh": (np.tanh, 1e30),
}


def arguments(largest: float) -> np.ndarray:
    """Both signs, magnitudes from 1e-30 to ``largest`` in equal ratios."""
    magnitudes = np.geomspace(1e-30, largest * (1 - 1e-6), COUNT // 2)
    return np.concatenate([-magnitudes, magnitudes]).astype(np.float32)


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Machine:
    """A program with a task for every function."""
    nodes = [helper.make_node(op, ["image"], [op], name=op) for op in FUNCTIONS]
    shape = [1, 1, 1, COUNT]
    graph = helper.make_graph(
        nodes,
        "functions",
        [helper.make_tensor_value_info("image", onnx.TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info(op, onnx.TensorProto.FLOAT, shape) for op in FUNCTIONS],
    )
    path = tmp_path_factory.mktemp("accuracy") / "functions.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10), path)
    model = read_model(path)
    tasks = specialise(model, choose_tasks(model, ()), "exact", {})
    return Machine(compile_cpu(tasks, resolve("cpu", 1), memory_budget=None))


@pytest.mark.parametrize("op", FUNCTIONS)
def test_a_function_is_right_to_a_few_units_in_the_last_place(op: str, machine: Machine) -> None:
    function, largest = FUNCTIONS[op]
    x = arguments(largest)
    exact = function(x.astype(np.float64))
    actual = machine.run(op, x.reshape(1, 1, 1, -1)).ravel()
    errors = np.abs(actual - exact) / np.spacing(np.abs(exact).astype(np.float32))
    worst = int(errors.argmax())
    assert errors[worst] <= MOST_ULP, (
        f"{op}({x[worst]}) is {actual[worst]}, {errors[worst]:.1f} ulp from {exact[worst]}"
    )


EXTREMES = np.array([-np.inf, -200, -104.5, -103.5, -95, -87.5, -1e-45, 0, 88.5, 88.8, 200, np.inf, np.nan], np.float32)


@pytest.mark.parametrize("op", ["Exp", "Sigmoid", "Tanh", "Elu", "Erf"])
def test_a_function_of_the_largest_and_smallest_numbers_is_that_of_numpy(op: str, machine: Machine) -> None:
    """Infinities, results that are subnormal or too large for float32, and NaN."""
    function, _ = FUNCTIONS[op]
    x = np.zeros(COUNT, np.float32)
    x[: EXTREMES.size] = EXTREMES
    with np.errstate(over="ignore", invalid="ignore"):
        exact = function(EXTREMES.astype(np.float64)).astype(np.float32)
    actual = machine.run(op, x.reshape(1, 1, 1, -1)).ravel()[: EXTREMES.size]
    # A subnormal has fewer digits; sigmoid(-88.8) divides by infinity.
    np.testing.assert_allclose(actual, exact, rtol=5e-7, atol=3e-39)
