"""Integer images, conversions between formats and copies against the law."""

from dataclasses import replace
from typing import Any

import numpy as np

from edgemtl.codegen.cpu.families import build_kernel
from edgemtl.hw import law, law_weightless
from edgemtl.hw.law_weightless import Rescale
from edgemtl.operators import (
    Convert,
    Dequantise,
    DequantiseImage,
    QAttention,
    QBilinear,
    QClasses,
    QCombine,
    QCopy,
    QLayerNorm,
    QRouter,
    Quantise,
    QuantiseImage,
    Widen,
)
from edgemtl.processor import CpuTarget, resolve
from edgemtl.tvm_bridge.build import compile_entries
from tests.support.processors import on_each
from tests.tvm_bridge.harness import Arena, normal
from tests.tvm_bridge.integers import host_targets, integers, run_all, same

SIZES = (1, 70, 3000)
IMAGES = [(1, 1, 40), (3, 33, 3), (8, 32, 1)]
BILINEAR = [QBilinear(*sizes) for sizes in [(3, 5, 70), (1, 1, 1), (8, 4, 3)]]
QUANTISED = [
    QuantiseImage(3, 32, 50, 16, 37.3, -5),
    QuantiseImage(1, 9, 8, 3, 0.9, 127),
    QuantiseImage(3, 32, 50, 16, 600.3, -50, wide=True),
]
DEQUANTISED = [
    DequantiseImage(*sizes, enlarge, dtype, 0.037, zero)
    for sizes in IMAGES
    for enlarge, dtype, zero in [(False, "int8", 3), (True, "int8", -48), (True, "int16", 0)]
]
COPIES = [
    QCopy(1, (5, 7, 33), (231, 33, 1), (1, 165, 5)),
    QCopy(2, (70, 6), (6, 1), (6, 1)),
    QCopy(2, (9, 40), (1, 9), (40, 1)),
    QCopy(1, (4, 6), (12, 2), (6, 1)),
    QCopy(1, (3, 50, 2), (100, 1, 50), (100, 2, 1)),
]
TARGETS = on_each([*host_targets(1), host_targets(3)[0]])


def check(target: CpuTarget, work: list[tuple[Any, np.ndarray, np.ndarray]]) -> None:
    found = run_all(target, [(spec, {"x": x}) for spec, x, _ in work])
    for (_, _, expected), outputs in zip(work, found, strict=True):
        same(outputs["y"], expected)


def hard_floats(*shape: int) -> np.ndarray:
    """Values with halves, infinities, NaN and ones out of range among them."""
    x = normal(*shape) * np.float32(3)
    values = np.array([0.5, 1.5, -2.5, np.inf, -np.inf, 1e30, np.nan], np.float32)
    x.reshape(-1)[: values.size] = values[: x.size]
    return x


@TARGETS
def test_quantise_image(target: CpuTarget) -> None:
    def expected(spec: QuantiseImage, x: np.ndarray) -> np.ndarray:
        whole = law.quantise_image(x[0], spec.inverse_scale, spec.zero, spec.wide)
        height, width = (size - size % spec.patch for size in whole.shape[1:])
        return law.cut_patches(whole[:, :height, :width], spec.patch)

    images = [hard_floats(1, spec.channels, spec.height, spec.width) for spec in QUANTISED]
    check(target, [(spec, x, expected(spec, x)) for spec, x in zip(QUANTISED, images, strict=True)])


@TARGETS
def test_dequantise_image(target: CpuTarget) -> None:
    def one(spec: DequantiseImage) -> tuple[Any, np.ndarray, np.ndarray]:
        x = integers(spec.dtype, spec.height * spec.width, spec.channels)
        image = x.reshape(spec.height, spec.width, spec.channels)
        values = law.dequantise(law.enlarge(image) if spec.enlarge else image, spec.scale, spec.zero)
        return spec, x, values.transpose(2, 0, 1)

    check(target, [one(spec) for spec in DEQUANTISED])


@TARGETS
def test_classes_are_the_argmax_of_dequantised_logits(target: CpuTarget) -> None:
    """Of few values, so that many are equal, and of the whole range, in onnx's order: the first of equal ones."""
    work: list[tuple[Any, np.ndarray, np.ndarray]] = []
    for height, width, channels in [*IMAGES, (5, 7, 19), (2, 3, 256)]:
        for enlarge, dtype in [(False, "int8"), (True, "int8"), (False, "int16"), (True, "int16")]:
            planes = DequantiseImage(height, width, channels, enlarge, dtype, 3.7e-5, -7)
            spec = QClasses(height, width, channels, enlarge, dtype)
            whole = integers(dtype, height * width, channels)
            for x in (whole, whole % np.array(3, whole.dtype)):
                image = x.reshape(height, width, channels)
                real = law.dequantise(law.enlarge(image) if enlarge else image, planes.scale, planes.zero)
                work.append((spec, x, real.argmax(-1).astype(np.uint8)))
                np.testing.assert_array_equal(law_weightless.classes(image, enlarge), work[-1][2])
    for spec, x, expected in work:
        check(target, [(spec, x, expected)])


@TARGETS
def test_bilinear(target: CpuTarget) -> None:
    images = [integers("int8", spec.height, spec.width, spec.channels) for spec in BILINEAR]
    work = zip(BILINEAR, images, strict=True)
    check(target, [(spec, x.reshape(-1, spec.channels), law.bilinear(x)) for spec, x in work])


@TARGETS
def test_value_by_value(target: CpuTarget) -> None:
    work: list[tuple[Any, np.ndarray, np.ndarray]] = []
    for size in SIZES:
        x, stream, small = hard_floats(size), integers("int16", size), integers("int8", size)
        converts = [
            (Convert(size, "int16", "int8", Rescale(0, 100000, 22, 3)), stream),
            (Convert(size, "int16", "int8", Rescale(0, 131071, 16, -128)), stream),
            (Convert(size, "int8", "int16", Rescale(-128, 100000, 12, 0)), small),
        ]
        work += [
            (Quantise(size, "int8", 1.0, 3), x, law.quantise(x, 1.0, 3, "int8")),
            (Quantise(size, "int16", 700.3, 0), x, law.quantise(x, 700.3, 0, "int16")),
            (Quantise(size, "int16", 700.3, -9, True), x, law.quantise(x, 700.3, -9, "int16", True)),
            (Dequantise(size, "int16", 0.3, 0), stream, law.dequantise(stream, 0.3, 0)),
            (Dequantise(size, "int8", 0.3, -9), small, law.dequantise(small, 0.3, -9)),
            (Widen(size), small.view(np.uint8), small.view(np.uint8).astype(np.int64)),
            *((convert, x, law_weightless.rescale(x, convert.how, convert.dtype)) for convert, x in converts),
        ]
    check(target, work)


@TARGETS
def test_copies(target: CpuTarget) -> None:
    """Between strided views."""
    sources = [build_kernel(spec, target).operands[0] for spec in COPIES]
    arrays = [integers(source.dtype, *source.shape) for source in sources]
    found = run_all(target, [(spec, {"x": x}) for spec, x in zip(COPIES, arrays, strict=True)])
    for spec, x, outputs in zip(COPIES, arrays, found, strict=True):
        read, written = (
            np.lib.stride_tricks.as_strided(array, spec.shape, [spec.itemsize * stride for stride in strides])
            for array, strides in ((x, spec.source_strides), (outputs["y"], spec.target_strides))
        )
        same(written, read)


def test_all_of_them_compile_for_the_cortex_a53() -> None:
    target = resolve("cpu-a53")
    specs = [
        QAttention(37, 2, 20, 6, 90000, 16),
        QLayerNorm(9, 70, 1, 100000, 12),
        QRouter(9, 6, 2, (1, 2, 4, 5), True, 700),
        QCombine(9, 2, 70, True),
        *(kind[0] for kind in (BILINEAR, QUANTISED, DEQUANTISED, COPIES)),
        Quantise(70, "int8", 1.0, 3),
        Dequantise(70, "int16", 0.3, 0),
        Convert(70, "int16", "int8", Rescale(0, 100000, 22, 3)),
    ]
    entries = [Arena(build_kernel(spec, target), {}).entry() for spec in specs]
    entries = [replace(entry, name=entry.calls[0].kernel.symbol + "_main") for entry in entries]
    code = compile_entries(entries, target).mod.inspect_source("asm")
    assert all(f"__tvm_ffi_{entry.name}:" in code for entry in entries)
