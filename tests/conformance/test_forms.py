"""Forms of every generic operator through the whole compiler, against onnxruntime or onnx's reference."""

from __future__ import annotations

import pytest

from edgemtl.tvm_bridge.generic.operators import OPERATORS
from tests.conformance.form import Form
from tests.conformance.forms import all_forms
from tests.conformance.run import run_form
from tests.conformance.table import DOCUMENT, REASONS, names_in

LEAST_FORMS = 600
CHUNKS = 40


def judge(form: Form) -> None:
    """Equal to the oracle, or refused for a stated reason."""
    outcome = run_form(form)
    assert outcome.verdict in ("equal", "refused", "none"), f"{form.name}: error {outcome.error:.1e}"
    if outcome.verdict == "refused":
        assert any(reason in outcome.reason for reason in REASONS), f"{form.name}: {outcome.reason}"


def sample() -> list[Form]:
    """One form of each operator: of its newest version, the first."""
    newest = {op: max(form.opset for form in all_forms() if form.op == op) for op in OPERATORS}
    return [next(f for f in all_forms() if f.op == op and f.opset == opset) for op, opset in newest.items()]


@pytest.mark.parametrize("form", sample(), ids=lambda form: form.op)
def test_an_operator_is_right(form: Form) -> None:
    judge(form)


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("chunk", range(CHUNKS))
def test_every_form_is_right_or_refused(chunk: int) -> None:
    for form in all_forms()[chunk::CHUNKS]:
        judge(form)


def test_every_definition_has_forms() -> None:
    assert {form.op for form in all_forms()} >= set(OPERATORS)
    assert len(all_forms()) >= LEAST_FORMS


def test_the_table_of_operators_names_each() -> None:
    assert names_in(DOCUMENT.read_text()) >= set(OPERATORS)
