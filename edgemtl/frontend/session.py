"""Models run in onnxruntime while a file is read, where not every model runs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx

from edgemtl import onnx_runtime


def open_session(proto: onnx.ModelProto, *, optimised: bool = False) -> Any:
    """A session on one thread, None for a model that onnxruntime does not take."""
    try:
        return onnx_runtime.open_session(proto.SerializeToString(), optimise=optimised)
    # onnxruntime's errors share no base class.
    except Exception:
        return None


def run_session(session: Any, feeds: Mapping[str, np.ndarray]) -> list[np.ndarray] | None:
    """Every output in order, None where there is no session or it fails."""
    if session is None:
        return None
    try:
        outputs: list[np.ndarray] = session.run(None, dict(feeds))
    # As above.
    except Exception:
        return None
    return outputs
