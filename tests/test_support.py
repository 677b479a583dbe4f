"""The table of supported operators has every operator in every column, and says what the tables of the compiler say."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import numpy as np
import pytest

from edgemtl import host
from edgemtl import operators as ops
from edgemtl.codegen.cpu.families import FAMILIES
from edgemtl.codegen.fpga import networks
from edgemtl.codegen.fpga.select import GROUPED, GROUPS, MATCHERS, NEVER, Left, select
from edgemtl.frontend import read_model
from edgemtl.hw.spec import read_spec
from edgemtl.lowering.ir import INPUT, OUTPUT, Constant, dense, make_step
from edgemtl.lowering.patterns import PATTERNS
from edgemtl.operators import Operator
from edgemtl.options import QuantiseOptions
from edgemtl.partition import partition
from edgemtl.processor import resolve
from edgemtl.quantize import build, qdq
from edgemtl.quantize.limits import LIMITS
from edgemtl.quantize.quantised_model import quantise
from edgemtl.support import COLUMNS, OPERATORS, find_entry
from edgemtl.support.page import COMMAND, PAGE, supported_page
from edgemtl.support.table import (
    ALGORITHMS,
    CONVERSIONS,
    FLOAT_FORMS,
    INTEGER_FORMS,
    OF_NODES,
    REASONS,
    ROUNDING,
)
from edgemtl.tvm_bridge.generic import Generic
from tests.support.frames import smooth_frames
from tests.support.models import build_and_export, small_config

IMAGE = f"{INPUT}image"

INTEGERS = {*FLOAT_FORMS, *CONVERSIONS, *ALGORITHMS, *OF_NODES}
FLOATS = {*OPERATORS} - INTEGERS


def implemented(column: str) -> set[type[Operator]]:
    return {operator for operator in OPERATORS if find_entry(operator, column).code}


@pytest.mark.parametrize("column", COLUMNS)
@pytest.mark.parametrize("operator", OPERATORS, ids=lambda operator: operator.__name__)
def test_every_operator_has_code_or_a_reason_and_not_both(operator: type[Operator], column: str) -> None:
    entry = find_entry(operator, column)
    assert bool(entry.code) != bool(entry.reason)
    assert bool(entry.code) != (operator in REASONS[column])


def _leaves(kind: type) -> set[type]:
    """The classes that nothing is derived from."""
    below = kind.__subclasses__()
    return {leaf for each in below for leaf in _leaves(each)} if below else {kind}


def test_the_table_has_every_operator_there_is() -> None:
    defined = {kind for kind in _leaves(Operator) if kind.__module__.startswith("edgemtl.operators.")}
    assert set(OPERATORS) == defined
    assert len(OPERATORS) == len(defined)


def test_an_operator_without_an_entry_is_an_error() -> None:
    with pytest.raises(KeyError, match="Elu"):
        find_entry(type("Elu", (Operator,), {}), "fp32")


def test_cpu_columns_agree_with_the_table_of_kernels() -> None:
    assert implemented("fp32") == set(FAMILIES) - INTEGERS | {*ROUNDING}
    assert implemented("int8") & INTEGERS == set(FAMILIES) & INTEGERS
    assert implemented("int8") & FLOATS == {*build.WRITERS, ops.LayerNorm} - {Generic}


def test_the_law_column_agrees_with_what_the_host_computes_in_numpy() -> None:
    assert implemented("law") & INTEGERS == INTEGERS & set(host.OPERATORS.values())
    assert implemented("law") & FLOATS == set(INTEGER_FORMS)


def test_the_qdq_column_agrees_with_its_writers() -> None:
    assert implemented("qdq") == set(qdq.steps.WRITERS) - {Generic}


def test_the_accelerator_column_agrees_with_its_groups() -> None:
    assert set(MATCHERS) == set(GROUPS) == set(get_args(networks.Group))
    assert implemented("accelerator") & INTEGERS == GROUPED
    assert not GROUPED & set(NEVER)


@pytest.mark.parametrize("operator", [ops.QCurve(8), ops.Quantise(8, "int8", 2.0, 0)])
def test_reasons_of_the_accelerator_are_what_check_prints(operator: Operator) -> None:
    signature = operator.signature
    (x,), (y,) = signature.inputs.values(), signature.outputs.values()
    constants = {name: [Constant(name, np.zeros(of.shape, of.dtype))] for name, of in signature.constants.items()}
    views = {"x": dense(IMAGE, x.shape, x.dtype), "y": dense(OUTPUT, y.shape, y.dtype)}
    step = make_step(operator, views, constants, ("n",))
    assert select([step], read_spec("zcu104").engine) == [Left(step, find_entry(type(operator), "accelerator").reason)]


def test_integer_forms_are_what_quantisation_makes(tmp_path: Path) -> None:
    model = read_model(build_and_export(small_config(head_channels=(12, 8, 6)), 1, tmp_path)[1])
    images = {str(i): image for i, image in enumerate(smooth_frames(model.inputs[0], 8))}
    tasks = partition(model, [task.name for task in model.tasks], "exact")
    quantised = quantise(model, tasks, resolve("cpu-avx2"), images, QuantiseOptions())
    seen: dict[type, set[type]] = {}
    for name, task in quantised.integers.items():
        for step, source in zip(task.steps, task.sources, strict=True):
            if type(step.operator) not in (*CONVERSIONS, ops.QCopy):
                seen.setdefault(type(quantised.floats[name][source].operator), set()).add(type(step.operator))
    assert seen == {kind: set(INTEGER_FORMS[kind]) for kind in seen}
    assert {ops.PatchEmbed, ops.Attention, ops.Experts, ops.Conv2d, ops.Resize} <= set(seen)


def test_patterns_make_every_float_operator_and_no_other() -> None:
    made = [operator for operators in PATTERNS.values() for operator in operators]
    assert set(made) == FLOATS | {*ROUNDING}
    assert set(LIMITS) <= FLOATS


def test_the_page_is_current() -> None:
    assert PAGE.read_text(encoding="utf-8") == supported_page(), f"run {COMMAND}"
