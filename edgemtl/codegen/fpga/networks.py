"""What the overlay runs as a whole: groups of integer steps, each one shape of network."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, TypeVar

from edgemtl.lowering.ir import Array, Step, View
from edgemtl.tvm_bridge import specs_int8 as q

S = TypeVar("S")


@dataclass(frozen=True)
class Of(Generic[S]):
    """A step whose kind is known."""

    step: Step
    spec: S

    @property
    def inputs(self) -> tuple[View, ...]:
        """What it reads."""
        return self.step.inputs

    @property
    def output(self) -> View:
        """What it writes first."""
        return self.step.outputs[0]

    @property
    def arrays(self) -> tuple[Array, ...]:
        """Its constants."""
        return tuple(constant.array for constant in self.step.constants)


def of(step: Step, kind: type[S]) -> Of[S]:
    """The step as one of ``kind``, which it must be."""
    assert isinstance(step.spec, kind)
    return Of(step, step.spec)


@dataclass(frozen=True)
class Patch:
    """Patches to tokens."""

    embed: Of[q.QPatchEmbedSpec]


@dataclass(frozen=True)
class Norm:
    """LayerNorm of all rows or the last ones."""

    norm: Of[q.QLayerNormSpec]


@dataclass(frozen=True)
class Attention:
    """q, k and v of every head, attention, and the layer behind it."""

    qkv: Of[q.QLinearSpec]
    attention: Of[q.QAttentionSpec]
    out: Of[q.QLinearSpec]


@dataclass(frozen=True)
class Mlp:
    """Two layers whose rows between them nobody else reads."""

    first: Of[q.QLinearSpec]
    second: Of[q.QLinearSpec]


@dataclass(frozen=True)
class Experts:
    """Gate, router, two layers of every expert, and their combination with the residual."""

    gate: Of[q.QLinearSpec]
    router: Of[q.QRouterSpec]
    first: Of[q.QExpertSpec]
    second: Of[q.QExpertSpec]
    combine: Of[q.QCombineSpec]


@dataclass(frozen=True)
class Picture:
    """A layer over an image: perhaps enlarged first, a 3 x 3 convolution, perhaps a layer of its pixels behind it."""

    enlarge: Of[q.QBilinearSpec] | None
    conv: Of[q.QConv2dSpec]
    pixels: Of[q.QLinearSpec] | None

    @property
    def source(self) -> View:
        """The image it begins with."""
        return (self.conv if self.enlarge is None else self.enlarge).inputs[0]


Group = Patch | Norm | Attention | Mlp | Experts | Picture


def steps_of(group: Group) -> tuple[Step, ...]:
    """Its steps in order."""
    return tuple(part.step for part in vars(group).values() if part is not None)
