"""Which experts a task's router picks on given images, measured in onnxruntime."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import onnx_ir as ir
import onnxruntime

from edgemtl.errors import InputError, UsageError
from edgemtl.frontend import InputSpec
from edgemtl.frontend.moe_node import MoEAttributes, moe_nodes
from edgemtl.partition.graphs import Array
from edgemtl.partition.model import Calibration, MoEPathway

Images = tuple[Array, ...]


def check_images(images: Iterable[Array] | None, spec: InputSpec) -> Images:
    """The images, float32 of the input's shape; UsageError for none, InputError for one that does not fit."""
    held = () if images is None else tuple(images)
    if not held:
        raise UsageError(
            "the calibrated pathway must be given calibration images, not none; "
            "pass a folder of typical images, or use exact, which needs none"
        )
    for index, image in enumerate(held):
        if image.shape != spec.shape or image.dtype != np.float32:
            expected, found = f"float32 {spec.shape}", f"{image.dtype} {image.shape}"
            raise InputError(
                f"calibration image {index} must be {expected}, not {found}; resize and normalise it"
            )
        if not np.isfinite(image).all():
            raise InputError(f"calibration image {index} must be finite; it holds infinities or NaN")
    return held


@dataclass(frozen=True)
class Picks:
    """What the images showed: outputs [image], and picks [image, layer, expert of the whole layer]."""

    outputs: tuple[Array, ...]
    counts: tuple[tuple[Array, ...], ...]

    def per_layer(self) -> tuple[Array, ...]:
        """Picks of all images, per layer [expert]."""
        return tuple(np.sum(layer, axis=0) for layer in zip(*self.counts, strict=True))


def count_picks(model: ir.Model, reachable: Sequence[MoEPathway], images: Images) -> Picks:
    """Run the task on every image and count the tokens that pick each expert, layer by layer.

    model: a task's graph that still has all the experts in `reachable`. Only those can be picked.
    """
    watched = model.clone()
    nodes = list(moe_nodes(watched))
    watched.graph.outputs.extend(_logits(node) for node in nodes)
    attributes = [MoEAttributes.from_node(node) for node in nodes]
    outputs, counts = [], []
    for output, *logits in _run(watched, images):
        outputs.append(output)
        rows = zip(logits, attributes, reachable, strict=True)
        counts.append(tuple(_count(array, held, pathway) for array, held, pathway in rows))
    return Picks(tuple(outputs), tuple(counts))


def _logits(node: ir.Node) -> ir.Value:
    value = node.inputs[1]
    assert value is not None
    return value


def _run(model: ir.Model, images: Images) -> Iterator[list[Array]]:
    """The graph's outputs for one image after the other."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    proto = ir.to_proto(model).SerializeToString()
    session = onnxruntime.InferenceSession(proto, options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return (session.run(None, {name: image}) for image in images)


def _count(logits: Array, held: MoEAttributes, pathway: MoEPathway) -> Array:
    """Tokens per expert [total]; top-k among the reachable experts, ties to the lowest index."""
    experts = np.array(pathway.experts)
    first, size = held.window or (0, pathway.total)
    shifted = logits[:, first : first + size]
    exponent = np.exp(shifted - shifted.max(axis=-1, keepdims=True))
    probability = exponent / exponent.sum(axis=-1, keepdims=True)
    order = np.argsort(-probability[:, experts - first], axis=-1, kind="stable")[:, : held.k]
    return np.bincount(experts[order].reshape(-1), minlength=pathway.total)


def drop_unpicked(reachable: Sequence[MoEPathway], picks: Picks) -> tuple[MoEPathway, ...]:
    """The pathways without the experts no token of any image picked."""
    counted = zip(reachable, picks.per_layer(), strict=True) if reachable else ()
    return tuple(replace(p, experts=tuple(e for e in p.experts if counts[e])) for p, counts in counted)


def measure(model: ir.Model, images: Images, picks: Picks) -> Calibration:
    """What dropping cost: the calibrated graph's outputs against the exact ones of `picks`."""
    pairs = zip(_run(model, images), picks.outputs, strict=True)
    errors = [np.abs(calibrated[0] - exact) for calibrated, exact in pairs]
    return Calibration(
        images=len(images),
        picks=tuple(tuple(counts.tolist()) for counts in picks.per_layer()),
        max_abs=max(float(error.max()) for error in errors),
        mean_abs=float(np.mean([error.mean(dtype=np.float64) for error in errors])),
        unseen_share=_unseen_share(picks),
    )


def _unseen_share(picks: Picks) -> float | None:
    """Leaving out each image in turn: its picks of experts no other image picked, over all picks."""
    layers = [np.array(layer) for layer in zip(*picks.counts, strict=True)]
    if len(picks.counts) < 2 or not layers:
        return None
    alone = sum(int(layer[:, (layer > 0).sum(axis=0) == 1].sum()) for layer in layers)
    return alone / sum(int(layer.sum()) for layer in layers)
