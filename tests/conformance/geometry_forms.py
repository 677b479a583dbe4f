"""Forms of operators on images: resizing, padding, pooling, convolutions, sampling, rearranging."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from typing import Any

import numpy as np

from tests.conformance.form import Computed, Form
from tests.conformance.indexing_forms import whole
from tests.conformance.opsets import opsets_of

IMAGE = (1, 2, 7, 9)
X = Computed(IMAGE)
COORDINATES = ("half_pixel", "pytorch_half_pixel", "align_corners", "asymmetric", "tf_crop_and_resize")
ROI = np.array([0, 0, 0.1, 0.8, 1, 1, 1.2, -0.1], np.float32)


def scales(*values: float) -> np.ndarray:
    return np.array(values, np.float32)


def drawn(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).standard_normal(shape, np.float32)


def forms() -> Iterator[Form]:
    yield from _resizes()
    yield from _upsamples()
    yield from _pads()
    yield from _pools()
    yield from _unpools()
    yield from _convolutions()
    yield from _transposed()
    yield from _samples()
    yield from _rearranged()


def _resizes() -> Iterator[Form]:
    sizes = (scales(1, 1, 1.5, 2.5), scales(1, 1, 0.6, 2), whole(1, 2, 1, 4), whole(1, 2, 14, 5))
    for opset in opsets_of("Resize"):
        if opset < 11:
            for mode, factors in product(("nearest", "linear"), (scales(1, 1, 2, 3), scales(1, 1, 0.5, 1.5))):
                yield Form("Resize", opset, (X, factors), {"mode": mode}, label=f"by {factors}")
            continue
        for mode, coordinates in product(("nearest", "linear", "cubic"), COORDINATES):
            for size in sizes:
                yield _resize(opset, size, mode=mode, coordinate_transformation_mode=coordinates)
        for nearest, size in product(("round_prefer_floor", "round_prefer_ceil", "floor", "ceil"), sizes):
            yield _resize(opset, size, mode="nearest", nearest_mode=nearest)
        for size in sizes:
            yield _resize(opset, size, mode="cubic", cubic_coeff_a=-0.5)
            yield _resize(opset, size, mode="cubic", exclude_outside=1)
        if opset >= 18:
            yield from _newer_resizes(opset)


def _newer_resizes(opset: int) -> Iterator[Form]:
    for mode, size in product(("linear", "cubic"), (whole(1, 2, 3, 4), scales(1, 1, 0.6, 2))):
        yield _resize(opset, size, mode=mode, antialias=1)
    for policy in ("stretch", "not_larger", "not_smaller"):
        yield _resize(opset, whole(10, 10), mode="linear", keep_aspect_ratio_policy=policy, axes=[2, 3])
    yield _resize(opset, scales(2, 3), mode="linear", axes=[3, 2])
    yield _resize(opset, scales(1, 0.5, 1, 1), mode="nearest")
    yield _resize(opset, scales(1, 2, 1, 1), mode="linear")


def _resize(opset: int, size: np.ndarray, **attributes: Any) -> Form:
    crop = attributes.get("coordinate_transformation_mode") == "tf_crop_and_resize"
    if crop:
        attributes["extrapolation_value"] = 7.0
    roi = ROI if crop else None if opset >= 13 else np.zeros(0, np.float32)
    empty = None if opset >= 13 else np.zeros(0, np.float32)
    operands = (X, roi, size) if size.dtype == np.float32 else (X, roi, empty, size)
    return Form("Resize", opset, operands, attributes, label=f"by {size}", tolerance=1e-5)


def _upsamples() -> Iterator[Form]:
    for mode in ("nearest", "linear"):
        for factors in (scales(1, 1, 2, 3), scales(1, 1, 1.5, 2.5)):
            yield Form("Upsample", 9, (X, factors), {"mode": mode}, label=f"by {factors}")


def _pads() -> Iterator[Form]:
    amounts = (whole(0, 0, 1, 2, 0, 1, 3, 0), whole(0, 0, -2, 1, 0, 0, 3, -1))
    for opset in opsets_of("Pad"):
        modes = ("constant", "reflect", "edge") + (("wrap",) if opset >= 19 else ())
        for mode, amount in product(modes, amounts):
            if opset < 11:
                yield Form("Pad", opset, (X,), {"mode": mode, "pads": [int(n) for n in amount], "value": 0.5})
            else:
                yield Form("Pad", opset, (X, amount, np.float32(0.5)), {"mode": mode}, label=f"{amount}")
        if opset >= 18:
            yield Form("Pad", opset, (X, whole(1, 2, 0, 3), None, whole(3, 2)), label="axes")


def _windows(op: str) -> Iterator[dict[str, Any]]:
    yield {"kernel_shape": [3, 2]}
    yield {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1, 1, 1, 1]}
    yield {"kernel_shape": [2, 3], "pads": [0, 1, 1, 2]}
    for side in ("SAME_UPPER", "SAME_LOWER", "VALID"):
        yield {"kernel_shape": [3, 2], "strides": [2, 3], "auto_pad": side}


def _pools() -> Iterator[Form]:
    for op in ("MaxPool", "AveragePool", "LpPool"):
        for opset in opsets_of(op):
            for attributes in _windows(op):
                yield Form(op, opset, (X,), attributes)
            yield Form(op, opset, (Computed((1, 2, 11)),), {"kernel_shape": [3], "strides": [2]}, label="1-D")
            yield Form(op, opset, (Computed((1, 2, 5, 4, 6)),), {"kernel_shape": [2, 3, 2]}, label="3-D")
            if opset >= (18 if op == "LpPool" else 10):
                ceiling = {"kernel_shape": [3, 3], "strides": [2, 2], "ceil_mode": 1}
                yield Form(op, opset, (Computed((1, 2, 8, 10)),), ceiling)
                yield Form(op, opset, (Computed((1, 2, 8, 10)),), {**ceiling, "pads": [1, 1, 1, 1]})
                yield Form(
                    op, opset, (Computed((1, 2, 4, 4)),), {"kernel_shape": [1, 1], "strides": [2, 2], "ceil_mode": 1}
                )
            if opset >= {"MaxPool": 10, "AveragePool": 19, "LpPool": 18}[op]:
                yield Form(op, opset, (X,), {"kernel_shape": [2, 3], "dilations": [2, 2]})
    for opset in opsets_of("AveragePool"):
        yield Form("AveragePool", opset, (X,), {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1], "count_include_pad": 1})
    for opset in opsets_of("MaxPool"):
        for order in (0, 1):
            attributes = {"kernel_shape": [2, 2], "strides": [2, 2], "storage_order": order}
            yield Form("MaxPool", opset, (X,), attributes, outputs=2, output=1, label="indices")
    for op in ("GlobalAveragePool", "GlobalMaxPool", "GlobalLpPool"):
        for opset in opsets_of(op):
            yield Form(op, opset, (X,))
            yield Form(op, opset, (Computed((1, 3, 5)),), label="1-D")


def _unpools() -> Iterator[Form]:
    places = np.array([0, 5, 8, 14, 18, 20], np.int64).reshape(1, 1, 2, 3)
    for opset in opsets_of("MaxUnpool"):
        attributes = {"kernel_shape": [2, 2], "strides": [2, 2]}
        yield Form("MaxUnpool", opset, (Computed((1, 1, 2, 3)), places), attributes)
        yield Form("MaxUnpool", opset, (Computed((1, 1, 2, 3)), places, whole(1, 1, 5, 7)), attributes)


def _convolutions() -> Iterator[Form]:
    for opset in opsets_of("Conv"):
        for attributes in (
            {},
            {"strides": [2, 2], "pads": [1, 1, 1, 1]},
            {"pads": [0, 1, 2, 3]},
            {"dilations": [2, 3], "pads": [2, 3, 2, 3]},
            {"auto_pad": "SAME_UPPER", "strides": [2, 2]},
            {"auto_pad": "SAME_LOWER", "strides": [2, 2]},
            {"auto_pad": "VALID"},
        ):
            for bias in ((), (drawn(3),)):
                yield Form(
                    "Conv", opset, (X, drawn(3, 2, 3, 2), *bias), attributes, label=f"{len(bias)} bias", tolerance=1e-5
                )
        yield Form("Conv", opset, (Computed((1, 4, 6, 5)), drawn(4, 1, 3, 3)), {"group": 4}, tolerance=1e-5)
        yield Form("Conv", opset, (Computed((1, 4, 6, 5)), drawn(6, 2, 3, 3)), {"group": 2}, tolerance=1e-5)
        yield Form("Conv", opset, (X, Computed((3, 2, 3, 3))), label="computed weights", tolerance=1e-5)
        yield Form("Conv", opset, (Computed((1, 2, 9)), drawn(3, 2, 3)), {"strides": [2]}, label="1-D", tolerance=1e-5)
        yield Form("Conv", opset, (Computed((1, 2, 5, 4, 5)), drawn(3, 2, 3, 2, 2)), label="3-D", tolerance=1e-5)


def _transposed() -> Iterator[Form]:
    for opset in opsets_of("ConvTranspose"):
        for attributes in (
            {},
            {"strides": [2, 2]},
            {"strides": [2, 3], "pads": [1, 0, 1, 1]},
            {"strides": [2, 2], "output_padding": [1, 1], "pads": [1, 1, 1, 1]},
            {"strides": [2, 2], "output_shape": [15, 18]},
            {"strides": [2, 2], "output_shape": [13, 20]},
            {"strides": [2, 2], "auto_pad": "SAME_UPPER"},
            {"strides": [2, 2], "auto_pad": "SAME_LOWER"},
            {"dilations": [2, 2]},
        ):
            yield Form("ConvTranspose", opset, (X, drawn(2, 3, 3, 2)), attributes, tolerance=1e-5)
        yield Form(
            "ConvTranspose", opset, (X, drawn(2, 2, 3, 2), drawn(4)), {"group": 2}, label="groups", tolerance=1e-5
        )
        yield Form(
            "ConvTranspose", opset, (Computed((1, 2, 5)), drawn(2, 3, 3)), {"strides": [2]}, label="1-D", tolerance=1e-5
        )


def _samples() -> Iterator[Form]:
    grid = np.random.default_rng(0).uniform(-1.3, 1.3, (1, 4, 5, 2)).astype(np.float32)
    for opset in opsets_of("GridSample"):
        modes = ("linear", "nearest", "cubic") if opset >= 20 else ("bilinear", "nearest", "bicubic")
        for mode, padding, corners in product(modes, ("zeros", "border", "reflection"), (0, 1)):
            attributes = {"mode": mode, "padding_mode": padding, "align_corners": corners}
            yield Form("GridSample", opset, (X, grid), attributes, tolerance=1e-4)
        yield Form("GridSample", opset, (X, Computed((1, 3, 4, 2))), label="computed grid", tolerance=1e-4)
    for opset in opsets_of("AffineGrid"):
        for corners in (0, 1):
            yield Form(
                "AffineGrid",
                opset,
                (Computed((1, 2, 3)), whole(1, 2, 4, 5)),
                {"align_corners": corners},
                tolerance=1e-5,
            )


def _rearranged() -> Iterator[Form]:
    for opset in opsets_of("DepthToSpace"):
        for mode in ("DCR", "CRD") if opset >= 11 else ("",):
            attributes = {"blocksize": 2} | ({"mode": mode} if mode else {})
            yield Form("DepthToSpace", opset, (Computed((1, 8, 3, 4)),), attributes)
    for opset in opsets_of("SpaceToDepth"):
        yield Form("SpaceToDepth", opset, (Computed((1, 2, 4, 6)),), {"blocksize": 2})
    for opset in opsets_of("Col2Im"):
        columns = Computed((1, 12, 15))
        yield Form("Col2Im", opset, (columns, whole(6, 5), whole(2, 3)), label="whole", tolerance=1e-5)
        attributes = {"pads": [1, 0, 1, 1], "dilations": [1, 2]}
        yield Form("Col2Im", opset, (Computed((1, 6, 25)), whole(5, 6), whole(3, 2)), attributes, tolerance=1e-5)
