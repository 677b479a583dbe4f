"""Integer convolutions in groups: one of each group, as kernels have no others, and their results side by side."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from operator import itemgetter

from edgemtl.hw.law_weightless import Rescale
from edgemtl.lowering.ir import Constant, Lowered, Step, View, dense, make_step
from edgemtl.operators import QConcat, QConv2d, QCopy
from edgemtl.tvm_bridge.kernels.qconv_depthwise import is_depthwise

SAME = Rescale(0, 1 << 16, 16, 0)
"""A factor of 1: what has it keeps its bits."""


def with_groups(task: Lowered) -> Lowered:
    """The task with its convolutions in groups, but depthwise ones, group by group: the same bits, other steps."""
    return replace(task, steps=tuple(part for step in task.steps for part in _parts(step)))


def _parts(step: Step) -> Iterator[Step]:
    spec = step.operator
    if not isinstance(spec, QConv2d) or spec.groups == 1 or is_depthwise(spec):
        yield step
        return
    width, rows = spec.cout // spec.groups, spec.out_height * spec.out_width
    results = [dense(f"{step['y'].buffer}.group{i}", (rows, width), spec.how.dtype) for i in range(spec.groups)]
    for group, y in enumerate(results):
        copy = _copy(step, spec, group)
        yield copy
        yield _convolve(step, spec, group, copy["y"], y)
    same, dtypes = (SAME,) * spec.groups, (spec.how.dtype,) * spec.groups
    concat = QConcat(rows, (width,) * spec.groups, same, dtypes, spec.how.dtype)
    views = dict(zip(concat.names, results, strict=True))
    yield make_step(concat, {**views, "y": step["y"]}, {}, step.origin)


def _copy(step: Step, spec: QConv2d, group: int) -> Step:
    """The channels that a group reads, copied from all pixels."""
    cin = spec.cin // spec.groups
    x = step["x"].apply(itemgetter((slice(None), slice(group * cin, (group + 1) * cin))))
    y = dense(f"{step['y'].buffer}.group{group}.x", x.shape, x.dtype)
    return make_step(QCopy(x.itemsize, x.shape, x.strides, y.strides), {"x": x, "y": y}, {}, step.origin)


def _convolve(step: Step, spec: QConv2d, group: int, x: View, y: View) -> Step:
    """The convolution of one group, from its channels to its results."""
    cin, cout = spec.cin // spec.groups, spec.cout // spec.groups
    constants = {name: step.constant(name) for name in spec.signature.constants}
    for name in ("weight", "bias", "scale"):
        whole = constants[name]
        part = whole.array[group * cout : (group + 1) * cout]
        constants[name] = Constant(f"{whole.name}.{group}", part)
    return make_step(replace(spec, cin=cin, cout=cout, groups=1), {"x": x, "y": y}, constants, step.origin)
