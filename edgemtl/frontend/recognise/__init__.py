"""Find mixture-of-experts layers in ordinary operators and rewrite them to `edgemtl::MoE`."""

from __future__ import annotations

import onnx_ir as ir


def recognise(model: ir.Model, notes: list[str]) -> None:
    """Nothing yet."""
