"""Writes docs/operators.md: every generic operator, what was tried of it and how it came out.

python -m tests.conformance.table
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import onnx

from edgemtl.frontend.contrib.table import STANDARD
from edgemtl.frontend.operators import REFUSED
from edgemtl.frontend.prepare import BY_ONNX
from edgemtl.tvm_bridge.generic.operators import OPERATORS
from tests.conformance.forms import all_forms
from tests.conformance.run import Outcome, run_form

DOCUMENT = Path(__file__).parents[2] / "docs" / "operators.md"
EXPANDED = sorted({*BY_ONNX, *STANDARD} & {schema.name for schema in onnx.defs.get_all_schemas()} - set(OPERATORS))
TRIED = {form.op for form in all_forms()}
# Parts of the reasons for which a form may be refused.
REASONS = (
    "must have fmod = 1",
    "onnxruntime",
    "cannot be converted",
    "must not start in the padding",
    "may give",
    "must not have the size of the result",
    "must not be larger than",
    "must add less than",
    "it does not depend on the image",
)
HEAD = """# Generic operators

Linear layers, convolutions, attention, mixtures of experts, LayerNorm and bilinear upsampling run in tuned kernels.
Every other node runs in a *generic* kernel: correct, not tuned. `edgemtl check MODEL` says which node is which.

Each generic operator is defined once, in `edgemtl/tvm_bridge/generic/`, by the rules of opset 20 and newer; older
models are converted first. `make conformance` writes this table. A form is a model of one node. Each is compiled, run
on two images (one balanced, one skewed) and compared with onnxruntime without graph optimisation, or with onnx's own
reference if onnxruntime lacks the form.

*Equal* counts forms within tolerance, *refused* those that edgemtl refuses, and *no oracle* those that neither
reference runs. *Largest error* is relative to the largest value of the output.

| operator | opsets tried | forms | equal | refused | no oracle | largest error |
|---|---|---|---|---|---|---|
"""
TAIL = """
## Refused

An attribute that a definition does not know is refused by name, and so is a result whose shape or type differs from
what ONNX infers. {expanded} are expanded into the operators that ONNX defines them with. These are refused:

{undefined}.
"""


def main() -> None:
    """Run every form and write the document."""
    with ProcessPoolExecutor() as pool:
        outcomes = list(pool.map(run_form, all_forms(), chunksize=8))
    wrong = [o for o in outcomes if o.verdict == "wrong"]
    for outcome in wrong:
        print(f"wrong: {outcome.form.name}: {outcome.error:.1e}")
    DOCUMENT.write_text(document(outcomes))
    verdicts = [outcome.verdict for outcome in outcomes]
    print(", ".join(f"{verdicts.count(v)} {v}" for v in ("equal", "refused", "none", "wrong")), "of", len(outcomes))
    raise SystemExit(bool(wrong))


def document(outcomes: list[Outcome]) -> str:
    """The text of docs/operators.md."""
    rows = [_row(op, [o for o in outcomes if o.form.op == op]) for op in sorted({*OPERATORS, *TRIED})]
    undefined = textwrap.fill(", ".join(_undefined()), 120)
    return HEAD + "".join(rows) + TAIL.format(undefined=undefined, expanded=", ".join(EXPANDED))


def _row(op: str, outcomes: list[Outcome]) -> str:
    counts = [sum(o.verdict == verdict for o in outcomes) for verdict in ("equal", "refused", "none")]
    opsets = ", ".join(map(str, sorted({o.form.opset for o in outcomes})))
    error = max((o.error for o in outcomes if o.verdict == "equal"), default=0.0)
    cells = (f"`{op}`", opsets, len(outcomes), *counts, f"{error:.0e}" if error else "0")
    return f"| {' | '.join(map(str, cells))} |\n"


def _undefined() -> Iterable[str]:
    folded = {"Constant", "ConstantOfShape", "Range", "Shape", "Size"}
    names = {s.name for s in onnx.defs.get_all_schemas() if s.domain == "" and not s.deprecated}
    return sorted(names - set(OPERATORS) - folded - set(EXPANDED) | set(REFUSED))


def names_in(text: str) -> set[str]:
    """The operators of the document's table."""
    return set(re.findall(r"^\| `(\w+)` \|", text, re.M))


if __name__ == "__main__":
    main()
