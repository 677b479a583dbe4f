"""Run ONNX in onnxruntime, the oracle."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime

from edgemtl.frontend import MultiTaskModel
from edgemtl.operators import Frame


def run_onnx(
    model: Path | onnx.ModelProto, feeds: dict[str, np.ndarray], optimise: bool = True
) -> dict[str, np.ndarray]:
    """Every output of a file or a model, by name; without ``optimise`` node by node, as the file says."""
    options = onnxruntime.SessionOptions()
    if not optimise:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 3
    options.intra_op_num_threads = 1
    source = str(model) if isinstance(model, Path) else model.SerializeToString()
    session = onnxruntime.InferenceSession(source, options, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(None, feeds), strict=True))


def random_image(shape: tuple[int, ...], seed: int = 0) -> np.ndarray:
    """A normalised image of noise."""
    return np.random.default_rng(seed).standard_normal(shape, np.float32)


def run_canonical(model: MultiTaskModel, inputs: np.ndarray | Frame) -> dict[str, np.ndarray]:
    """Every output of what the frontend made of a model."""
    proto = ir.to_proto(model.ir)
    onnx.checker.check_model(proto, full_check=True)
    return run_onnx(proto, dict(inputs) if isinstance(inputs, Mapping) else {model.inputs[0].name: inputs})


def assert_same(found: dict[str, np.ndarray], expected: dict[str, np.ndarray], tolerance: float = 1e-5) -> None:
    """Same outputs in the same order, within a tolerance of the largest value."""
    assert list(found) == list(expected)
    for name, array in expected.items():
        assert found[name].shape == array.shape
        np.testing.assert_allclose(found[name], array, rtol=0, atol=tolerance * max(1.0, float(np.abs(array).max())))
