"""onnxruntime as the compiler uses it: on one thread and as the file says, so that a run gives the same bits again."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import onnx
import onnxruntime
from numpy.typing import NDArray

Array = NDArray[Any]

_DTYPES = {"float32": onnx.TensorProto.FLOAT, "float64": onnx.TensorProto.DOUBLE}


def open_session(model: Path | str | bytes, *, optimise: bool = False) -> Any:
    """An InferenceSession of a file (a path) or of a serialised model (bytes).

    One thread, since the order of additions depends on how many there are. Graph optimisations depend on the
    processor and may change results, so they are left out unless ``optimise``. Raises what onnxruntime raises.
    """
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    if not optimise:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    source = model if isinstance(model, bytes) else str(model)
    return onnxruntime.InferenceSession(source, options, providers=["CPUExecutionProvider"])


def multiply(a: Array, b: Array) -> Array:
    """``a @ b`` of float32 or float64 arrays, batched as in numpy.

    numpy's BLAS adds in an order that depends on the number of its threads; onnxruntime on one thread does not.
    """
    product: Array = _product(str(a.dtype)).run(None, {"a": a, "b": b})[0]
    return product


@cache
def _product(dtype: str) -> Any:
    helper = onnx.helper
    a, b, y = (helper.make_tensor_value_info(name, _DTYPES[dtype], None) for name in "aby")
    graph = helper.make_graph([helper.make_node("MatMul", ["a", "b"], ["y"])], "product", [a, b], [y])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    return open_session(model.SerializeToString())
