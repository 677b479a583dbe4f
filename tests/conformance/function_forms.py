"""Forms of operators that ONNX itself defines by others, and that are expanded as it does."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from tests.conformance.form import Computed, Form
from tests.conformance.geometry_forms import drawn
from tests.conformance.indexing_forms import whole
from tests.conformance.opsets import opsets_of


def forms() -> Iterator[Form]:
    for opset in opsets_of("CastLike"):
        yield Form("CastLike", opset, (Computed((2, 3), "int64"), np.zeros(1, np.float32)))
    for opset in opsets_of("CenterCropPad"):
        yield Form("CenterCropPad", opset, (Computed((1, 2, 7, 9)), whole(5, 12)), {"axes": [2, 3]})
    queries = Computed((1, 3, 5, 8))
    for opset in opsets_of("Attention"):
        yield Form("Attention", opset, (queries, Computed((1, 3, 7, 8)), Computed((1, 3, 7, 6))), tolerance=1e-5)
        yield Form("Attention", opset, (queries, queries, queries), {"is_causal": 1}, tolerance=1e-5)
        operands = (Computed((1, 5, 24)), Computed((1, 7, 24)), Computed((1, 7, 24)), drawn(5, 7))
        yield Form("Attention", opset, operands, {"q_num_heads": 3, "kv_num_heads": 3}, label="mask", tolerance=1e-5)
        grouped = (Computed((1, 4, 5, 8)), Computed((1, 2, 7, 8)), Computed((1, 2, 7, 8)))
        yield Form("Attention", opset, grouped, {"scale": 0.3, "softcap": 2.0}, label="grouped", tolerance=1e-5)
    for opset in opsets_of("SwiGLU"):
        yield Form("SwiGLU", opset, (Computed((2, 8)), Computed((2, 8))), tolerance=1e-5)
