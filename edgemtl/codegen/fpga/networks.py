"""What the overlay runs as a whole: groups of integer steps, each one shape of network."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Generic, TypeVar, get_args, get_type_hints

from edgemtl import operators as ops
from edgemtl.lowering.ir import Step, View
from edgemtl.operators import Array, Operator

S = TypeVar("S")


@dataclass(frozen=True)
class Of(Generic[S]):
    """A step whose kind is known."""

    step: Step
    operator: S

    def __getitem__(self, name: str) -> View:
        """The input or output of this name."""
        return self.step[name]

    def arrays(self, expert: int | None = None) -> dict[str, Array]:
        """Its constants by name; an expert's where one is named."""
        return self.step.arrays(expert)


def of(step: Step, kind: type[S]) -> Of[S]:
    """The step as one of ``kind``, which it must be."""
    assert isinstance(step.operator, kind)
    return Of(step, step.operator)


@dataclass(frozen=True)
class Patch:
    """Patches to tokens."""

    embed: Of[ops.QPatchEmbed]


@dataclass(frozen=True)
class Norm:
    """LayerNorm of all rows or the last ones."""

    norm: Of[ops.QLayerNorm]


@dataclass(frozen=True)
class Attention:
    """q, k and v of every head, attention, and the layer behind it."""

    qkv: Of[ops.QLinear]
    attention: Of[ops.QAttention]
    out: Of[ops.QLinear]


@dataclass(frozen=True)
class Mlp:
    """Two layers whose rows between them nobody else reads."""

    first: Of[ops.QLinear]
    second: Of[ops.QLinear]


@dataclass(frozen=True)
class Experts:
    """Gate, router, two layers of every expert, and their combination with the residual."""

    gate: Of[ops.QLinear]
    router: Of[ops.QRouter]
    first: Of[ops.QExperts]
    second: Of[ops.QExperts]
    combine: Of[ops.QCombine]


@dataclass(frozen=True)
class Picture:
    """A layer over an image: perhaps enlarged first, a 3 x 3 convolution, perhaps a layer of its pixels behind it."""

    enlarge: Of[ops.QBilinear] | None
    conv: Of[ops.QConv2d]
    pixels: Of[ops.QLinear] | None

    @property
    def source(self) -> View:
        """The image it begins with."""
        return (self.conv if self.enlarge is None else self.enlarge)["x"]


Group = Patch | Norm | Attention | Mlp | Experts | Picture


def steps_of(group: Group) -> tuple[Step, ...]:
    """Its steps in order."""
    return tuple(part.step for part in vars(group).values() if part is not None)


def grouped(group: type) -> frozenset[type[Operator]]:
    """The operators of a kind of group, from the types of its fields."""
    return frozenset(kind for hint in get_type_hints(group).values() for kind in _of_types(hint))


def _of_types(hint: object) -> Iterator[type[Operator]]:
    """The operators of ``Of[operator]`` or ``Of[operator] | None``."""
    for argument in get_args(hint):
        if isinstance(argument, type) and issubclass(argument, Operator):
            yield argument
        else:
            yield from _of_types(argument)
