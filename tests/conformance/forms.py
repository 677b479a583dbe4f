"""Every form that is tried: for each operator its attributes, operands and opsets, by family."""

from __future__ import annotations

from functools import cache


from tests.conformance import elementwise_forms, indexing_forms, reduction_forms, sequential_forms
from tests.conformance.form import Form




@cache
def all_forms() -> tuple[Form, ...]:
    """Every form once, by name."""
    families = (elementwise_forms, reduction_forms, indexing_forms, sequential_forms)
    return tuple({form.name: form for family in families for form in family.forms()}.values())
