"""Operators of a host's steps by name, and running one of them on whatever a bundle says its operands are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from edgemtl.errors import ConfigError
from edgemtl.host.floats import FLOAT
from edgemtl.host.integers import INTEGER, Array, Function

FUNCTIONS: Mapping[type, Function] = {**FLOAT, **INTEGER}
OPERATORS: Mapping[str, type] = {kind.__name__.removesuffix("Spec"): kind for kind in FUNCTIONS}
"""What sizes each operator, by its name."""
_MISFITS = (ArithmeticError, AssertionError, AttributeError, LookupError, MemoryError, TypeError, ValueError)
"""What numpy and the law raise where operands do not fit an operator."""


def run_operator(
    name: str, spec: Any, inputs: Sequence[Array], constants: Sequence[Array], outputs: Sequence[Array]
) -> None:
    """Compute an operator and write its results to ``outputs``. Raises ConfigError where operands do not fit it."""
    try:
        results = FUNCTIONS[type(spec)](spec, inputs, constants)
        for output, result in zip(outputs, results, strict=True):
            if result.dtype != output.dtype:
                raise TypeError(f"it gives {result.dtype}, not {output.dtype}")
            np.copyto(output, result.reshape(output.shape))
    except _MISFITS as error:
        reason = str(error) or type(error).__name__
        raise ConfigError(f"{name} must have operands that fit it, and has not: {reason}; compile it again") from error
