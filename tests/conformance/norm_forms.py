"""Forms of normalisations."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from tests.conformance.form import Computed, Form
from tests.conformance.geometry_forms import drawn
from tests.conformance.opsets import opsets_of

SHAPE = (2, 4, 5, 6)
X = Computed(SHAPE)


def forms() -> Iterator[Form]:
    for opset in opsets_of("BatchNormalization"):
        operands = (X, drawn(4), drawn(4), drawn(4), np.abs(drawn(4)) + 0.1)
        yield Form("BatchNormalization", opset, operands, tolerance=1e-5)
        yield Form("BatchNormalization", opset, operands, {"epsilon": 0.1}, tolerance=1e-5)
    for opset in opsets_of("InstanceNormalization"):
        yield Form("InstanceNormalization", opset, (X, drawn(4), drawn(4)), {"epsilon": 1e-3}, tolerance=1e-5)
    for opset in opsets_of("GroupNormalization"):
        for groups in (1, 2, 4):
            size = groups if opset < 21 else 4
            operands = (X, drawn(size), drawn(size))
            yield Form("GroupNormalization", opset, operands, {"num_groups": groups}, tolerance=1e-5)
    for opset in opsets_of("LayerNormalization"):
        for axis in (-1, 1, 2):
            scale = drawn(*SHAPE[axis:])
            yield Form("LayerNormalization", opset, (X, scale, scale), {"axis": axis, "epsilon": 1e-3}, tolerance=1e-5)
            yield Form("LayerNormalization", opset, (X, scale), {"axis": axis}, label="no bias", tolerance=1e-5)
        for output in (1, 2):
            yield Form(
                "LayerNormalization", opset, (X, drawn(6)), outputs=3, output=output, label=f"{output}", tolerance=1e-5
            )
    for opset in opsets_of("RMSNormalization"):
        yield Form("RMSNormalization", opset, (X, drawn(6)), {"epsilon": 1e-3}, tolerance=1e-5)
    for opset in opsets_of("LpNormalization"):
        for p in (1, 2):
            for axis in (-1, 1):
                yield Form("LpNormalization", opset, (X,), {"p": p, "axis": axis}, tolerance=1e-5)
    for opset in opsets_of("MeanVarianceNormalization"):
        for axes in ([0, 2, 3], [1, 2]):
            yield Form("MeanVarianceNormalization", opset, (X,), {"axes": axes}, tolerance=1e-5)
    for opset in opsets_of("LRN"):
        for size in (3, 5):
            yield Form("LRN", opset, (X,), {"size": size, "alpha": 0.01, "beta": 0.6, "bias": 1.5}, tolerance=1e-5)
