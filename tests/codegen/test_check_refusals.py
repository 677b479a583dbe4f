"""A refusal is a report of the node that it names."""

from __future__ import annotations

from dataclasses import replace

from edgemtl.codegen.cpu import check, mark_refusal
from edgemtl.errors import UnsupportedError
from edgemtl.processor import resolve
from tests.codegen.graphs import random
from tests.codegen.test_generic import IMAGE, task_of


def test_a_refusal_names_the_node_and_its_kind() -> None:
    text = f"""t ({IMAGE}) => (float[1,4,8,12] y) {{
        a = Conv<pads = [1, 1, 1, 1]>(image, w) \n y = Relu(a) }}"""
    task = task_of(text, w=random(4, 3, 3, 3))
    first = check([task], resolve("cpu-a53"))[0]
    reports = check([task], resolve("cpu-a53"))
    report = mark_refusal(reports, UnsupportedError(first.node, "it cannot be", "change it"), [task])[0]
    assert report == replace(first, how="unsupported", reason="it cannot be", hint="change it", where="")
    assert report.op in ("Conv", "Relu")
    unknown = mark_refusal(reports, UnsupportedError("the tasks' end", "it cannot be", "change it"), [task])[-1]
    assert (unknown.node, unknown.op, unknown.tasks) == ("the tasks' end", "", ("t",))
