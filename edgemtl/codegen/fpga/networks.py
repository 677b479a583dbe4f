"""What the accelerator runs as one layer: groups of integer steps, each one kind of network block."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Generic, TypeVar, get_args, get_type_hints

from edgemtl import operators as ops
from edgemtl.hw.law_weights4 import unpack_codes
from edgemtl.lowering.ir import CodedConstant, Step, View, dense
from edgemtl.operators import Array, Operator

S = TypeVar("S")


@dataclass(frozen=True)
class Of(Generic[S]):
    """A step whose operator type is known."""

    step: Step
    operator: S

    def __getitem__(self, name: str) -> View:
        """The input or output of this name."""
        return self.step[name]

    def arrays(self, expert: int | None = None) -> dict[str, Array]:
        """Its constants by name; an expert's where one is named.

        Of a weight in 4 bits its codes int8 [k, n] and multipliers int8 [groups of rows, n], instead of the weight.
        """
        arrays = self.step.arrays(expert)
        weight = self.step.constant("weight", expert) if self.coded else None
        if isinstance(weight, CodedConstant):
            del arrays["weight"]
            arrays["codes"] = unpack_codes(weight.coded.codes, weight.coded.rows)
            arrays["multipliers"] = weight.coded.multipliers
        return arrays

    @property
    def coded(self) -> bool:
        """Whether its weights are in 4 bits, those of all experts."""
        return is_coded(self.step)


def is_coded(step: Step) -> bool:
    """Whether the weights of a linear layer or of all experts are in 4 bits."""
    match step.operator:
        case ops.QLinear():
            return isinstance(step.constant("weight"), CodedConstant)
        case ops.QExperts() as experts:
            return all(isinstance(step.constant("weight", e), CodedConstant) for e in range(experts.slots))
    return False


def of(step: Step, kind: type[S]) -> Of[S]:
    """The step as one of ``kind``, which it must be."""
    assert isinstance(step.operator, kind)
    return Of(step, step.operator)


@dataclass(frozen=True)
class PatchGroup:
    """Patch embedding: patches to tokens."""

    embed: Of[ops.QPatchEmbed]


@dataclass(frozen=True)
class NormGroup:
    """LayerNorm of all rows, or of the last ones."""

    norm: Of[ops.QLayerNorm]


@dataclass(frozen=True)
class AttentionGroup:
    """The projection to q, k and v, attention, and the output projection where there is one."""

    qkv: Of[ops.QLinear]
    attention: Of[ops.QAttention]
    out: Of[ops.QLinear] | None


@dataclass(frozen=True)
class LinearGroup:
    """A linear layer of its own."""

    layer: Of[ops.QLinear]


@dataclass(frozen=True)
class MlpGroup:
    """Two linear layers; no other step reads the rows between them."""

    first: Of[ops.QLinear]
    second: Of[ops.QLinear]


@dataclass(frozen=True)
class ExpertsGroup:
    """Gate, router, two linear layers of every expert, and their weighted sum with the residual."""

    gate: Of[ops.QLinear]
    router: Of[ops.QRouter]
    first: Of[ops.QExperts]
    second: Of[ops.QExperts]
    combine: Of[ops.QCombine]


@dataclass(frozen=True)
class ImageGroup:
    """A convolution, optionally after a bilinear upsampling and followed by a linear layer over pixels."""

    upsample: Of[ops.QBilinear] | None
    conv: Of[ops.QConv2d]
    pixels: Of[ops.QLinear] | None

    @property
    def source(self) -> View:
        """The image it begins with."""
        return (self.conv if self.upsample is None else self.upsample)["x"]

    @property
    def result(self) -> View:
        """The image it ends with."""
        return (self.conv if self.pixels is None else self.pixels)["y"]


@dataclass(frozen=True)
class ClassImageGroup(ImageGroup):
    """The same with the class of each pixel of its image behind it, which alone is stored."""

    classes: Of[ops.QClasses]

    @property
    def result(self) -> View:
        """The classes."""
        return self.classes["y"]


@dataclass(frozen=True)
class AddGroup:
    """The sum of two tensors of one shape."""

    add: Of[ops.QAdd]


@dataclass(frozen=True)
class MapGroup:
    """Bytes replaced by a table's, whatever their shape: rows of ``width``, as the step before writes them."""

    lookup: Of[ops.QLookup]
    width: int


@dataclass(frozen=True)
class RescaleGroup:
    """Values brought to another scale, whatever their shape: rows of ``width``, as the step before writes them."""

    convert: Of[ops.Convert]
    width: int


@dataclass(frozen=True)
class ConcatGroup:
    """Tensors side by side, each brought to the scale of the result."""

    concat: Of[ops.QConcat]


@dataclass(frozen=True)
class MeanGroup:
    """The mean of a whole image."""

    pool: Of[ops.QPool]


@dataclass(frozen=True)
class ResizeGroup:
    """An image enlarged by 2, 4 or 8."""

    resize: Of[ops.QBilinear] | Of[ops.QResample]


@dataclass(frozen=True)
class ClassesGroup:
    """The channel of the largest logit of each pixel, of an image or of one upsampled by 2."""

    classes: Of[ops.QClasses]


Group = (
    PatchGroup
    | NormGroup
    | AttentionGroup
    | MlpGroup
    | ExpertsGroup
    | ImageGroup
    | ClassImageGroup
    | LinearGroup
    | AddGroup
    | MapGroup
    | RescaleGroup
    | ConcatGroup
    | MeanGroup
    | ResizeGroup
    | ClassesGroup
)
STREAMED = (AddGroup, MapGroup, RescaleGroup, ConcatGroup, MeanGroup, ResizeGroup, ClassesGroup)
"""Groups of the vector unit alone: they read rows and images in any layout, and write that which readers need."""

LAYER_NAMES: Mapping[type, str] = {
    PatchGroup: "patch",
    NormGroup: "norm",
    AttentionGroup: "attention",
    MlpGroup: "mlp",
    LinearGroup: "linear",
    ExpertsGroup: "experts",
    ImageGroup: "picture",
    ClassImageGroup: "class picture",
    AddGroup: "add",
    MapGroup: "lookup",
    RescaleGroup: "rescale",
    ConcatGroup: "concat",
    MeanGroup: "mean",
    ResizeGroup: "resize",
    ClassesGroup: "classes",
}
"""What bundles and reports call a layer of each kind."""


def steps_of(group: Group) -> tuple[Step, ...]:
    """Its steps in order."""
    return tuple(part.step for part in vars(group).values() if isinstance(part, Of))


def reads_of(group: Group) -> tuple[View, ...]:
    """What its steps read that other steps write."""
    steps = steps_of(group)
    inside = {view.buffer for step in steps for view in step.outputs}
    return tuple(_seen(group, view) for step in steps for view in step.inputs if view.buffer not in inside)


def writes_of(group: Group) -> tuple[View, ...]:
    """What its steps write."""
    return tuple(_seen(group, view) for step in steps_of(group) for view in step.outputs)


def _seen(group: Group, view: View) -> View:
    """The view as a group sees it: whole rows for those that only follow the shape of what they read."""
    if isinstance(group, MapGroup | RescaleGroup):
        return dense(view.buffer, (view.size // group.width, group.width), view.dtype)
    return view


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
