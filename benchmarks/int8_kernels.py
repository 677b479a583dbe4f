"""Speed of the integer kernels, hot, against float32 kernels of the same shapes: ``python -m benchmarks.int8_kernels``.

Kernels take turns and the fastest run of each counts, as in `benchmarks.kernels`. One thread, by its own clock, so that
other work on the machine disturbs little.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tvm  # noqa: F401  # its runtime library must be loaded before a program is

from benchmarks.here import target_to_measure
from benchmarks.kernels import Arrays, Case, case_of, fastest, load
from edgemtl.hw.law import Finish
from edgemtl.operators import Experts, Linear, PatchEmbed, QConv2d, QExperts, QLinear, QPatchEmbed, Winograd
from edgemtl.processor import CpuTarget
from edgemtl.runtime.threads import configure_pool
from edgemtl.tvm_bridge.kernel import Operand
from edgemtl.tvm_bridge.kernels import experts
from edgemtl.tvm_bridge.kernels.emit import (
    Buffer,
    define,
    guarded,
    panel_width,
    parallel,
    tile_rows,
    vector_store,
)
from edgemtl.tvm_bridge.kernels.int8_tiles import accumulate, group, packed_words, span, start_sums
from edgemtl.tvm_bridge.kernels.tiles import padded_width

BYTES, SHORTS = Finish("int8"), Finish("int16")
RELU = Finish("int8", -128)


@dataclass(frozen=True)
class Pair:
    """An integer kernel and the float32 kernel that does the same."""

    name: str
    integer: Case
    real: Case


def peak(target: CpuTarget) -> Case:
    """Multiply-adds of bytes on registers alone: what the machine can do at most."""
    width, steps = panel_width(target), 1 << 16
    rows, depth = tile_rows(width, target), steps * group(target)
    operands = [
        Operand("x", (rows, 4), "int8", "input"),
        Operand("w", (packed_words(group(target), width, target),), "int32", "input"),
        Operand("y", (target.threads, rows, width), "int32", "output"),
    ]

    def body(x: Buffer, w: Buffer, y: Buffer) -> None:
        with parallel(target.threads) as part, guarded(part < target.threads):
            sums = start_sums(rows, width, target, lambda at: lambda lane: w[lane])
            words = packed_words(group(target), width, target)
            accumulate(
                sums,
                depth,
                target,
                lambda row, at, count: x[row, span(at % group(target), count)],
                lambda at, count: w[span(at % words, count)],
            )
            for row, totals in enumerate(sums):
                for place, total in enumerate(totals):
                    first = place * target.lanes
                    vector_store(
                        y,
                        target.lanes,
                        lambda lane, total=total: total[lane],  # type: ignore[misc]
                        lambda lane, row=row, first=first: (part, row, first + lane),  # type: ignore[misc]
                    )

    return Case(define("peak_of_bytes", operands, body), target.threads * rows * width * depth, {})


def pairs(target: CpuTarget) -> list[Pair]:
    """The layers of M3ViT tiny at 128x256 and small, also at 512x512, and the convolutions of their heads."""
    return [*_linears(target), *_experts(target), _patches(target), *_convolutions(target)]


def _linears(target: CpuTarget) -> Iterator[Pair]:
    sizes = [(129, dim, kind) for dim in (192, 384) for kind in ("qkv", "projection", "up", "down")]
    for rows, dim, kind in [*sizes, (1025, 384, "qkv"), (1025, 384, "down")]:
        k, n = {"qkv": (dim, 3 * dim), "projection": (dim, dim), "up": (dim, 4 * dim), "down": (4 * dim, dim)}[kind]
        table, residual = kind == "up", kind in ("projection", "down")
        spec = QLinear(rows, k, n, SHORTS if residual else BYTES, table, residual)
        other = Linear(rows, k, n, "gelu" if table else "", residual)
        name = f"linear {rows}x{k}x{n}{' table' if table else ''}"
        yield Pair(name, case_of(spec, target), case_of(other, target))


def _experts(target: CpuTarget) -> Iterator[Pair]:
    tokens, k, count = 129, 2, 16
    slots = tokens * k
    routes: Arrays = {
        "tokens": np.arange(slots, dtype=np.int32) // k,
        "offsets": np.linspace(0, slots, count + 1).astype(np.int32),
    }
    for dim in (192, 384):
        for first, (depth, n) in ((True, (dim, 384)), (False, (384, dim))):
            spec = QExperts(tokens, k, count, depth, n, first, BYTES if first else SHORTS, table=first)
            other = Experts(tokens, k, count, depth, n, first, "gelu" if first else "")
            size = packed_words(depth, n, target)
            real_size = experts.pack_expert(other, target, np.zeros((depth, n)), np.zeros(n)).size
            yield Pair(
                f"experts {tokens}x{k} of {count} {depth}x{n}",
                case_of(spec, target, {**routes, **_weights(count, size, np.int32)}),
                case_of(other, target, {**routes, **_weights(count, real_size, np.float32)}),
            )


def _weights(count: int, size: int, dtype: type[np.generic]) -> Arrays:
    return {"table": np.arange(count, dtype=np.int32) * size, "weights": np.zeros(count * size, dtype)}


def _patches(target: CpuTarget) -> Pair:
    integer, real = QPatchEmbed(128, 768, 192, 1), PatchEmbed(3, 128, 256, 16, 192, 1)
    return Pair("patches 128x768x192", case_of(integer, target), case_of(real, target))


def _convolutions(target: CpuTarget) -> Iterator[Pair]:
    for height, width, cin in ((8, 16, 192), (16, 32, 256), (32, 64, 256), (64, 128, 256)):
        sizes = (height, width, cin, 256, height, width)
        spec = QConv2d(*sizes, (3, 3), (1, 1), (1, 1, 1, 1), (1, 1), 0, RELU)
        real = Winograd(height, width, cin, 256, False, "relu", padded_width(256, target))
        yield Pair(f"3x3 {height}x{width} {cin} to 256", case_of(spec, target), case_of(real, target))


def main() -> None:
    """Print one line per shape."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--target", default="cpu")
    parser.add_argument("--rounds", type=int, default=20)
    options = parser.parse_args()
    configure_pool(1)
    target = target_to_measure(options.target, threads=1)
    shapes = pairs(target)
    cases = [peak(target), *(case for pair in shapes for case in (pair.integer, pair.real))]
    with tempfile.TemporaryDirectory() as folder:
        functions = [load(case, target, Path(folder)) for case in cases]
        seconds = fastest(functions, options.rounds, time.thread_time_ns)
    most = cases[0].macs / seconds[0]
    print(f"{target.name}: {2e-9 * most:.0f} GOP/s at most")
    for pair, taken, real in zip(shapes, seconds[1::2], seconds[2::2], strict=True):
        rate = pair.integer.macs / taken
        print(
            f"{pair.name:36} {taken * 1e6:9.1f} us {2e-9 * rate:7.1f} GOP/s {rate / most:6.1%} "
            f"float32 {real * 1e6:9.1f} us, {real / taken:.2f} times"
        )


if __name__ == "__main__":
    main()
