"""Which values to read while steps run: after which step, through which view, and under which name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from edgemtl import operators as ops
from edgemtl.lowering.ir import Step, View

ROUTERS = (ops.Router, ops.QRouter, ops.Dispatch)
EXPERTS = (ops.Experts, ops.QExperts)


@dataclass(frozen=True)
class Stop:
    """After step ``step``, ``view`` shows the layer ``name``; ``width``: length of a row of the buffer."""

    step: int
    name: str
    view: View
    width: int


def plan_stops(steps: Sequence[Step], values: Mapping[str, View]) -> tuple[Stop, ...]:
    """One stop for each layer the steps deliver, after the last step that writes it.

    A step that delivers the value of one of its nodes has that node's name. Others, such as the two halves of the
    experts, have the name of their last node and what they are: "NODE:up", "NODE:down".
    """
    stops: dict[str, Stop] = {}
    for index, step in enumerate(steps):
        if not step.outputs or isinstance(step.operator, ROUTERS):
            continue
        out = step.result
        delivered = [name for name in step.origin if name in values and values[name].buffer == out.buffer]
        if delivered:
            seen = replace(values[delivered[0]], dtype=out.dtype)
            stops[delivered[0]] = Stop(index, delivered[0], seen, _width(out))
        elif step.operator.delivers:
            name = _free(f"{step.origin[0]}:{step.operator.label}", stops)
            stops[name] = Stop(index, name, out, _width(out))
    return tuple(sorted(stops.values(), key=lambda stop: stop.step))


def _width(view: View) -> int:
    """The length of a row; a scalar is one of one value."""
    return view.shape[-1] if view.shape else 1


def _free(name: str, taken: Mapping[str, Stop]) -> str:
    """The name, numbered where a step has it already."""
    count = 0
    while (numbered := f"{name}_{count}" if count else name) in taken:
        count += 1
    return numbered
