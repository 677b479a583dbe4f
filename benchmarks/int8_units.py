"""Integer kernels without products of matrices against the float32 kernels of their shapes, hot, one thread.

``python -m benchmarks.int8_units``. Both take turns. A call of an empty kernel, most of a short one, is subtracted.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.here import target_to_measure
from benchmarks.kernels import Arrays, Case, fastest, load
from edgemtl.codegen.cpu.families import FAMILIES, build_kernel
from edgemtl.hw.law_weightless import Rescale
from edgemtl.operators import (
    Attention,
    Combine,
    Convert,
    Copy,
    Dequantise,
    DequantiseImage,
    LayerNorm,
    QAttention,
    QBilinear,
    QCombine,
    QCopy,
    QLayerNorm,
    QRouter,
    Quantise,
    QuantiseImage,
    Resize,
    Router,
)
from edgemtl.processor import CpuTarget

EXPERTS = tuple(range(16))
# (integer kernel, float32 kernel of the same shape where there is one): M3ViT tiny at 128x256 and small at 512x512.
PAIRS: list[tuple[Any, Any]] = [
    (QAttention(129, 3, 64, 9, 80000, 17), Attention(129, 3, 64, 0.125)),
    (QAttention(129, 12, 32, 9, 80000, 17), Attention(129, 12, 32, 0.18)),
    (QAttention(1025, 12, 32, 9, 80000, 17), Attention(1025, 12, 32, 0.18)),
    (QLayerNorm(129, 96, 100, 70000, 12), LayerNorm(129, 96, 1e-6)),
    (QLayerNorm(129, 192, 100, 70000, 12), LayerNorm(129, 192, 1e-6)),
    (QLayerNorm(1025, 384, 100, 70000, 12), LayerNorm(1025, 384, 1e-6)),
    (QLayerNorm(129, 768, 100, 70000, 12), LayerNorm(129, 768, 1e-6)),
    (QRouter(129, 16, 2, EXPERTS, False, 0), Router(129, 16, 2, EXPERTS, False, 0.0)),
    (QRouter(1025, 16, 4, EXPERTS, False, 0), Router(1025, 16, 4, EXPERTS, False, 0.0)),
    (QCombine(129, 2, 192, True), Combine(129, 2, 192, True)),
    (QCombine(1025, 4, 384, True), Combine(1025, 4, 384, True)),
    (QBilinear(32, 64, 96), Resize(32, 64, 96, 64, 128, False)),
    (DequantiseImage(64, 128, 40, True, "int16", 0.01, 0), Resize(64, 128, 40, 128, 256, True)),
    (DequantiseImage(128, 256, 40, False, "int8", 0.01, 0), None),
    (QuantiseImage(3, 128, 256, 16, 40.0, 3), None),
    (QCopy(1, (64, 2048), (1, 64), (2048, 1)), Copy((64, 2048), (1, 64), (2048, 1))),
    (Quantise(129 * 192, "int8", 40.0, 3), None),
    (Dequantise(129 * 192, "int16", 0.1, 0), None),
    (Convert(129 * 192, "int16", "int8", Rescale(0, 70000, 20, 0)), None),
]
NOTHING = Copy((1,), (1,), (1,))


def case(spec: Any, target: CpuTarget) -> Case:
    """A kernel on random integers; float32 operands are filled when it is loaded."""
    kernel, module = build_kernel(spec, target), FAMILIES[type(spec)]
    generator, arrays = np.random.default_rng(0), {}
    for operand in kernel.operands:
        if operand.role == "input" and operand.name == "slots":
            arrays["slots"] = np.arange(np.prod(operand.shape), dtype=np.int32).reshape(operand.shape)
        elif operand.role == "input" and operand.dtype.startswith("int"):
            arrays[operand.name] = generator.integers(-128, 128, operand.shape).astype(operand.dtype)
    return Case(kernel, spec.macs, {**arrays, **_weights(spec, module, target, kernel)})


def _weights(spec: Any, module: Any, target: CpuTarget, kernel: Any) -> Arrays:
    names = [operand.name for operand in kernel.operands if operand.role == "weight"]
    norms = isinstance(spec, QLayerNorm | LayerNorm)
    constants = [np.ones(kind.shape, kind.dtype) for kind in spec.signature.constants.values()] if norms else []
    return dict(zip(names, module.pack(spec, target, *constants), strict=True)) if names else {}


def main() -> None:
    """Print one line per kernel: its microseconds, the float32 kernel's and their ratio."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--target", default="cpu")
    parser.add_argument("--rounds", type=int, default=30)
    options = parser.parse_args()
    target = target_to_measure(options.target, threads=1)
    specs = [NOTHING, *(spec for pair in PAIRS for spec in pair if spec is not None)]
    with tempfile.TemporaryDirectory() as folder:
        functions = [load(case(spec, target), target, Path(folder)) for spec in specs]
        empty, *seconds = fastest(functions, options.rounds)
    net = iter(1e6 * max(value - empty, 1e-9) for value in seconds)
    print(f"{'a call':45} {1e6 * empty:9.1f} us")
    for spec, peer in PAIRS:
        line = f"{build_kernel(spec, target).symbol:45} {(taken := next(net)):9.1f} us"
        print(line if peer is None else f"{line} {(other := next(net)):9.1f} us {other / taken:6.2f}x")


if __name__ == "__main__":
    main()
