"""Every value has a type and a fixed shape of bearable size."""

from __future__ import annotations

import onnx_ir as ir


def check_static(model: ir.Model) -> None:
    """Nothing yet."""
