"""Every form that is tried: for each operator its attributes, operands and opsets, by family."""

from __future__ import annotations

from functools import cache

from tests.conformance import (
    elementwise_forms,
    function_forms,
    geometry_forms,
    indexing_forms,
    norm_forms,
    reduction_forms,
    sequential_forms,
)
from tests.conformance.form import Form

FAMILIES = (
    elementwise_forms,
    reduction_forms,
    indexing_forms,
    sequential_forms,
    geometry_forms,
    norm_forms,
    function_forms,
)


@cache
def all_forms() -> tuple[Form, ...]:
    """Every form once, by name."""
    return tuple({form.name: form for family in FAMILIES for form in family.forms()}.values())
