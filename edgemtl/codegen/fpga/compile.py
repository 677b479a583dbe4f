"""The table of contents of FPGA code generation: integer steps of every task to segments within a memory budget."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from edgemtl.codegen.fpga import networks
from edgemtl.codegen.fpga.program import Early, FpgaProgram, FpgaTask, LeftStep, SegmentSpec
from edgemtl.codegen.fpga.segment import Segment, write_segment
from edgemtl.codegen.fpga.select import Left, runs, select
from edgemtl.codegen.fpga.site import ExpertOrder
from edgemtl.codegen.fpga.words import Parameters
from edgemtl.errors import BudgetError
from edgemtl.hw.spec import AcceleratorSpec
from edgemtl.lowering.ir import Step, View
from edgemtl.schedule.tiling import Limits, limits

SHARES = (1.0, 0.75, 0.5, 0.375, 0.25, 0.1875, 0.125, 0.0625)
"""Of the memory that blocks and the weight ring may take: tried in this order until the budget holds."""
HINT = "allow more, or compile fewer tasks (--task)"


def compile_segments(
    tasks: Mapping[str, Sequence[Step]],
    spec: AcceleratorSpec,
    *,
    budget: int | None = None,
    early: Early | None = None,
    cache: int = 0,
) -> FpgaProgram:
    """Segments of every task whose memories on chip take at most ``budget`` bytes together (None: all there is).

    ``early``: experts fetched before their gates have decided. ``cache``: 0 for experts in order; else tokens in order
    with a cache of so many experts, for comparison.

    The same input gives the same bytes. Raises BudgetError with the least that was achieved where the budget or a
    memory of the board cannot hold, ConfigError for a layer too large for an operand of an instruction.
    """
    least: BudgetError | None = None
    for share in SHARES:
        try:
            program = _compile(tasks, spec, share, early or {}, cache)
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
    tasks: Mapping[str, Sequence[Step]], spec: AcceleratorSpec, share: float, early: Early, cache: int
) -> FpgaProgram:
    parameters, allowed = Parameters(), limits(spec.engine, share)
    made = tuple(
        compile_task(name, steps, spec, allowed, parameters, ExpertOrder(early.get(name, {}), cache))
        for name, steps in tasks.items()
    )
    return FpgaProgram(spec, made, bytes(parameters.content), share)


def compile_task(
    name: str,
    steps: Sequence[Step],
    spec: AcceleratorSpec,
    allowed: Limits,
    parameters: Parameters,
    experts: ExpertOrder,
) -> FpgaTask:
    """One task's segments, and its steps with each segment as one."""
    host: list[Step] = []
    segments: list[Segment] = []
    left: list[LeftStep] = []
    for run in runs(select(steps, spec.engine)):
        if isinstance(run, Left):
            host.append(run.step)
            left.append(LeftStep(run.step.origin, type(run.step.spec).__name__, run.reason))
            continue
        inside = [step for group in run for step in networks.steps_of(group)]
        incoming, outgoing = boundary(inside, steps)
        what = f"{name}, segment {len(segments)}"
        names = frozenset(view.buffer for view in outgoing)
        segment = write_segment(run, spec.engine, allowed, parameters, incoming, names, experts, what)
        origin = tuple(dict.fromkeys(node for step in inside for node in step.origin))
        host.append(Step(SegmentSpec(len(segments)), tuple(incoming), tuple(outgoing), (), origin))
        segments.append(segment)
    return FpgaTask(name, tuple(host), tuple(segments), tuple(left))


def boundary(inside: Sequence[Step], steps: Sequence[Step]) -> tuple[list[View], list[View]]:
    """What the steps inside read of others, and what others read of them: whole buffers, in order."""
    inner = {id(step) for step in inside}
    made = {view.buffer: view for step in inside for view in step.outputs}
    incoming = {view.buffer: view for step in inside for view in step.inputs if view.buffer not in made}
    wanted = {view.buffer for step in steps if id(step) not in inner for view in step.inputs}
    return [*incoming.values()], [view for name, view in made.items() if name in wanted]
