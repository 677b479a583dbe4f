"""Nodes that a board has nothing for are reported, all of them, before any integers are made."""

from __future__ import annotations

from dataclasses import replace

from edgemtl.codegen.cpu import check
from edgemtl.codegen.fpga.check import find_without_integers, report_refusal
from edgemtl.errors import UnsupportedError
from edgemtl.tvm_bridge.target import resolve
from tests.codegen.graphs import random
from tests.codegen.test_generic import CONV, IMAGE, task_of


def test_nodes_that_run_through_relax_have_no_integers() -> None:
    text = f"""t ({IMAGE}) => (float[1,4,4,6] y) {{
        {CONV} \n b = MaxPool<kernel_shape = [2, 2], strides = [2, 2]>(a) \n y = Sigmoid(b) }}"""
    found = find_without_integers([task_of(text, w=random(4, 3, 3, 3))])
    assert [report.op for report in found] == ["MaxPool", "Sigmoid"]
    assert {report.how for report in found} == {"unsupported"}
    assert all(report.reason.startswith("it has no integer form: ") for report in found)


def test_a_refusal_names_the_node_and_its_kind() -> None:
    text = f"""t ({IMAGE}) => (float[1,4,8,12] y) {{
        a = Conv<pads = [1, 1, 1, 1]>(image, w) \n y = Relu(a) }}"""
    task = task_of(text, w=random(4, 3, 3, 3))
    first = check([task], resolve("cpu-a53"))[0]
    report = report_refusal([task], UnsupportedError(first.node, "it cannot be", "change it"))
    assert report == replace(first, how="unsupported", reason="it cannot be", hint="change it")
    assert report.op in ("Conv", "Relu")
    unknown = report_refusal([task], UnsupportedError("the tasks' end", "it cannot be", "change it"))
    assert (unknown.node, unknown.op, unknown.tasks) == ("the tasks' end", "", ("t",))
