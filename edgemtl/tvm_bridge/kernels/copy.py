"""Copy between two strided views: layouts that no kernel could take as they are."""

from __future__ import annotations

import math
from functools import lru_cache

from tvm.script.ir_builder import tirx as T

from edgemtl.tvm_bridge.kernel import Kernel, Operand
from edgemtl.tvm_bridge.kernels.emit import Buffer, Expr, define, guarded, parallel
from edgemtl.tvm_bridge.specs import CopySpec
from edgemtl.tvm_bridge.target import CpuTarget


@lru_cache(maxsize=None)
def build(spec: CopySpec, target: CpuTarget) -> Kernel:
    """The kernel of ``spec``: operands x and y, each as long as its strides reach."""
    operands = [
        Operand("x", (_reach(spec.shape, spec.source_strides),), "float32", "input"),
        Operand("y", (_reach(spec.shape, spec.target_strides),), "float32", "output"),
    ]
    total = math.prod(spec.shape)

    def body(x: Buffer, y: Buffer) -> None:
        share = -(-total // target.threads)
        with parallel(target.threads) as part, T.serial(share) as index:
            place = part * share + index
            with guarded(place < total):
                source, goal = (_at(spec.shape, s, place) for s in (spec.source_strides, spec.target_strides))
                T.buffer_store(y, x[source], [goal])

    words = "_".join("x".join(map(str, part)) for part in (spec.shape, spec.source_strides, spec.target_strides))
    return define(f"copy_{words}", operands, body)


def _reach(shape: tuple[int, ...], strides: tuple[int, ...]) -> int:
    return 1 + sum((size - 1) * stride for size, stride in zip(shape, strides, strict=True))


def _at(shape: tuple[int, ...], strides: tuple[int, ...], place: Expr) -> Expr:
    """The element offset of the ``place``-th element in row-major order."""
    offset: Expr = place * 0
    for axis in reversed(range(len(shape))):
        offset = offset + place % shape[axis] * strides[axis]
        place = place // shape[axis]
    return offset
