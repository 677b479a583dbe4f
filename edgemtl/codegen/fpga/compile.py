"""The table of contents of FPGA code generation: integer steps of every task to segments within a memory budget."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import pairwise

from edgemtl.bundle import LeftStep
from edgemtl.codegen.fpga import networks
from edgemtl.codegen.fpga.fitting import Fitting, UnfitSegment
from edgemtl.codegen.fpga.image_shapes import most_channels
from edgemtl.codegen.fpga.instructions import ParameterWindow
from edgemtl.codegen.fpga.program import BoardProgram, BoardTask, Early, SegmentCall
from edgemtl.codegen.fpga.runs import runs
from edgemtl.codegen.fpga.segment import BoardSegment, UnfitGroup, write_segment
from edgemtl.codegen.fpga.select import Left, select
from edgemtl.codegen.fpga.site import ExpertOrder
from edgemtl.codegen.fpga.weights import expert_lines, layer_lines
from edgemtl.errors import BudgetError
from edgemtl.hw.isa import LINE_BYTES
from edgemtl.hw.spec import AcceleratorSpec, Engine
from edgemtl.lowering.ir import Step, View, dense
from edgemtl.lowering.verify import verify
from edgemtl.operators import QConv2d, QExperts, QLinear, QPatchEmbed
from edgemtl.schedule.tiling import TilingLimits, limits

SHARES = (1.0, 0.75, 0.5, 0.375, 0.25, 0.1875, 0.125, 0.0625)
"""Shares of on-chip memory that blocks and the weight ring may take, tried in this order until the budget is met."""
BY_EXPERT = ExpertOrder()
HINT = "allow more, or compile fewer tasks (--task)"


def compile_segments(
    tasks: Mapping[str, Sequence[Step]],
    spec: AcceleratorSpec,
    *,
    budget: int | None = None,
    early: Early | None = None,
    order: ExpertOrder = BY_EXPERT,
) -> BoardProgram:
    """Segments of every task that together use at most ``budget`` bytes of on-chip memory (None: all there is).

    ``early``: the prefetch lists, experts fetched before routing is known; ``order``: how the others are fetched.

    The same input gives the same bytes. Raises BudgetError with the smallest size that was reached where the budget or
    a memory of the board is too small, ConfigError for a layer too large for an operand of an instruction.
    """
    least: BudgetError | None = None
    fittings = {name: Fitting() for name in tasks}
    for share in SHARES:
        try:
            program = _compile(tasks, spec, share, early or {}, order, fittings)
        except BudgetError as error:
            least = least or error
            break
        needed = sum(program.on_chip.values())
        if budget is None or needed <= budget:
            return program
        least = BudgetError("the smallest program found", needed, budget, HINT)
    assert least is not None
    raise least


def _compile(
    tasks: Mapping[str, Sequence[Step]],
    spec: AcceleratorSpec,
    share: float,
    early: Early,
    order: ExpertOrder,
    fittings: dict[str, Fitting],
) -> BoardProgram:
    """The program at one share. What does not fit all there is stays on the host CPU at smaller shares too."""
    parameters, allowed = ParameterWindow(), _limits(tasks, spec, share, order)
    compiled = []
    for name, steps in tasks.items():
        experts = replace(order, prefetched=early.get(name, {}))
        size = len(parameters.content)
        while True:
            try:
                compiled.append(_compile_task(name, steps, spec, allowed, parameters, experts, fittings[name]))
                break
            except UnfitSegment as unfit:
                if share < SHARES[0]:
                    raise unfit.error from unfit
                parameters.rewind(size)
                fittings[name] = fittings[name].without(unfit)
    return BoardProgram(spec, tuple(compiled), bytes(parameters.content), share)


def _limits(
    tasks: Mapping[str, Sequence[Step]], spec: AcceleratorSpec, share: float, order: ExpertOrder
) -> TilingLimits:
    """Tiling limits; in token order the weight memory is a ring followed by a cache of experts, or only a ring."""
    allowed = limits(spec.engine, share)
    expert = max((_expert_lines(steps, spec.engine) for steps in tasks.values()), default=0)
    if not order.by_token or not expert:
        return allowed
    cached = order.cache * expert
    rest = spec.engine.weight_ring_bytes // LINE_BYTES - cached
    smallest = max((_column_lines(step, spec.engine) for steps in tasks.values() for step in steps), default=0)
    least = max(limits(spec.engine, 0).ring_lines, smallest) if order.cache else max(expert, smallest)
    if rest < least:
        what = f"a cache of {order.cache} experts and the smallest weight ring"
        needed = (cached + least) * LINE_BYTES
        raise BudgetError(what, needed, spec.engine.weight_ring_bytes, "hold fewer experts, or take a larger ring")
    ring = min(allowed.ring_lines, rest) if order.cache else least
    return replace(allowed, ring_lines=ring, cache_lines=cached)


def _column_lines(step: Step, engine: Engine) -> int:
    """Lines of the weights of one tile of columns, the least that an instruction of the layer needs in the ring."""
    match step.operator:
        case QLinear() | QPatchEmbed() as spec:
            return layer_lines(engine, spec.k, engine.array_columns, True, networks.is_coded(step))
        case QConv2d() as spec:
            deep = most_channels(spec, engine.array_columns)
            return layer_lines(engine, math.prod(spec.kernel) * deep, engine.array_columns, True)
        case _:
            return 0


def _expert_lines(steps: Sequence[Step], engine: Engine) -> int:
    """Lines of the largest expert."""
    layers = [networks.of(step, QExperts) for step in steps if isinstance(step.operator, QExperts)]
    pairs = [(a, b) for a, b in pairwise(layers) if a.operator.gather]
    return max((_lines_of_pair(engine, a, b) for a, b in pairs), default=0)


def _lines_of_pair(engine: Engine, first: networks.Of[QExperts], second: networks.Of[QExperts]) -> int:
    a, b = first.operator, second.operator
    return expert_lines(engine, a.k, a.n, b.n, (a.table, b.table), (first.coded, second.coded))


def _compile_task(
    name: str,
    steps: Sequence[Step],
    spec: AcceleratorSpec,
    allowed: TilingLimits,
    parameters: ParameterWindow,
    experts: ExpertOrder,
    fitting: Fitting,
) -> BoardTask:
    """The segments of one task, and its steps with each segment replaced by one `SegmentCall`."""
    host: list[Step] = []
    segments: list[BoardSegment] = []
    left: list[LeftStep] = []
    for run in runs(select(steps, spec.engine, fitting), fitting):
        if isinstance(run, Left):
            host.append(run.step)
            left.append(LeftStep(run.step.origin, type(run.step.operator).__name__, run.reason))
            continue
        inside = [step for group in run for step in networks.steps_of(group)]
        incoming, outgoing = boundary(inside, steps)
        what = f"{name}, segment {len(segments)}"
        names = frozenset(view.buffer for view in outgoing)
        try:
            segment = write_segment(run, spec.engine, allowed, parameters, incoming, names, experts, what)
        except UnfitGroup as unfit:
            raise UnfitSegment(run, unfit.index, unfit.error) from unfit
        origin = tuple(dict.fromkeys(node for step in inside for node in step.origin))
        types = (tuple(view.type for view in views) for views in (incoming, outgoing))
        host.append(Step(SegmentCall(len(segments), *types), tuple(incoming), tuple(outgoing), (), origin))
        segments.append(segment)
    verify("segments are cut", host)
    return BoardTask(name, tuple(host), tuple(segments), tuple(left))


def boundary(inside: Sequence[Step], steps: Sequence[Step]) -> tuple[list[View], list[View]]:
    """Inputs and outputs of a segment: whole buffers that its steps read from others, and that others read from it."""
    inner = {id(step) for step in inside}
    inner_outputs = {view.buffer: view for step in inside for view in step.outputs}
    written = {view.buffer: view for step in steps for view in step.outputs}
    read = {view.buffer: view for step in inside for view in step.inputs if view.buffer not in inner_outputs}
    incoming = {name: _whole(view, written.get(name, view)) for name, view in read.items()}
    read_outside = {view.buffer for step in steps if id(step) not in inner for view in step.inputs}
    return [*incoming.values()], [view for name, view in inner_outputs.items() if name in read_outside]


def _whole(read: View, written: View) -> View:
    """The whole buffer in rows as wide as the reader's: a step that only converts writes all values as one row."""
    width = read.shape[-1]
    return dense(read.buffer, (written.size // width, width), written.dtype)
