"""Operands by the names that ONNX's definitions give them."""

from __future__ import annotations

import onnx
import onnx_ir as ir
import pytest

from edgemtl.errors import InternalError
from edgemtl.frontend.moe_node import OPSET, MoEAttributes, function_proto
from edgemtl.graph import input_names, main_input, operand, replace_operand, result

X, W, B = (ir.Value(name=name) for name in "XWB")


def test_operands_by_name():
    node = ir.node("Conv", [X, W])
    assert operand(node, "X") is main_input(node) is X
    assert operand(node, "W") is W
    assert operand(node, "B") is None
    assert result(node).producer() is node


def test_an_operand_left_out_in_the_middle():
    node = ir.node("Resize", [X, None, W])
    assert operand(node, "roi") is None
    assert operand(node, "scales") is W
    assert operand(node, "sizes") is None


@pytest.mark.parametrize(("op", "names"), [("Conv", "X, W, B"), ("Concat", "none"), ("NoSuchOperator", "none")])
def test_a_name_that_the_operator_does_not_have(op, names):
    for ask in (operand, lambda node, name: replace_operand(node, name, W)):
        with pytest.raises(InternalError, match=f"^an operand of {op} must be one of {names}, not weight$"):
            ask(ir.node(op, [X]), "weight")


def test_an_operand_can_be_added():
    node = ir.node("Conv", [X, W])
    replace_operand(node, "B", B)
    replace_operand(node, "W", B)
    assert tuple(node.inputs) == (X, B, B)


def test_the_standard_domain_has_two_names():
    assert input_names("ai.onnx", "Gemm") == input_names("", "Gemm") == ("A", "B", "C")


def test_names_do_not_depend_on_the_opset():
    """A model keeps its own opset from `OPSET` on, and the names are those of the newest."""
    newest = onnx.defs.onnx_opset_version()
    for schema in onnx.defs.get_all_schemas_with_history():
        if schema.domain == "" and not schema.deprecated and onnx.defs.get_schema(schema.name, newest, "").deprecated:
            continue
        if schema.domain == "" and onnx.defs.has(schema.name, OPSET, "") and schema.since_version >= OPSET:
            known = input_names("", schema.name)
            assert known[: len(schema.inputs)] == tuple(formal.name for formal in schema.inputs)[: len(known)]


def test_our_mixture_has_the_inputs_of_its_function():
    assert input_names("edgemtl", "MoE") == tuple(function_proto(MoEAttributes(k=1, gated=True)).input)
