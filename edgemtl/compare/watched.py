"""A torch model seen through its modules, which find their place in the graph by the paths its nodes carry."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from edgemtl.compare.reading import Reading, sort_routing
from edgemtl.frontend.model import ORIGIN
from edgemtl.frontend.moe_node import is_moe
from edgemtl.graph import name_of, result, shape_of
from edgemtl.operators import Array, Frame
from edgemtl.partition import TaskModel

WatchModules = Callable[[Array], tuple[Mapping[str, Array], Mapping[str, tuple[Array, Array]]]]
"""An image to the output of every module, and the experts and weights [T, k] of every mixture, by module path."""


class TorchSide:
    """A torch model's modules under the names of the last nodes they became.

    A module that left no node, or none of the size of its output, delivers nothing.
    """

    def __init__(self, task: TaskModel, watch: WatchModules) -> None:
        self._watch = watch
        self._nodes: dict[str, tuple[str, tuple[int, ...]]] = {}
        self._mixtures: dict[str, str] = {}
        for node in task.ir.graph:
            path = node.metadata_props.get(ORIGIN, "")
            parts = path.split(".") if path else []
            for length in range(1, len(parts) + 1):
                self._nodes[".".join(parts[:length])] = name_of(node), shape_of(result(node))
            if is_moe(node):
                self._mixtures[path] = name_of(node)

    def __call__(self, frame: Frame) -> Reading:
        """What the model's modules make of the image of a frame."""
        (image,) = frame.values()
        outputs, chosen = self._watch(image)
        layers: dict[str, Array] = {}
        for path, value in outputs.items():
            name, shape = self._nodes.get(path, ("", ()))
            if name and name not in layers and value.shape[-1:] and value.size == _size(shape):
                layers[name] = value.reshape(shape)
        routers = {self._mixtures[p]: sort_routing(*choices) for p, choices in chosen.items() if p in self._mixtures}
        return Reading(layers, routers)


def _size(shape: tuple[int, ...]) -> int:
    total = 1
    for length in shape:
        total *= length
    return total
