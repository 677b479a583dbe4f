"""What torch's exporter writes around a softmax: a mask that masks nothing, and a guard against rows without a key."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from edgemtl.frontend import read_model
from edgemtl.frontend.guards import drop_softmax_guards
from edgemtl.frontend.session import open_session, run_session
from tests.codegen.graphs import parse, random
from tests.support.run import assert_same, random_image, run_canonical, run_onnx

GUARDED = """t (float[2,4,6] q, float[2,6,5] k) => (y) {
    m = MatMul(q, k)
    SCORES
    p = Softmax<axis = AXIS>(s)
    n = IsNaN(p)
    y = Where(n, zero, p)
}"""
ZERO = np.float32(0)


def _without(text: str, **constants: np.ndarray) -> list[str]:
    """Operators after guards are dropped; results are those of onnxruntime with them."""
    model = parse(text, **{"zero": ZERO, **constants})
    feed = {"q": random(2, 4, 6), "k": random(2, 6, 5, seed=1)}
    before = run_session(open_session(ir.to_proto(model), optimised=False), feed)
    drop_softmax_guards(model)
    after = run_session(open_session(ir.to_proto(model), optimised=False), feed)
    assert before is not None
    assert after is not None
    for one, other in zip(before, after, strict=True):
        np.testing.assert_array_equal(one, other)
    producer = model.graph.outputs[0].producer()
    return [producer.op_type] if producer is not None else []


def _text(scores: str, axis: int = -1) -> str:
    return GUARDED.replace("SCORES", scores).replace("AXIS", str(axis))


def _mask(*cells: tuple[int, int]) -> np.ndarray:
    mask = np.zeros((4, 5), np.float32)
    for cell in cells:
        mask[cell] = -np.inf
    return mask


@pytest.mark.parametrize(
    ("scores", "constants"),
    [
        ("s = Mul(m, c)", {"c": np.float32(0.3)}),
        ("s = Div(m, c)", {"c": np.float32(3)}),
        ("a = Mul(c, m) \n s = Add(a, b)", {"c": np.float32(0.3), "b": _mask((0, 1), (3, 0))}),
    ],
)
def test_a_guard_of_rows_with_keys_goes(scores: str, constants: dict[str, np.ndarray]) -> None:
    assert _without(_text(scores), **constants) == ["Softmax"]


@pytest.mark.parametrize(
    ("scores", "axis", "constants"),
    [
        ("s = Add(m, b)", -1, {"b": _mask(*((2, i) for i in range(5)))}),
        ("s = Add(m, b)", 1, {"b": _mask(*((i, 2) for i in range(4)))}),
        ("s = Add(m, b)", 0, {"b": _mask((0, 0))}),
        ("s = Add(m, b)", -1, {"b": np.full((4, 5), np.nan, np.float32)}),
        ("s = Mul(m, c)", -1, {"c": np.float32(np.inf)}),
        ("s = Div(c, m)", -1, {"c": np.float32(1)}),
        ("l = Log(m) \n s = Add(l, b)", -1, {"b": _mask()}),
    ],
)
def test_a_guard_that_may_be_needed_stays(scores: str, axis: int, constants: dict[str, np.ndarray]) -> None:
    assert _without(_text(scores, axis), **constants) == ["Where"]


def test_another_value_than_0_stays() -> None:
    assert _without(_text("s = Mul(m, c)"), c=np.float32(1), zero=np.float32(0.5)) == ["Where"]


class Attention(nn.Module):
    """Transformers' vision models: scaled_dot_product_attention with a mask of all keys."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.qkv = nn.Conv2d(3, 16, 8, 8), nn.ModuleList(nn.Linear(16, 16) for _ in range(3))

    def forward(self, image: Tensor) -> Tensor:
        x = self.embed(image).flatten(2).transpose(1, 2)
        q, k, v = (layer(x).view(1, -1, 2, 8).transpose(1, 2) for layer in self.qkv)
        keys = torch.ones(1, 1, x.shape[1], x.shape[1], dtype=torch.bool)
        return F.scaled_dot_product_attention(q, k, v, attn_mask=keys).transpose(1, 2).flatten(2)


def test_a_mask_of_all_keys_leaves_plain_attention(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(Attention().eval(), (torch.zeros(1, 3, 32, 32),), path, dynamo=True, verbose=False)
    assert {"IsNaN", "Add"} <= {node.op_type for node in onnx.load(path).graph.node}
    model = read_model(path)
    operators = [node.op_type for node in model.ir.graph]
    assert "IsNaN" not in operators
    assert operators[operators.index("Softmax") - 1] == "MatMul"
    image = random_image((1, 3, 32, 32))
    assert_same(run_canonical(model, image), run_onnx(path, {model.inputs[0].name: image}))
