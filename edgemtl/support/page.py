"""docs/supported_ops.md, written from the table. ``python -m edgemtl.support.page`` writes it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

from edgemtl.codegen.fpga.networks import LAYER_NAMES, grouped
from edgemtl.codegen.fpga.select import GROUPS, NO_INSTRUCTION
from edgemtl.lowering.match import Matcher
from edgemtl.lowering.patterns import PATTERNS
from edgemtl.operators import Operator
from edgemtl.quantize.limits import LIMITS, NO_FORM
from edgemtl.quantize.lookups import FUNCTIONS
from edgemtl.quantize.nodes import MOVES
from edgemtl.support.table import COLUMNS, OPERATORS, Entry, find_entry, integer_forms

PAGE: Final = Path(__file__).resolve().parents[2] / "docs" / "supported_ops.md"
COMMAND: Final = "python -m edgemtl.support.page"

HEAD: Final = f"""<!-- `{COMMAND}` writes this page from edgemtl/support/table.py; change that table, not the page. -->

# Supported operators

`edgemtl check MODEL --target TARGET` says for every node of your model how it runs, and why. This page lists what is
possible.

## What a model may contain

Each row is a pattern of ONNX nodes that runs in tuned kernels. The accelerator runs an operator only as part of a
group; the groups are listed below. If the nodes around an operator do not form a group, it runs on the host CPU.
"""
GROUPS_HEAD: Final = """
## Groups of the accelerator
"""
FUNCTION_NAMES: Final = ", ".join(sorted(FUNCTIONS))
MOVE_NAMES: Final = ", ".join(sorted(MOVES))
GENERIC: Final = f"""
**Every other node** runs in a generic kernel, which is correct but not tuned. [Generic operators](operators.md) lists
them with how each was tested. With `--precision int8`, functions of single elements become tables of 256 bytes, if
their other operands are constant and the same for all elements or for each channel: {FUNCTION_NAMES}.
So do, in forms of their own, MatMul and Einsum of two operands,
Softmax, InstanceNormalization, LayerNormalization, LpNormalization and RMSNormalization, ReduceMax, ReduceMean and
ReduceSum, ArgMax and ArgMin, Add, Sub, Mul and Div with a constant, and what moves elements by constant indices:
{MOVE_NAMES}.
Any other such node runs in float32 between conversions, because {NO_FORM} (`--require-int8` refuses it). For a board
it runs on the host CPU. An operator that is not listed there is refused by name.
"""
DETAIL: Final = """
## Every operator of the compiler

For contributors: the code of each operator, or the reason why there is none. A float32 operator has entries in the
columns *int8*, *law* and *accelerator* through its integer form. *law* is the exact integer definition
([integer law](integer_law.md)), *qdq* the form in a QDQ ONNX file ([quantisation](quantisation.md)).
[Extending](extending.md) says how to add an operator.
"""


def supported_page() -> str:
    """docs/supported_ops.md."""
    rows = [_pattern_row(matcher) for matcher in PATTERNS]
    table = _table(("ONNX nodes", "float32", "int8", "accelerator"), rows)
    detail = _table(("operator", *COLUMNS), [_operator_row(operator) for operator in OPERATORS])
    groups = _table(("group", "what it consists of"), [(_group_name(group), text) for group, text in GROUPS.items()])
    return "\n".join((HEAD, *table, GENERIC.rstrip("\n"), GROUPS_HEAD, *groups, DETAIL, *detail)) + "\n"


def _table(names: tuple[str, ...], rows: list[tuple[str, ...]]) -> Iterator[str]:
    yield from (f"| {' | '.join(row)} |" for row in (names, ("---",) * len(names), *rows))


def _pattern_row(matcher: Matcher) -> tuple[str, ...]:
    operators = PATTERNS[matcher]
    nodes = " ".join((matcher.__doc__ or "").split()).removesuffix(".")
    return nodes, "yes", _in_int8(operators), _on_accelerator(operators)


def _in_int8(operators: tuple[type[Operator], ...]) -> str:
    limits = dict.fromkeys(limit for operator in operators for limit in LIMITS.get(operator, ()))
    return "; ".join(("yes", *limits))


def _on_accelerator(operators: tuple[type[Operator], ...]) -> str:
    if not operators:
        return f"no: {NO_INSTRUCTION}"
    forms = {form for operator in operators for form in integer_forms(operator)}
    groups = [_group_name(group) for group in GROUPS if forms & grouped(group)]
    return f"in {', '.join(groups)}" if groups else f"no: {find_entry(operators[0], 'accelerator').reason}"


def _group_name(group: type) -> str:
    return LAYER_NAMES[group]


def _operator_row(operator: type[Operator]) -> tuple[str, ...]:
    return (f"`{operator.__name__}`", *(_cell(find_entry(operator, column)) for column in COLUMNS))


def _cell(entry: Entry) -> str:
    return ", ".join(f"`{name}`" for name in entry.code) or f"no: {entry.reason}"


if __name__ == "__main__":
    PAGE.write_text(supported_page(), encoding="utf-8")
