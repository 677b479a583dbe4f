"""What the overlay runs as a whole: groups of integer steps, each one shape of network."""

from __future__ import annotations

from dataclasses import dataclass

from edgemtl.lowering.ir import Step


@dataclass(frozen=True)
class Patch:
    """Patches to tokens."""

    embed: Step


@dataclass(frozen=True)
class Norm:
    """LayerNorm of all rows or the last ones."""

    norm: Step


@dataclass(frozen=True)
class Attention:
    """q, k and v of every head, attention, and the layer behind it."""

    qkv: Step
    attention: Step
    out: Step


@dataclass(frozen=True)
class Mlp:
    """Two layers whose rows between them nobody else reads."""

    first: Step
    second: Step


@dataclass(frozen=True)
class Experts:
    """Gate, router, two layers of every expert, and their combination with the residual."""

    gate: Step
    router: Step
    first: Step
    second: Step
    combine: Step


@dataclass(frozen=True)
class Picture:
    """A layer over an image: perhaps enlarged first, a 3 x 3 convolution, perhaps a layer of single pixels behind it."""

    enlarge: Step | None
    conv: Step
    pixels: Step | None


Group = Patch | Norm | Attention | Mlp | Experts | Picture


def steps_of(group: Group) -> tuple[Step, ...]:
    """Its steps in order."""
    return tuple(step for step in vars(group).values() if step is not None)
