"""A step that does not fit its operator's signature is named before anything is made of it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from edgemtl import operators as ops
from edgemtl.lowering.ir import INPUT, OUTPUT, Constant, Step, View, dense, make_step
from edgemtl.lowering.verify import VerificationError, verify

IMAGE = f"{INPUT}image"

WEIGHT, BIAS = Constant("w", np.zeros((8, 16), np.float32)), Constant("b", np.zeros(16, np.float32))
LINEAR = make_step(
    ops.Linear(4, 8, 16, "", False),
    {"x": dense(IMAGE, (4, 8)), "y": dense(OUTPUT, (4, 16))},
    {"weight": WEIGHT, "bias": BIAS},
    ("fc",),
)
TURNED = ops.Copy((3, 4), (1, 3), (4, 1))


def copy(source: View, target: View) -> Step:
    return make_step(TURNED, {"x": source, "y": target}, {}, ("t",))


def test_steps_that_fit_pass() -> None:
    verify("lowering", [LINEAR])
    verify("lowering", [copy(View(IMAGE, (3, 4), (1, 3)), dense(OUTPUT, (3, 4)))])


FAULTS = [
    (
        replace(LINEAR, inputs=(dense(IMAGE, (3,), "int8"),)),
        r"after lowering, step 0 \(Linear of fc\): x must be float32\[4, 8\], not int8\[3\]",
    ),
    (replace(LINEAR, inputs=(dense(IMAGE, (8, 4)),)), r"x must be float32\[4, 8\], not float32\[8, 4\]"),
    (replace(LINEAR, outputs=(dense(OUTPUT, (2,)),)), r"y must be float32\[4, 16\], not float32\[2\]"),
    (replace(LINEAR, inputs=(*LINEAR.inputs, dense("z", (9,)))), "the number of inputs must be 1, not 2"),
    (replace(LINEAR, constants=(WEIGHT,)), "the number of constants must be 2, not 1"),
    (replace(LINEAR, constants=(WEIGHT, WEIGHT)), r"bias must be float32\[16\], not float32\[8, 16\]"),
    (replace(LINEAR, inputs=(dense("a", (4, 8)),)), "it reads a, which no step before writes"),
    (replace(LINEAR, inputs=(View(IMAGE, (4, 8), (1, 4)),)), "input/image must lie row-major without gaps"),
    (replace(LINEAR, inputs=(View(IMAGE, (4, 8), (8, 1), 1),)), "input/image must lie row-major without gaps"),
    (
        copy(dense(IMAGE, (3, 4)), dense(OUTPUT, (3, 4))),
        r"input/image must have the copy's strides \[1, 3\] and shape \[3, 4\]",
    ),
    (
        copy(View(IMAGE, (3, 4), (1, 3)), dense(OUTPUT, (3, 4), "int32")),
        "a copy must not change types, from float32 to int32",
    ),
]


@pytest.mark.parametrize(("step", "text"), FAULTS)
def test_a_step_that_does_not_fit_is_named(step: Step, text: str) -> None:
    with pytest.raises(VerificationError, match=text):
        verify("lowering", [step])


def test_other_names_than_the_signature_has() -> None:
    with pytest.raises(KeyError, match=r"Linear must have operands \['bias', 'weight', 'x', 'y'\], and \['residual'\]"):
        make_step(
            LINEAR.operator,
            {"x": dense(IMAGE, (4, 8)), "y": dense(OUTPUT, (4, 16)), "residual": dense("r", (4, 16))},
            {"weight": WEIGHT, "bias": BIAS},
        )


def test_a_value_read_in_a_type_it_was_not_written_in() -> None:
    written = replace(LINEAR, outputs=(dense("a", (4, 16)),))
    views = {"x": dense("a", (4, 16), "int32"), "y": dense(OUTPUT, (4, 16), "int32")}
    reading = make_step(ops.Copy((4, 16), (16, 1), (16, 1)), views, {}, ("t",))
    with pytest.raises(VerificationError, match="it reads a, which no step before writes in int32"):
        verify("quantisation", [written, reading])
