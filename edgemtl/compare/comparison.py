"""Two sides on the same images: figures per layer and router, and the first layer that is too far off."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from edgemtl.compare.figures import LayerFigures, LayerSums, RouterFigures, RouterSums
from edgemtl.compare.reading import Reading, Side, same_choices
from edgemtl.errors import InputError
from edgemtl.graph import name_of
from edgemtl.operators import Array, Frame
from edgemtl.partition import TaskModel
from edgemtl.progress import counted


@dataclass(frozen=True)
class Limits:
    """What fails a comparison: a layer's SQNR in decibel, a router's share of choices that agree; None for nothing."""

    sqnr_db: float | None = None
    agreement: float | None = None


@dataclass(frozen=True)
class Comparison:
    """Result of a comparison. ``a`` is the reference; layers and routers are in the order of the graph.

    only_a, only_b: layers that only one side delivers, which are not compared.
    """

    a: str
    b: str
    task: str
    images: int
    layers: tuple[LayerFigures, ...]
    routers: tuple[RouterFigures, ...]
    only_a: tuple[str, ...]
    only_b: tuple[str, ...]
    limits: Limits
    notes: tuple[str, ...] = ()

    @property
    def first(self) -> LayerFigures | None:
        """The first layer below the limit; None where there is no limit or none is below it."""
        limit = self.limits.sqnr_db
        return None if limit is None else next((layer for layer in self.layers if not layer.sqnr_db >= limit), None)

    @property
    def first_router(self) -> RouterFigures | None:
        """The first router that agrees less than the limit asks."""
        limit = self.limits.agreement
        return None if limit is None else next((r for r in self.routers if not r.agreement >= limit), None)

    @property
    def failed(self) -> bool:
        """Whether a limit is broken."""
        return self.first is not None or self.first_router is not None

    def to_json(self) -> dict[str, Any]:
        """The fields as JSON values; a figure that is not finite is null, ``identical`` says which way."""
        first, router = self.first, self.first_router
        return {
            "a": self.a,
            "b": self.b,
            "task": self.task,
            "images": self.images,
            "fail_below_db": self.limits.sqnr_db,
            "fail_agreement_below": self.limits.agreement,
            "failed": self.failed,
            "first_below": first.name if first is not None else None,
            "first_router_below": router.name if router is not None else None,
            "layers": [_layer_entry(layer) for layer in self.layers],
            "routers": [asdict(r) for r in self.routers],
            "only_a": list(self.only_a),
            "only_b": list(self.only_b),
            "notes": list(self.notes),
        }


def _layer_entry(layer: LayerFigures) -> dict[str, Any]:
    plain = {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in asdict(layer).items()}
    return {**plain, "identical": layer.sqnr_db == math.inf}


@dataclass(frozen=True)
class Pair:
    """The names and the two sides."""

    names: tuple[str, str]
    sides: tuple[Side, Side]


def compare_sides(
    pair: Pair, task: TaskModel, images: Sequence[Frame], limits: Limits, notes: tuple[str, ...] = ()
) -> Comparison:
    """Run both sides on every image. Raises InputError where they have no layer in common."""
    tally = _Tally()
    for image in counted("images", images):
        tally.add(pair.sides[0](image), pair.sides[1](image))
    if not tally.layers:
        raise InputError(
            f"{pair.names[0]} and {pair.names[1]} must have a layer in common, and have none; "
            "export the model with `edgemtl export`, so that its nodes carry the paths of its modules"
        )
    layers, routers = tally.figures({name_of(node): place for place, node in enumerate(task.ir.graph)})
    return Comparison(*pair.names, task.task.name, len(images), layers, routers, *tally.alone, limits, notes)


class _Tally:
    """Sums by name, in the order of the first reading of A."""

    def __init__(self) -> None:
        self.layers: dict[str, LayerSums] = {}
        self.routers: dict[str, RouterSums] = {}
        self.alone: tuple[tuple[str, ...], tuple[str, ...]] = (), ()

    def add(self, a: Reading, b: Reading) -> None:
        common = [name for name, value in a.layers.items() if _comparable(value, b.layers.get(name))]
        self.alone = tuple(n for n in a.layers if n not in common), tuple(n for n in b.layers if n not in common)
        for name in common:
            self.layers.setdefault(name, LayerSums()).add(*_values(a, b, name))
        for name in (n for n in a.routers if n in b.routers):
            self.routers.setdefault(name, RouterSums()).add(a.routers[name], b.routers[name])

    def figures(self, places: Mapping[str, int]) -> tuple[tuple[LayerFigures, ...], tuple[RouterFigures, ...]]:
        """Sorted by the place of their node; parts of a node, "NODE:part", keep the order they ran in."""
        names = sorted(self.layers, key=lambda name: _place(places, name))
        layers = tuple(self.layers[name].figures(name) for name in names)
        behind = {r: sum(_place(places, n) < _place(places, r) for n in names) for r in self.routers}
        routers = tuple(sums.figures(r, behind[r]) for r, sums in self.routers.items())
        return layers, tuple(sorted(routers, key=lambda router: router.behind))


def _values(a: Reading, b: Reading, name: str) -> tuple[Array, Array]:
    """Both sides' values of a layer."""
    values = a.layers[name], b.layers[name]
    router = a.by_choice.get(name)
    if router is None:
        return values
    return same_choices((values[0], a.routers[router]), (values[1], b.routers[router]))


def _place(places: Mapping[str, int], name: str) -> int:
    return places.get(name, places.get(name.rpartition(":")[0], len(places)))


def _comparable(a: Array, b: Array | None) -> bool:
    return b is not None and a.shape == b.shape and a.dtype.kind == "f"
