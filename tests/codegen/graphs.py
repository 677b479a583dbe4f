"""Small ONNX graphs written as text, ready for the pattern matchers: shapes inferred, constants as
initializers.
"""

from __future__ import annotations

import numpy as np
import onnx
import onnx_ir as ir
from onnx_ir.passes import common as passes


def parse(text: str, opset: int = 20, **initializers: np.ndarray) -> ir.Model:
    """The model of `name (inputs) => (outputs) {nodes}`; named arrays become initializers."""
    model = onnx.parser.parse_model(f'<ir_version: 10, opset_import: ["" : {opset}, "edgemtl" : 1]>\n{text}')
    for name, array in initializers.items():
        model.graph.initializer.append(onnx.numpy_helper.from_array(np.asarray(array), name))
    loaded = ir.from_proto(model)
    passes.LiftConstantsToInitializersPass(lift_all_constants=True)(loaded)
    loaded = ir.from_proto(onnx.shape_inference.infer_shapes(ir.to_proto(loaded), strict_mode=True, data_prop=True))
    loaded.graph.sort()
    return loaded


def random(*shape: int, seed: int = 0, scale: float = 1.0) -> np.ndarray:
    """Normal float32 numbers, the same for the same seed."""
    return (np.random.default_rng(seed).standard_normal(shape) * scale).astype(np.float32)


def int64(*values: int) -> np.ndarray:
    """A vector of integers."""
    return np.array(values, np.int64)
