"""Which integer convolutions go by Winograd's algorithm, and what a memory budget makes of them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from edgemtl.codegen.cpu.memory import fit_integers
from edgemtl.codegen.cpu.winograd import gains
from edgemtl.errors import BudgetError
from edgemtl.hw.law import Finish
from edgemtl.lowering.ir import INPUT, OUTPUT, Constant, Lowered, dense, make_step
from edgemtl.operators import QConv2d, Quantise
from edgemtl.processor import CpuTarget, resolve

AVX2, VNNI = resolve("cpu-avx2"), resolve("cpu-avx512-vnni")
CONV = QConv2d(20, 20, 32, 40, 20, 20, (3, 3), (1, 1), (1, 1, 1, 1), (1, 1), 0, Finish("int8"))


@pytest.mark.parametrize(
    ("change", "target", "expected"),
    [
        ({}, AVX2, True),
        ({}, VNNI, True),
        ({}, resolve("cpu-a53"), False),
        ({"stride": (2, 2)}, AVX2, False),
        ({"dilation": (2, 2)}, AVX2, False),
        ({"pad": (0, 0, 0, 0)}, AVX2, False),
        ({"kernel": (3, 1)}, AVX2, False),
        ({"groups": 32, "cout": 32}, AVX2, False),
        ({"cin": 7}, AVX2, False),
        ({"cin": 15}, VNNI, False),
        ({"cin": 3640}, AVX2, True),
        ({"cin": 3641}, AVX2, False),
        ({"height": 1, "width": 400}, AVX2, False),
        ({"height": 4, "width": 16}, AVX2, True),
        ({"height": 4, "width": 12}, AVX2, False),
        ({"height": 4, "width": 16}, resolve("cpu-avx512"), False),
    ],
)
def test_a_convolution_goes_by_winograd_where_it_gains(
    change: dict[str, object], target: CpuTarget, expected: bool
) -> None:
    assert gains(replace(CONV, **change), target) is expected  # type: ignore[arg-type]  # by name


def lowered() -> Lowered:
    image = dense("x", (400, 32), "int8")
    constants = {
        "weight": Constant("w", np.ones((40, 32, 3, 3), np.int8)),
        "bias": Constant("b", np.zeros(40, np.int32)),
        "scale": Constant("s", np.full(40, 20 << 17, np.int32)),
    }
    views = {"x": dense(f"{INPUT}image", (12800,)), "y": dense("x", (12800,), "int8")}
    source = make_step(Quantise(12800, "int8", 1.0, 0), views, {})
    conv = make_step(CONV, {"x": image, "y": dense(OUTPUT, (400, 40), "int8")}, constants)
    return Lowered("t", (source, conv))


def test_a_budget_takes_the_algorithm_away_and_what_cannot_fit_is_refused() -> None:
    whole = fit_integers([lowered()], AVX2, None)
    assert [bound.kernel.symbol.partition("_")[0] for bound in whole.tasks[0]] == ["quantise", "qwinograd"]
    assert whole.prepared_bytes == 36 * 32 * 40 * 2
    tight = fit_integers([lowered()], AVX2, whole.required_bytes - 1)
    assert [bound.kernel.symbol.partition("_")[0] for bound in tight.tasks[0]] == ["quantise", "qconv"]
    assert (tight.prepared_bytes, len(tight.slowed)) == (0, 1)
    with pytest.raises(BudgetError, match="the smallest program found needs"):
        fit_integers([lowered()], AVX2, 100)
