"""Activations where a layer gives the graph's output or is added to the residual stream: integers all the same."""

from __future__ import annotations

import numpy as np
import pytest

from edgemtl.codegen.fpga.select import Left, select
from edgemtl.hw.spec import read_spec
from tests.codegen.graphs import random
from tests.codegen.test_generic import IMAGE
from tests.quantize.forms import exchanged_db, judge, quantised

CONV = "a = Conv<pads = [1, 1, 1, 1]>(image, w)"
WEIGHTS = {"w": random(5, 3, 3, 3, scale=0.3)}
ENDINGS = {
    "relu": "y = Relu(a)",
    "sigmoid": "y = Sigmoid(a)",
    "tanh": "y = Tanh(a)",
    "gelu": "y = Gelu(a)",
    "relu6": "y = Clip(a, low, high)",
    "relu of a sum": "b = Conv<pads = [1, 1, 1, 1]>(a, v) \n c = Add(a, b) \n y = Relu(c)",
    "celu": "y = Celu(a)",
    "relu of a resize": 'b = Resize<mode = "linear">(a, none, scales) \n y = Relu(b)',
    "mean": "b = Relu(a) \n y = GlobalAveragePool(b)",
}
CONSTANTS = {
    "v": random(5, 5, 3, 3, seed=1, scale=0.3),
    "none": np.array([], np.float32),
    "scales": np.array([1, 1, 3, 3], np.float32),
    "low": np.array(0, np.float32),
    "high": np.array(6, np.float32),
}


@pytest.mark.parametrize("name", ENDINGS)
def test_the_output_behind_an_activation(name: str) -> None:
    body = ENDINGS[name]
    used = {k: v for k, v in CONSTANTS.items() if f" {k}" in body}
    form = quantised(f"t ({IMAGE}) => (y) {{{CONV} \n {body}}}", **WEIGHTS, **used)
    judge(form)
    assert exchanged_db(form) > 25


STREAM = f"""t ({IMAGE}) => (y) {{
    a = Conv<pads = [1, 1, 1, 1]>(image, w)
    b = Reshape(a, rows)
    s = Transpose<perm = [0, 2, 1]>(b)
    l = MatMul(s, m)
    d = ACTIVATION
    e = Add(s, d)
    y = MatMul(e, m)
}}"""


@pytest.mark.parametrize("activation", ["Relu(l)", "Gelu(l)", "Clip(l, low, high)", "Sigmoid(l)"])
def test_a_residual_behind_an_activation(activation: str) -> None:
    bounds = {k: CONSTANTS[k] for k in ("low", "high") if k in activation}
    rows = {"rows": np.array([1, 5, 96], np.int64), "m": random(5, 5, seed=4, scale=0.5)}
    form = quantised(STREAM.replace("ACTIVATION", activation), **WEIGHTS, **bounds, **rows)
    judge(form)
    assert exchanged_db(form) > 25


def test_a_board_takes_a_lower_bound_of_16_bits() -> None:
    text = "t (float[1,32,32,32] image) => (y) { a = Conv<pads = [1, 1, 1, 1]>(image, w) \n y = Relu(a) }"
    form = quantised(text, w=random(32, 32, 3, 3, scale=0.1))
    (convolution,) = (step for step in form.integers.steps if type(step.operator).__name__ == "QConv2d")
    assert convolution.operator.how.limits == (0, 2**15 - 1)  # type: ignore[attr-defined]
    left = [item.step for item in select(form.integers.steps, read_spec("zcu104").engine) if isinstance(item, Left)]
    assert left
    assert convolution not in left


def test_a_few_values_left_by_the_last_relu_are_not_lost_in_a_resize() -> None:
    """A depth map that is 0 almost everywhere: 8 bits of what is resized would round what is left of it away."""
    body = f'{CONV} \n c = Add(a, down) \n b = Resize<mode = "linear">(c, none, scales) \n y = Relu(b)'
    used = {name: CONSTANTS[name] for name in ("none", "scales")}
    form = quantised(f"t ({IMAGE}) => (y) {{{body}}}", **WEIGHTS, **used, down=np.full((1, 5, 1, 1), -4, np.float32))
    judge(form, 30)
