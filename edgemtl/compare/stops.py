"""Where to look while steps run: behind which step, at which place, and under which name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from edgemtl.lowering.ir import Step, View
from edgemtl.tvm_bridge import specs, specs_conv
from edgemtl.tvm_bridge import specs_int8 as q
from edgemtl.tvm_bridge.kernel import Kernel

ROUTERS = (specs.RouterSpec, q.QRouterSpec)
EXPERTS = (specs.ExpertSpec, q.QExpertSpec)
UNNAMED = (
    specs.CopySpec,
    q.QCopySpec,
    q.QuantiseSpec,
    q.DequantiseSpec,
    q.ConvertSpec,
    q.QuantiseImageSpec,
    Kernel,
)
"""Steps that deliver no layer of their own: they bring a value into another type or place, or are TVM's own parts."""

PARTS: Mapping[type, str] = {
    specs.LinearSpec: "linear",
    q.QLinearSpec: "linear",
    specs_conv.Conv2dSpec: "conv",
    q.QConv2dSpec: "conv",
    specs_conv.ResizeSpec: "resize",
    q.QBilinearSpec: "resize",
}
"""What a step is called that stands for an inner part of its nodes."""


@dataclass(frozen=True)
class Stop:
    """Behind step ``step`` the layer ``name`` is what ``view`` sees; ``width`` is the length of a row of the buffer."""

    step: int
    name: str
    view: View
    width: int


def plan_stops(steps: Sequence[Step], values: Mapping[str, View]) -> tuple[Stop, ...]:
    """One stop for each layer the steps deliver, behind the last step that writes it.

    A step that delivers the value of one of its nodes has that node's name. Others, such as the two halves of the
    experts, have the name of their last node and what they are: "NODE:up", "NODE:down".
    """
    found: dict[str, Stop] = {}
    for index, step in enumerate(steps):
        if not step.outputs or isinstance(step.spec, ROUTERS):
            continue
        out = step.outputs[0]
        delivered = [name for name in step.origin if name in values and values[name].buffer == out.buffer]
        if delivered:
            seen = replace(values[delivered[0]], dtype=out.dtype)
            found[delivered[0]] = Stop(index, delivered[0], seen, _width(out))
        elif not isinstance(step.spec, UNNAMED):
            name = _free(f"{step.origin[0]}:{_part(step.spec)}", found)
            found[name] = Stop(index, name, out, _width(out))
    return tuple(sorted(found.values(), key=lambda stop: stop.step))


def _width(view: View) -> int:
    """The length of a row; a scalar is one of one value."""
    return view.shape[-1] if view.shape else 1


def _part(spec: object) -> str:
    if isinstance(spec, EXPERTS):
        return "up" if spec.gather else "down"
    return PARTS.get(type(spec), type(spec).__name__.removesuffix("Spec").lower())


def _free(name: str, taken: Mapping[str, Stop]) -> str:
    """The name, numbered where a step has it already."""
    count = 0
    while (numbered := f"{name}_{count}" if count else name) in taken:
        count += 1
    return numbered
