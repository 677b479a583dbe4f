"""Operators of a host's steps by name, and running one of them on whatever a bundle says its operands are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from edgemtl import operators
from edgemtl.errors import ConfigError
from edgemtl.operators import Array, Operator, Values

_WITHOUT_DEFINITION = (
    operators.QWinograd,
    operators.QWinogradWeights,
    operators.Winograd,
    operators.WinogradWeights,
)
OPERATORS: Mapping[str, type[Operator]] = {
    name: kind
    for name, kind in vars(operators).items()
    if isinstance(kind, type) and issubclass(kind, Operator) and kind not in (Operator, *_WITHOUT_DEFINITION)
}
"""The operators that have a definition in numpy, by name."""
_MISFITS = (ArithmeticError, AssertionError, AttributeError, LookupError, MemoryError, TypeError, ValueError)
"""What numpy and the law raise where operands do not fit an operator."""


def multiply(a: Array, b: Array) -> Array:
    """a @ b in float64, so that the number of numpy's threads shows in no more than the last bit of a float32."""
    return np.asarray((a.astype(np.float64) @ b.astype(np.float64)).astype(np.float32))


def run_operator(
    name: str, operator: Operator, inputs: Sequence[Array], constants: Sequence[Array], outputs: Sequence[Array]
) -> None:
    """Compute an operator and write its results to ``outputs``. Raises ConfigError where operands do not fit it."""
    try:
        results = operator.compute(Values(operator.signature, inputs, constants, multiply))
        for output, result in zip(outputs, results, strict=True):
            if result.dtype != output.dtype:
                raise TypeError(f"it gives {result.dtype}, not {output.dtype}")
            np.copyto(output, result.reshape(output.shape))
    except _MISFITS as error:
        reason = str(error) or type(error).__name__
        raise ConfigError(f"{name} must have operands that fit it, and has not: {reason}; compile it again") from error
