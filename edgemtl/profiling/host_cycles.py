"""Cycles that one Cortex-A53 core takes for a step of the host CPU: an estimate, from counted instructions.

Coefficients are instructions of the generated cpu-a53 code, counted under qemu-aarch64 by ``python -m
benchmarks.host_instructions``: one cycle each, two where 16 bytes are loaded or stored, four where more are. The core
issues up to two instructions a cycle, but no vector load beside a product (ncnn's notes on the Cortex-A53), and waits
for results, which nothing here counts. Of the networks counted, every step is within a third of its own count.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, Final

from edgemtl import operators as ops
from edgemtl.operators import Operator

VECTOR_CHANNELS: Final = 4
"""Channels of 32 bits in a register: what the kernels of images take at once."""
WEIGHT_COLUMNS: Final = 8
"""Columns that a kernel with int8 weights computes at once."""


def cycles_of(operator: Operator) -> float | None:
    """Cycles of one core, without waits for memory; None for an operator whose instructions nobody counted.

    Forms that read activations of 12 bits or weights of 4 bits were not counted.
    """
    count = COUNTED.get(type(operator))
    if count is None or getattr(operator, "wide", False) or getattr(operator, "coded", False):
        return None
    return count(operator)


def bytes_of(operator: Operator) -> int:
    """Bytes that a step reads and writes: its inputs, outputs and constants, once each."""
    signature = operator.signature
    constants = (kind for _, kind in signature.constant_types)
    return sum(kind.nbytes for kind in (*signature.inputs.values(), *signature.outputs.values(), *constants))


def _dequantise_image(operator: ops.DequantiseImage) -> float:
    """Pixels by pixels; channels in vectors of four, the rest in one of two and one of one."""
    whole, rest = divmod(operator.channels, VECTOR_CHANNELS)
    vectors = whole + rest.bit_count()
    pixels = operator.height * operator.width
    if operator.enlarge:
        return 4 * pixels * (2.42 * operator.channels + 6.2 * vectors)
    return pixels * (1.54 if operator.channels == 1 else 1.57 * operator.channels + 3.7 * vectors)


def _copy(operator: ops.QCopy) -> float | None:
    """Runs of values that lie side by side in both views, or tiles transposed in registers."""
    size = math.prod(operator.shape)
    run = _run(operator)
    if run > 1:
        return size // run * (16.4 + 0.375 * run * operator.itemsize)
    return 3.13 * size if 1 in operator.source_strides and 1 in operator.target_strides else None


def _run(operator: ops.QCopy) -> int:
    """Values that lie side by side in both views."""
    run = 1
    axes = sorted(zip(operator.target_strides, operator.source_strides, operator.shape, strict=True))
    for target, source, size in axes:
        if size > 1:
            if (target, source) != (run, run):
                return run
            run *= size
    return run


def _classes(operator: ops.QClasses) -> float | None:
    """Comparisons of upsampled logits; those of logits as they are were not counted."""
    return 3.7 * operator.channels * _values(operator) if operator.enlarge else None


def _linear(operator: ops.QLinear) -> float:
    """Products of whole tiles of columns, and what finishes the values."""
    columns = -(-operator.n // WEIGHT_COLUMNS) * WEIGHT_COLUMNS
    return operator.rows * columns * (0.45 * operator.k + 8.64)


def _values(operator: Operator) -> int:
    return sum(kind.size for kind in operator.signature.outputs.values())


def _per_value(cycles: float) -> Callable[[Operator], float]:
    return lambda operator: cycles * _values(operator)


def _per_mac(cycles: float) -> Callable[[Operator], float]:
    return lambda operator: cycles * operator.macs


COUNTED: Final[Mapping[type[Operator], Callable[[Any], float | None]]] = {
    ops.QPixelPatches: _per_value(3.80),
    ops.QPixels: _per_value(3.80),
    ops.QuantiseImage: _per_value(2.42),
    # Quantise and Dequantise compile to the loops of the images', without patches and with one channel.
    ops.Quantise: _per_value(2.42),
    ops.QCopy: _copy,
    ops.DequantiseImage: _dequantise_image,
    ops.Dequantise: _per_value(1.54),
    ops.QResample: _per_value(8.5),
    ops.QClasses: _classes,
    ops.Widen: _per_value(2.2),
    ops.QBilinear: _per_value(1.8),
    ops.QLayerNorm: _per_value(7.55),
    ops.QLinear: _linear,
    ops.QPatchEmbed: _per_mac(0.485),
    ops.QAttention: _per_mac(0.955),
    ops.QExperts: _per_mac(0.9),
}
"""The operators whose instructions were counted."""
