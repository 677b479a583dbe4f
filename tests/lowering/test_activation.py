"""Activations are recognised however they are written, and nothing else is."""

from __future__ import annotations

import math

import numpy as np
import pytest

from edgemtl.lowering.patterns.activation import match_activation, strip_activation
from tests.codegen.graphs import parse

HEAD = "g (float[4] x) => (y) {"
CONSTANTS = {
    "half": 0.5,
    "one": 1.0,
    "two": 2.0,
    "three": 3.0,
    "zero": 0.0,
    "six": 6.0,
    "ten": 10.0,
    "big": 255.0,
    "huge": 1e8,
    "small": 1e-8,
    "minus": -3.0,
    "tiny": 1e-8,
    "wide": np.full((1, 1, 1), -100.0, np.float32),
    "root2": math.sqrt(2),
    "rroot2": 1 / math.sqrt(2),
    "c": math.sqrt(2 / math.pi),
    "c2": 2 * math.sqrt(2 / math.pi),
    "d": 0.044715,
}
FORMS = {
    "relu": "y = Relu(x)",
    "gelu": "y = Gelu(x)",
    "gelu_tanh": 'y = Gelu<approximate = "tanh">(x)',
    "gelu, divide by root 2": "a = Div(x, root2) \n b = Erf(a) \n c1 = Add(b, one) \n d1 = Mul(x, c1)"
    " \n y = Mul(d1, half)",
    "gelu, half first": "h = Mul(x, half) \n a = Mul(x, rroot2) \n b = Erf(a) \n c1 = Add(one, b) \n y = Mul(h, c1)",
    "gelu_tanh, pow": "p = Pow(x, three) \n q = Mul(p, d) \n r = Add(x, q) \n s = Mul(r, c)"
    " \n t = Tanh(s) \n u = Add(t, one)"
    " \n v = Mul(u, half) \n y = Mul(x, v)",
    "gelu_tanh, by sigmoid": "p = Mul(x, x) \n q = Mul(p, d) \n r = Add(q, one) \n s = Mul(x, r)"
    " \n t = Mul(s, c2)"
    " \n u = Sigmoid(t) \n y = Mul(u, x)",
    "silu": "a = Sigmoid(x) \n y = Mul(x, a)",
    "sigmoid": "y = Sigmoid(x)",
    "tanh": "y = Tanh(x)",
    "mish": "y = Mish(x)",
    "mish, written out": "a = Softplus(x) \n b = Tanh(a) \n y = Mul(x, b)",
    "hard_swish": "y = HardSwish(x)",
    "hard_sigmoid": "y = HardSigmoid<alpha = 0.16666667, beta = 0.5>(x)",
    "hard_swish, by its sigmoid": "a = HardSigmoid<alpha = 0.16666667, beta = 0.5>(x) \n y = Mul(x, a)",
    "hard_swish, by relu6": "a = Add(x, three) \n b = Clip(a, zero, six) \n c1 = Mul(x, b) \n y = Div(c1, six)",
    "relu6": "y = Clip(x, zero, six)",
    "relu, by Max": "y = Max(x, zero)",
    "relu, by a bound on one side": "y = Clip(x, zero)",
}


def value_of(body: str, extra: str = ""):
    used = {
        k: np.asarray(v, np.float32)
        for k, v in CONSTANTS.items()
        if f" {k})" in body or f"({k}," in body or f" {k}," in body
    }
    return parse(HEAD + body + extra + "}", **used).graph


@pytest.mark.parametrize("form", FORMS)
def test_every_form_is_found(form: str) -> None:
    graph = value_of(FORMS[form])
    found = match_activation(graph.outputs[0])
    assert found is not None
    assert found.name == form.split(",")[0]
    assert found.source is graph.inputs[0]
    assert set(found.nodes) == set(graph)


@pytest.mark.parametrize(
    "body",
    [
        "y = Clip(x, zero, ten)",
        "y = Clip(x, zero, huge)",
        "a = Mul(x, small) \n b = Clip(a, zero, ten) \n y = Div(b, small)",
        "a = Relu(x) \n y = Min(a, big)",
        "a = HardSigmoid<alpha = 0.16666667, beta = 0.5>(x) \n b = Clip(x, minus, ten) \n y = Mul(a, b)",
        "a = Relu(x) \n y = Add(a, tiny)",
        "a = Sigmoid(x) \n y = Add(a, tiny)",
        "y = Max(x, tiny)",
        "a = Sigmoid(x) \n b = Mul(x, a) \n y = Max(b, wide)",
        "y = Mul(x, half)",
        "a = Sigmoid(x) \n y = Mul(a, a)",
        "a = Erf(x) \n b = Add(a, one) \n y = Mul(x, b)",
        "y = Add(x, x)",
    ],
)
def test_what_is_no_known_activation_is_not_found(body: str) -> None:
    assert match_activation(value_of(body).outputs[0]) is None


def test_an_activation_whose_inside_is_read_elsewhere_is_not_found() -> None:
    graph = parse("g (float[4] x) => (y, a) {a = Sigmoid(x) \n y = Mul(x, a)}").graph
    assert match_activation(graph.outputs[0]) is None


def test_an_activation_is_only_stripped_where_its_input_may_vanish() -> None:
    graph = parse("g (float[4] x) => (y, z) {a = Neg(x) \n y = Relu(a) \n z = Tanh(a)}").graph
    assert strip_activation(graph.outputs[0]).name == ""
