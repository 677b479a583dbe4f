"""Parts of a model run in onnxruntime while it is read."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx
import onnxruntime


def open_session(proto: onnx.ModelProto, *, optimised: bool = False) -> onnxruntime.InferenceSession | None:
    """A session on one thread, None for a model that onnxruntime does not take."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    if not optimised:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    try:
        return onnxruntime.InferenceSession(proto.SerializeToString(), options, providers=["CPUExecutionProvider"])
    # onnxruntime's errors share no base class.
    except Exception:
        return None


def run_session(
    session: onnxruntime.InferenceSession | None, feeds: Mapping[str, np.ndarray]
) -> list[np.ndarray] | None:
    """Every output in order, None where there is no session or it fails."""
    if session is None:
        return None
    try:
        outputs: list[np.ndarray] = session.run(None, dict(feeds))
    # As above.
    except Exception:
        return None
    return outputs
