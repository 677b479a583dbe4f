"""Passes apply in order, and what they ensure is tested after each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import permutations

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from edgemtl.errors import InternalError
from edgemtl.frontend import pipeline, read_model
from edgemtl.frontend.draft import Draft
from edgemtl.frontend.passes import Pass, Property, check_order, run_passes
from edgemtl.frontend.pipeline import PASSES
from edgemtl.frontend.wellformed import find_flaw
from edgemtl.graph import result

SORTED = Property[list[int]]("numbers are sorted", lambda numbers: None if sorted(numbers) == numbers else f"{numbers}")
SORT = Pass[list[int]]("sort", lambda numbers: (sorted(numbers), ("sorted",)), ensures=(SORTED,))
NEGATE = Pass[list[int]]("negate", lambda numbers: ([-n for n in numbers], ()))
SEARCH = Pass[list[int]]("search", lambda numbers: (numbers, (f"last {numbers[-1]}",)), requires=(SORTED,), looks=True)


def test_notes_come_in_order_of_the_passes():
    assert run_passes((SORT, SEARCH), [3, 1, 2]) == ([1, 2, 3], ("sorted", "last 3"))


def test_an_order_mistake_names_both_passes():
    with pytest.raises(
        InternalError, match=r"^pass 'search' requires that .* sorted; pass 'sort' must come before it$"
    ):
        run_passes((SEARCH, SORT), [3, 1, 2])
    with pytest.raises(InternalError, match=r"^pass 'search' requires that .* sorted; no pass ensures that$"):
        run_passes((NEGATE, SEARCH), [3, 1, 2])


@pytest.mark.parametrize("broken", [replace(SORT, name="negate", run=NEGATE.run), NEGATE])
def test_a_pass_that_breaks_what_is_ensured(broken):
    with pytest.raises(InternalError, match=r"^after pass 'negate' it must hold that numbers are sorted, and \[-1, -2"):
        run_passes((SORT, broken), [1, 2])


def test_our_order_is_right_and_each_requirement_is_needed():
    check_order(PASSES)
    names = [step.name for step in PASSES]
    assert len(set(names)) == len(names)
    swapped = [(a, b) for a, b in permutations(PASSES, 2) if set(b.requires) & set(a.ensures)]
    assert len(swapped) > 20
    for earlier, later in swapped:
        with pytest.raises(InternalError, match=later.name):
            check_order((later, *(step for step in PASSES if step is not earlier and step is not later)))


def _break_proto(change: Callable[[onnx.GraphProto], None]) -> Callable[[Draft], None]:
    return lambda draft: change(draft.proto.graph)


def _break_graph(change: Callable[[ir.Graph], None]) -> Callable[[Draft], None]:
    return lambda draft: change(draft.ir.graph)


def _reverse(graph: onnx.GraphProto) -> None:
    nodes = [onnx.NodeProto.FromString(node.SerializeToString()) for node in graph.node]
    del graph.node[:]
    graph.node.extend(reversed(nodes))


def _compute_twice(graph: onnx.GraphProto) -> None:
    graph.node.append(graph.node[0])


def _lose_output(graph: onnx.GraphProto) -> None:
    graph.output[0].name = "nothing"


def _use_microsoft(graph: ir.Graph) -> None:
    graph.append(ir.node("Gelu", [graph.inputs[0]], domain="com.microsoft"))


def _share_a_name(graph: ir.Graph) -> None:
    nodes = list(graph)
    result(nodes[0]).name = result(nodes[1]).name


def _read_ahead(graph: ir.Graph) -> None:
    nodes = list(graph)
    nodes[0].replace_input_with(0, result(nodes[1]))


def _forget_a_shape(graph: ir.Graph) -> None:
    result(next(iter(graph))).shape = None


def _add_dead_code(graph: ir.Graph) -> None:
    graph.append(ir.node("Relu", [graph.inputs[0]], name="dead"))


def _take_a_foreign_output(graph: ir.Graph) -> None:
    graph.outputs[0] = ir.Value(name="foreign")


def _add_an_input(graph: ir.Graph) -> None:
    graph.inputs.append(ir.Value(name="other"))


BREAKS = [
    ("convert the opset", _break_proto(_reverse), "node relu reads hidden, which no node before it computes"),
    ("convert the opset", _break_proto(_compute_twice), "two values have the name hidden"),
    ("drop windows in padding", _break_proto(_lose_output), "nothing computes the output nothing"),
    ("fix the batch", _break_graph(_use_microsoft), "is Gelu"),
    ("simplify", _break_graph(_share_a_name), "two values have the name"),
    ("simplify", _break_graph(_read_ahead), "which no node before it computes"),
    ("fuse", _break_graph(_take_a_foreign_output), "nothing computes the output foreign"),
    ("finish", _break_graph(_add_dead_code), "nothing reads node dead"),
    ("finish", _break_graph(_add_an_input), "input other is"),
    ("check types and shapes", _break_graph(_forget_a_shape), "of shape None"),
]


def _model() -> onnx.ModelProto:
    helper = onnx.helper
    nodes = [
        helper.make_node("Conv", ["image", "weight"], ["hidden"], name="conv"),
        helper.make_node("Relu", ["hidden"], ["map"], name="relu"),
    ]
    image, output = (helper.make_tensor_value_info(n, 1, [1, 2, 4, 4]) for n in ("image", "map"))
    weight = onnx.numpy_helper.from_array(np.ones((2, 2, 1, 1), np.float32), "weight")
    graph = helper.make_graph(nodes, "g", [image], [output], [weight])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


@pytest.mark.parametrize(("name", "break_it", "text"), BREAKS)
def test_a_broken_pass_is_an_internal_error(monkeypatch, tmp_path, name, break_it, text):
    onnx.save(_model(), tmp_path / "m.onnx")
    assert read_model(tmp_path / "m.onnx").notes

    def broken(step: Pass[Draft]) -> Pass[Draft]:
        def run(draft: Draft) -> tuple[Draft, tuple[str, ...]]:
            after, notes = step.run(draft)
            break_it(after)
            return after, notes

        return replace(step, run=run)

    passes = tuple(broken(step) if step.name == name else step for step in pipeline.PASSES)
    monkeypatch.setattr("edgemtl.frontend.reader.PASSES", passes)
    with pytest.raises(InternalError, match=f"^after pass '{name}' it must hold that .*{text}"):
        read_model(tmp_path / "m.onnx")


def test_subgraphs_see_what_is_around_them_and_nobody_sees_into_them():
    helper = onnx.helper
    output = helper.make_empty_tensor_value_info("y")
    inner = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "inner", [], [output])
    branch = helper.make_node("If", ["c"], ["z"], then_branch=inner, else_branch=inner)
    values = [helper.make_tensor_value_info(name, kind, [1]) for name, kind in (("x", 1), ("c", 9), ("z", 1))]
    model = helper.make_model(helper.make_graph([branch], "g", values[:2], values[2:]))
    assert find_flaw(model) is find_flaw(ir.from_proto(model)) is None
    model.graph.node.append(helper.make_node("Neg", ["y"], ["w"], name="neg"))
    assert find_flaw(model) == "node neg reads y, which no node before it computes"
    del model.graph.node[1:]
    model.graph.node[0].attribute[0].g.node[0].input[0] = "missing"
    assert find_flaw(model) == "node  reads missing, which no node before it computes"
    assert "reads missing" in (find_flaw(ir.from_proto(model)) or "")
