"""What one side says of one image: the value of every layer it delivers, and what every router chose."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np

from edgemtl.frontend.moe_node import MoEAttributes
from edgemtl.operators import Array, Frame


@dataclass(frozen=True)
class Routing:
    """The experts of each token [T, k], ascending, counted in the columns of the logits, and their weights [T, k]."""

    experts: Array = field(repr=False)
    weights: Array = field(repr=False)


@dataclass(frozen=True)
class Reading:
    """Layers in the order they ran, as real numbers in the shape of the ONNX value; routers by their MoE node.

    by_choice: layers [T, k, n] that hold a row for each of a token's experts, and the router that chose them.
    """

    layers: Mapping[str, Array]
    routers: Mapping[str, Routing]
    by_choice: Mapping[str, str] = field(default_factory=dict)


Side = Callable[[Frame], Reading]
"""One of the things compared: a frame to what it says of it."""


def sort_routing(experts: Array, weights: Array) -> Routing:
    """The routing of choices [T, k] in any order."""
    order = np.argsort(experts, axis=-1, kind="stable")
    return Routing(np.take_along_axis(experts, order, -1), np.take_along_axis(weights, order, -1))


def route_logits(logits: Array, attributes: MoEAttributes) -> Routing:
    """What the node's definition chooses from its logits [T, E]; the partition has removed windows."""
    columns = np.arange(logits.shape[-1]) if attributes.experts is None else np.array(attributes.experts)
    powers = np.exp((logits - logits.max(-1, keepdims=True)).astype(np.float64))
    probability = powers / powers.sum(-1, keepdims=True)
    order = np.argsort(-logits[:, columns], axis=-1, kind="stable")[:, : attributes.k]
    weights = np.take_along_axis(probability[:, columns], order, -1)
    if attributes.normalize:
        weights = weights / weights.sum(-1, keepdims=True)
    return sort_routing(columns[order], np.where(weights < attributes.threshold, 0, weights))


def same_choices(a: tuple[Array, Routing], b: tuple[Array, Routing]) -> tuple[Array, Array]:
    """The rows [n] of layers by choice that both sides gave to the same expert: others are not the same thing."""
    same = a[1].experts[:, :, None] == b[1].experts[:, None, :]
    token, in_a, in_b = np.nonzero(same)
    return a[0][token, in_a], b[0][token, in_b]
