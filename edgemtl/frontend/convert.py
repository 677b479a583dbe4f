"""Older opsets brought to ours. The converter is not always right, so its result is run against the original."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

import numpy as np
import onnx
import onnxruntime

from edgemtl.errors import ModelError
from edgemtl.frontend.files import MAX_ELEMENTS
from edgemtl.frontend.limits import ENDLESS, GROWING, MAX_RUN_ELEMENTS
from edgemtl.frontend.moe_node import OPSET

TOLERANCE = 1e-4


def convert(proto: onnx.ModelProto, version: int, notes: list[str]) -> onnx.ModelProto:
    """The model in opset `OPSET` or later.

    Raises `ModelError` for a model that cannot be converted, or that computes something else afterwards.
    """
    if version >= OPSET:
        return proto
    what, hint = f"the model's opset {version} cannot be converted to {OPSET}", f"export it with opset {OPSET}"
    try:
        converted = onnx.version_converter.convert_version(proto, OPSET)
    except Exception as error:
        raise ModelError(f"{what} ({str(error).splitlines()[0][:200]}); {hint}") from error
    feeds = _random_inputs(proto)
    expected = _run(proto, feeds) if feeds is not None and _is_bounded(converted) else None
    if feeds is None or expected is None:
        notes.append(f"the model's opset {version} was converted to {OPSET}; not checked, as the original does not run")
        return converted
    if not _agree(_run(converted, feeds), expected):
        raise ModelError(f"{what} (the result computes something else); {hint}")
    notes.append(f"the model's opset {version} was converted to {OPSET}; checked on a random image")
    return converted


def _random_inputs(proto: onnx.ModelProto) -> dict[str, np.ndarray] | None:
    """Noise for float inputs and zeros for others, None where a size beside the batch is open."""
    rng = np.random.default_rng(0)
    constants = {tensor.name for tensor in proto.graph.initializer}
    feeds = {}
    for value in proto.graph.input:
        kind = value.type.tensor_type
        sizes = [dim.dim_value for dim in kind.shape.dim]
        sizes = [1, *sizes[1:]] if len(sizes) == 4 and not sizes[0] else sizes
        if value.name in constants:
            continue
        if any(size < 1 for size in sizes) or math.prod(sizes) > MAX_ELEMENTS:
            return None
        dtype = onnx.helper.tensor_dtype_to_np_dtype(kind.elem_type)
        if dtype.kind not in "fiub":
            return None
        floating = np.issubdtype(dtype, np.floating)
        feeds[value.name] = (rng.standard_normal(sizes) if floating else np.zeros(sizes)).astype(dtype)
    return feeds


def _is_bounded(proto: onnx.ModelProto) -> bool:
    """Whether running the model cannot go on for ever or ask for a tensor beyond all bounds."""
    graph = onnx.shape_inference.infer_shapes(proto).graph
    sizes = {v.name: [d.dim_value for d in v.type.tensor_type.shape.dim] for v in (*graph.value_info, *graph.output)}
    if any(math.prod(size or 1 for size in shape) > MAX_RUN_ELEMENTS for shape in sizes.values()):
        return False
    open_ended = (node for node in graph.node if not all(all(sizes.get(name, [0])) for name in node.output))
    return not any(node.op_type in GROWING for node in open_ended) and not _has_loops(graph.node)


def _has_loops(nodes: Iterable[onnx.NodeProto]) -> bool:
    """Loops, or what may grow within a branch, whose shapes nobody infers."""
    inner = [n for node in nodes for a in node.attribute if a.HasField("g") for n in a.g.node]
    return any(node.op_type in ENDLESS for node in nodes) or any(n.op_type in GROWING or _has_loops([n]) for n in inner)


def _run(proto: onnx.ModelProto, feeds: Mapping[str, np.ndarray]) -> list[np.ndarray] | None:
    """What onnxruntime computes, None if it cannot."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    try:
        session = onnxruntime.InferenceSession(proto.SerializeToString(), options, providers=["CPUExecutionProvider"])
        outputs: list[np.ndarray] = session.run(None, dict(feeds))
    # onnxruntime's errors share no base class.
    except Exception:
        return None
    return outputs


def _agree(found: list[np.ndarray] | None, expected: list[np.ndarray]) -> bool:
    if found is None or [a.shape for a in found] != [a.shape for a in expected]:
        return False
    scales = [max(1.0, float(np.abs(a[np.isfinite(a)]).max(initial=0))) for a in expected]
    return all(
        np.allclose(a, b, rtol=0, atol=TOLERANCE * scale, equal_nan=True)
        for a, b, scale in zip(found, expected, scales, strict=True)
    )
