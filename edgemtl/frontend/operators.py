"""Which operators cannot be compiled, whatever the target."""

from __future__ import annotations

from collections.abc import Sequence

import onnx_ir as ir

from edgemtl.errors import UnsupportedError

REFUSED: dict[str, tuple[str, str]] = {
    **dict.fromkeys(
        ("NonZero", "Compress", "Unique", "NonMaxSuppression"),
        (
            "the size of its result depends on the data",
            "compute every expert over every token and weigh, or write the layer as edgemtl::MoE",
        ),
    ),
    **dict.fromkeys(
        ("If", "Loop", "Scan", "SequenceMap"),
        (
            "its path depends on the data",
            "export the model without control flow, or with a constant condition",
        ),
    ),
    **dict.fromkeys(
        (
            "RandomNormal",
            "RandomNormalLike",
            "RandomUniform",
            "RandomUniformLike",
            "Multinomial",
            "Bernoulli",
        ),
        ("its result is random", "export the model in evaluation mode"),
    ),
    **dict.fromkeys(
        ("QuantizeLinear", "DequantizeLinear"),
        (
            "it does not quantise a float32 value by one constant scale, or read what such a node gives",
            "export the model before it is quantised",
        ),
    ),
    **dict.fromkeys(
        ("DynamicQuantizeLinear", "ConvInteger", "MatMulInteger"),
        (
            "the model is quantised with scales that are computed from each image",
            "quantise it with constant scales (static quantisation), or export it before it is quantised",
        ),
    ),
}
"""Operator, why it is refused and what to do instead."""


def check_operators(model: ir.Model, notes: Sequence[str]) -> None:
    """`UnsupportedError` for the first node that cannot be compiled; it repeats which layer was not recognised."""
    missed = [note for note in notes if "not recognised" in note]
    for node in model.graph:
        if node.domain == "" and node.op_type in REFUSED:
            reason, hint = REFUSED[node.op_type]
            reason = "; ".join([reason, *missed])
            raise UnsupportedError(f"node {node.name}", f"{node.op_type} is not compiled: {reason}", hint)
