"""Operands that no definition can join: a refusal with their shapes, whatever the definition stumbles over."""

from __future__ import annotations

import pytest

from edgemtl.errors import UnsupportedError
from edgemtl.tvm_bridge.generic.call import Call, TensorType
from edgemtl.tvm_bridge.generic.lower import lower_call


@pytest.mark.parametrize(
    ("op", "shapes"),
    [
        ("LayerNormalization", [(2, 3), (1, 1, 2, 3)]),
        ("Mul", [(5, 6, 24), (5, 1, 6)]),
        ("Conv", [(1, 3, 4, 4), (2, 3, 1, 1), (1, 3, 4, 4)]),
    ],
)
def test_operands_that_do_not_fit_are_refused_with_their_shapes(op, shapes):
    operands = tuple(TensorType(shape, "float32") for shape in shapes)
    call = Call(op, 20, {}, operands, {}, operands[:1])
    with pytest.raises(UnsupportedError) as error:
        lower_call("node_7", call)
    listed = " and ".join(str(list(shape)) for shape in shapes)
    assert str(error.value).startswith(f"node_7: {op} is not defined for operands of shapes {listed}; replace the op")
