"""Which experts a task's router picks on given images, measured in onnxruntime."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

import numpy as np
import onnx_ir as ir

from edgemtl.bundle import MoEEntry
from edgemtl.errors import UsageError
from edgemtl.frontend import InputSpec
from edgemtl.frontend.frames import check_frame
from edgemtl.frontend.moe_node import MoEAttributes, logits_of, moe_nodes
from edgemtl.onnx_runtime import open_session
from edgemtl.operators import Array, Frame
from edgemtl.partition.cut import sweep
from edgemtl.partition.model import Calibration

Images = tuple[Frame, ...]


def check_images(images: Iterable[Frame] | None, inputs: Sequence[InputSpec]) -> Images:
    """The images, each with an array of every input; UsageError for none, InputError for one that does not fit."""
    checked = () if images is None else tuple(images)
    if not checked:
        raise UsageError(
            "the calibrated pathway must be given calibration images, not none; "
            "pass a folder of typical images, or use exact, which needs none"
        )
    for index, image in enumerate(checked):
        check_frame(f"calibration image {index}", image, inputs)
    return checked


Counts = tuple[tuple[Array, ...], ...]
"""Tokens that picked each expert of the whole layer: per image and layer, an array [expert]."""


def count_picks(model: ir.Model, reachable: Sequence[MoEEntry], images: Images) -> Counts:
    """Run the task's routers on every image and count the tokens that pick each expert, layer by layer.

    model: a task's graph that still has all the experts in `reachable`. Only those can be picked.
    """
    if not reachable:
        return ((),) * len(images)
    routers = model.clone()
    nodes = list(moe_nodes(routers))
    attributes = [MoEAttributes.from_node(node) for node in nodes]
    routers.graph.outputs[:] = [logits_of(node) for node in nodes]
    sweep(routers)
    return tuple(
        tuple(_count(*of_layer) for of_layer in zip(logits, attributes, reachable, strict=True))
        for logits in _run(routers, images)
    )


def _run(model: ir.Model, images: Images) -> Iterator[list[Array]]:
    """The graph's outputs for one image after the other."""
    session = open_session(ir.to_proto(model).SerializeToString())
    names = [value.name for value in session.get_inputs()]
    return (session.run(None, {name: image[name] for name in names}) for image in images)


def _count(logits: Array, attributes: MoEAttributes, pathway: MoEEntry) -> Array:
    """Tokens per expert [total]; top-k among the reachable experts, ties to the lowest index."""
    experts = np.array(pathway.experts)
    first, size = attributes.window or (0, pathway.total)
    shifted = logits[:, first : first + size]
    exponent = np.exp(shifted - shifted.max(axis=-1, keepdims=True))
    probability = exponent / exponent.sum(axis=-1, keepdims=True)
    order = np.argsort(-probability[:, experts - first], axis=-1, kind="stable")[:, : attributes.k]
    return np.bincount(experts[order].reshape(-1), minlength=pathway.total)


def _per_layer(counts: Counts) -> tuple[Array, ...]:
    """Picks of all images together, per layer [expert]."""
    return tuple(np.sum(layer, axis=0) for layer in zip(*counts, strict=True))


def drop_unpicked(reachable: Sequence[MoEEntry], counts: Counts) -> tuple[MoEEntry, ...]:
    """The pathways without the experts no token of any image picked."""
    picked = zip(reachable, _per_layer(counts), strict=True)
    return tuple(replace(p, experts=tuple(e for e in p.experts if of_layer[e])) for p, of_layer in picked)


def measure(exact: ir.Model, calibrated: ir.Model, images: Images, counts: Counts) -> Calibration:
    """What dropping cost: the calibrated graph's outputs against the exact one's, image by image."""
    pairs = zip(_run(exact, images), _run(calibrated, images), strict=True)
    # Only the figures are kept: outputs of many large images would not fit in memory.
    errors = [_largest_and_mean(np.abs(few - all_)) for (all_,), (few,) in pairs]
    return Calibration(
        images=len(images),
        picks=tuple(tuple(of_layer.tolist()) for of_layer in _per_layer(counts)),
        max_abs=max(largest for largest, _ in errors),
        mean_abs=float(np.mean([mean for _, mean in errors])),
        unseen_share=_unseen_share(counts),
    )


def _largest_and_mean(error: Array) -> tuple[float, float]:
    return float(error.max()), float(error.mean(dtype=np.float64))


def _unseen_share(counts: Counts) -> float | None:
    """Leaving out each image in turn: its picks of experts no other image picked, over all picks."""
    layers = [np.array(layer) for layer in zip(*counts, strict=True)]
    if len(counts) < 2 or not layers:
        return None
    alone = sum(int(layer[:, (layer > 0).sum(axis=0) == 1].sum()) for layer in layers)
    return alone / sum(int(layer.sum()) for layer in layers)
