"""Older opsets brought to ours. The converter is not always right, so its result is run against the original."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import onnx
import onnx_ir as ir

from edgemtl.errors import ModelError
from edgemtl.frontend.files import MAX_ELEMENTS
from edgemtl.frontend.limits import ENDLESS, GROWING, MAX_RUN_ELEMENTS, all_nodes
from edgemtl.frontend.moe_node import OPSET
from edgemtl.frontend.passes import Notes
from edgemtl.frontend.repair import repair
from edgemtl.frontend.session import open_session, run_session
from edgemtl.frontend.simplify import infer_shapes
from edgemtl.graph import is_static, size_of

TOLERANCE = 1e-4
IMAGE_RANK = 4


def convert(proto: onnx.ModelProto, version: int) -> tuple[onnx.ModelProto, Notes]:
    """The model in opset `OPSET` or later.

    Raises `ModelError` for a model that cannot be converted, or that computes something else afterwards.
    """
    if version >= OPSET:
        return proto, ()
    what, hint = f"the model's opset {version} cannot be converted to {OPSET}", f"export it with opset {OPSET}"
    try:
        converted = onnx.version_converter.convert_version(proto, OPSET)
    except Exception as error:
        raise ModelError(f"{what} ({str(error).splitlines()[0][:200]}); {hint}") from error
    repair(converted, proto, version)
    checks = _compare(proto, converted) if _is_bounded(converted) else []
    if not all(checks):
        raise ModelError(f"{what} (the result computes something else); {hint}")
    done = "checked on random inputs" if checks else "not checked, as the original does not run"
    return converted, (f"the model's opset {version} was converted to {OPSET}; {done}",)


def _compare(proto: onnx.ModelProto, converted: onnx.ModelProto) -> list[bool]:
    """Whether the two compute the same: on noise and on a skewed input, on noise with onnxruntime's optimisations too.

    Empty where the original does not run.
    """
    feeds = [feed for feed in (_inputs(proto, draw) for draw in (_noise, _skewed)) if feed is not None]
    checks = []
    for optimised, used in ((False, feeds), (True, feeds[:1])) if feeds else ():
        original = open_session(proto, optimised=optimised)
        session = open_session(converted, optimised=optimised) if original is not None else None
        for feed in used:
            expected = run_session(original, feed)
            checks += [_agree(run_session(session, feed), expected)] if expected is not None else []
    return checks


Draw = Callable[[np.random.Generator, list[int]], np.ndarray]


def _noise(rng: np.random.Generator, sizes: list[int]) -> np.ndarray:
    return rng.standard_normal(sizes)


def _skewed(rng: np.random.Generator, sizes: list[int]) -> np.ndarray:
    """Few different values, some large: zeros, ties, and what saturates."""
    return rng.choice([0.0, 0.0, 0.5, -0.5, 1.0, -1.0, 100.0, -100.0], sizes)


def _inputs(proto: onnx.ModelProto, draw: Draw) -> dict[str, np.ndarray] | None:
    """Drawn values for float inputs and zeros for others, None where a size beside the batch is open."""
    rng = np.random.default_rng(0)
    constants = {tensor.name for tensor in proto.graph.initializer}
    feeds = {}
    for value in proto.graph.input:
        kind = value.type.tensor_type
        sizes = [dim.dim_value for dim in kind.shape.dim]
        sizes = [1, *sizes[1:]] if len(sizes) == IMAGE_RANK and not sizes[0] else sizes
        if value.name in constants:
            continue
        if any(size < 1 for size in sizes) or math.prod(sizes) > MAX_ELEMENTS:
            return None
        dtype = onnx.helper.tensor_dtype_to_np_dtype(kind.elem_type)
        if dtype.kind not in "fiub":
            return None
        floating = np.issubdtype(dtype, np.floating)
        feeds[value.name] = (draw(rng, sizes) if floating else np.zeros(sizes)).astype(dtype)
    return feeds


def _is_bounded(proto: onnx.ModelProto) -> bool:
    """Whether running the model cannot go on for ever or ask for a tensor beyond all bounds."""
    model = ir.from_proto(proto)
    for value in model.graph.inputs:
        if value.shape is not None and len(value.shape) == IMAGE_RANK and not isinstance(value.shape[0], int):
            value.shape = ir.Shape([1, *value.shape.dims[1:]])
    for node in model.graph:
        for output in node.outputs:
            output.shape = None
    infer_shapes(model)
    return all(_is_bounded_node(node) for node in all_nodes(model.graph))


def _is_bounded_node(node: ir.Node) -> bool:
    if node.op_type in ENDLESS or any(is_static(o) and size_of(o) > MAX_RUN_ELEMENTS for o in node.outputs):
        return False
    return node.op_type not in GROWING or all(is_static(output) for output in node.outputs)


def _agree(results: list[np.ndarray] | None, expected: list[np.ndarray]) -> bool:
    if results is None or [a.shape for a in results] != [a.shape for a in expected]:
        return False
    scales = [max(1.0, float(np.abs(a[np.isfinite(a)]).max(initial=0))) for a in expected]
    return all(
        np.allclose(a, b, rtol=0, atol=TOLERANCE * scale, equal_nan=True)
        for a, b, scale in zip(results, expected, scales, strict=True)
    )
