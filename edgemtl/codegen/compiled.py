"""A compiled program of a CPU or a board, as a bundle holds it and as a user reads it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from edgemtl.bundle import CPU_LIBRARY, WEIGHTS, FpgaProgram, Program, WeightEntry
from edgemtl.codegen import cpu
from edgemtl.codegen.cpu import CpuProgram
from edgemtl.codegen.fpga import bundle as fpga_bundle
from edgemtl.codegen.fpga.compile import compile_segments
from edgemtl.codegen.fpga.host import HostProgram, compile_hosts
from edgemtl.codegen.fpga.prefetch import prefetch_lists
from edgemtl.codegen.fpga.program import BoardProgram, Early
from edgemtl.codegen.fpga.site import ExpertOrder
from edgemtl.hw.spec import AcceleratorSpec
from edgemtl.lowering.words import spell_operator
from edgemtl.operators import Frame
from edgemtl.options import CompileOptions
from edgemtl.partition import TaskModel
from edgemtl.processor import HOSTS, CpuTarget
from edgemtl.quantize.quantised_model import Quantised


@dataclass(frozen=True)
class TaskSummary:
    """What was compiled for one task; ``macs`` of one run, bytes of the weights it reads."""

    task: str
    pathway: str
    steps: int
    macs: int
    weight_bytes: int


@dataclass(frozen=True)
class Compiled:
    """A program; sizes in bytes.

    program, weights: what the manifest says of it. sections: members by name. on_chip: of a board, by memory. arena
    and prepared are the CPU's, on a board the one's beside the logic.
    """

    program: Program | FpgaProgram = field(repr=False)
    weights: tuple[WeightEntry, ...] = field(repr=False)
    sections: Mapping[str, bytes] = field(repr=False)
    tasks: tuple[TaskSummary, ...]
    notes: tuple[str, ...]
    arena_bytes: int
    prepared_bytes: int
    weights_bytes: int
    on_chip: Mapping[str, int] = field(default_factory=dict)


def compile_for_cpu(
    tasks: tuple[TaskModel, ...], target: CpuTarget, quantised: Quantised | None, budget: int | None
) -> Compiled:
    """A program for a CPU. Raises what `cpu.compile_cpu` raises."""
    integers = quantised.integers if quantised else None
    program = cpu.compile_cpu(tasks, target, memory_budget=budget, integers=integers)
    summaries = tuple(
        _summary(task, compiled, compiled.constant_bytes) for task, compiled in zip(tasks, program.tasks, strict=True)
    )
    return Compiled(
        cpu.describe_program(program, CPU_LIBRARY),
        tuple(cpu.describe_weight(tensor) for tensor in program.weights),
        {CPU_LIBRARY: program.library, WEIGHTS: cpu.weights_section(program)},
        summaries,
        program.notes,
        program.arena_bytes,
        program.prepared_bytes,
        program.weights_bytes,
    )


def compile_for_board(
    tasks: tuple[TaskModel, ...],
    spec: AcceleratorSpec,
    quantised: Quantised,
    options: CompileOptions,
    images: Sequence[Frame],
) -> Compiled:
    """A program for a board: segments for the accelerator, and libraries for the host CPUs.

    Raises what `compile_segments` and `compile_hosts` raise.
    """
    by_token = options.expert_order == "token"
    early = {} if by_token else prefetch_lists(quantised.integers, images, spec.engine)
    order = ExpertOrder(by_token=by_token, cache=options.expert_cache, resident=options.experts_on_chip == "all")
    steps = {task.task.name: quantised.integers[task.task.name].steps for task in tasks}
    program = compile_segments(steps, spec, budget=options.memory_budget, early=early, order=order)
    hosts = compile_hosts(tasks, program, quantised.integers, options.threads)
    beside = hosts[0].cpu
    return Compiled(
        fpga_bundle.describe_program(program, hosts),
        (),
        fpga_bundle.sections(program, hosts),
        tuple(_board_summaries(tasks, quantised, beside)),
        tuple(_notes(program, early, images, hosts, options)),
        beside.arena_bytes,
        beside.prepared_bytes,
        len(program.parameters),
        program.on_chip,
    )


def _summary(task: TaskModel, compiled: cpu.CpuTask, weight_bytes: int) -> TaskSummary:
    return TaskSummary(task.task.name, task.pathway, len(compiled.steps), compiled.macs, weight_bytes)


def _board_summaries(tasks: Sequence[TaskModel], quantised: Quantised, beside: CpuProgram) -> Iterator[TaskSummary]:
    for task, compiled in zip(tasks, beside.tasks, strict=True):
        steps = quantised.integers[task.task.name].steps
        sizes = {constant.key: constant.stored_bytes for step in steps for constant in step.constants}
        yield _summary(task, compiled, sum(sizes.values()))


def _notes(
    program: BoardProgram, early: Early, images: Sequence[Frame], hosts: Sequence[HostProgram], options: CompileOptions
) -> Iterator[str]:
    """What was decided for the user: memory, prefetch lists, and the steps on the host CPU."""
    spec = program.spec
    if spec.hypothetical:
        yield f"{spec.name} is a hypothetical board: it was never made"
    used = ", ".join(f"{name} {size}" for name, size in program.on_chip.items())
    smaller = "" if program.share == 1 else f"; blocks of rows at {program.share:.1%} of their size without a budget"
    yield f"{sum(program.on_chip.values())} bytes on chip ({used}){smaller}"
    if any(segment.routing for task in program.tasks for segment in task.segments):
        yield _experts_note(early, images, options)
    for task in program.tasks:
        count = len(task.segments)
        yield f"{task.task}: {count} segment{'s' if count != 1 else ''} on the accelerator of {spec.name}"
        yield from (
            f"{task.task}: {step.origin[-1]} ({spell_operator(step.kind)}) on {HOSTS['a53']}: {step.reason}"
            for step in task.left
        )
    target = hosts[-1].cpu.target.name
    yield f"in simulation the CPU's steps run in numpy, or with --native-host compiled for {target}"


def _experts_note(early: Early, images: Sequence[Frame], options: CompileOptions) -> str:
    if options.expert_order == "token":
        cache = f"a cache of {options.expert_cache}" if options.expert_cache else "one buffer, fetched at every visit"
        return f"experts in token order with {cache}, for comparison: slower than in their own order"
    if options.experts_on_chip == "all":
        return "all experts of a layer are on chip at once, for comparison"
    if not images:
        return "no experts are prefetched: the prefetch lists need images (--calibration beside --parameters)"
    counts = ", ".join(
        f"{task} {'+'.join(str(len(e)) for e in layers.values()) or 0}" for task, layers in early.items()
    )
    return f"experts prefetched before routing is known, from {len(images)} images: {counts}"
