"""What the accelerator must reach on the ZCU104, and what it does: ``python -m benchmarks.fpga_targets``.

All figures are simulated by the cycle model at 300 MHz, with DSP blocks at 600 MHz for zcu104x2: batch 1, INT8,
12.8 GB/s of memory, in the steady state of one task frame after frame. Clocks are targets until a design is placed.
Encoders end where the papers' latencies end, behind the last block; the image comes as bytes of patches, and the map
goes back as integers. Rows "in all" begin with a camera's image in uint8 and end with the classes in uint8: the host
CPU's steps in them are estimated (`edgemtl.profiling.frame`). The first run exports and quantises the models, which
takes a while.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks.accelerator import Simulated, compile_one, frame_of, markdown, popular, simulated
from benchmarks.m3vit_models import (
    BLOCK_TOKENS,
    Built,
    Choices,
    build,
    build_block,
    build_classes,
    draw_routes,
    encoder_steps,
    even_counts,
    published_counts,
    with_coded_experts,
)
from benchmarks.popularity import demo_hit_rate
from edgemtl import operators as ops
from edgemtl.codegen.fpga.compile import compile_segments
from edgemtl.codegen.fpga.program import SegmentCall
from edgemtl.hw.resources import resource_sum, totals
from edgemtl.hw.sim.cycle import simulate
from edgemtl.hw.spec import AcceleratorSpec, at_efficiency, read_spec
from edgemtl.lowering.ir import Step
from edgemtl.profiling.frame import time_frame
from edgemtl.profiling.simulated import DRAM_PERCENT
from edgemtl.report.profile import FrameTime

TINY, SMALL = "m3vit_tiny_cityscapes", "m3vit_small_pascal_paper"
LIST, SMALL_LIST = 6, 3
"""Experts of the early lists of M3ViT-tiny and M3ViT-small."""


@dataclass(frozen=True)
class Aims:
    """What latencies must be, in ms, and the bounds that the array sets: half as long where it works on two tiles."""

    tiny: float
    published: float
    tiny_head: float
    small: float
    small_head: float
    tiny_frame: float
    small_frame: float
    array_bounds: tuple[str, str, str]


AIMS = {
    1: Aims(1.5, 1.21, 8.7, 35.7, 98, 8.8, 93.5, ("7.8", "34.5", "90.9")),
    2: Aims(1.48, 1.21, 5.7, 22, 54, 5.7, 54, ("3.9", "17.3", "45.5")),
}
"""By `dsp_clock_ratio`."""


@dataclass(frozen=True)
class Row:
    """One target: what was published, the limit nothing can beat, what is wanted, and what came out."""

    what: str
    published: str
    floor: str
    target: str
    value: str
    reached: bool
    remark: str = ""


def ms_row(what: str, published: str, floor: str, target: float, simulation: Simulated) -> Row:
    """A latency, with the three largest reasons why the array stood."""
    stalls = ", ".join(f"{reason} {share:.1%}" for reason, share in [*simulation.stalls.items()][:3])
    remark = f"array {simulation.utilisation:.1%}; stalls: {stalls}"
    return Row(what, published, floor, f"<= {target:g} ms", f"{simulation.ms:.3f} ms", simulation.ms <= target, remark)


def routes_of(built: Built, published: bool) -> list[Choices]:
    """Every expert the same load, or the published counts in another order for each layer."""
    routers = [step.operator for step in built.steps if isinstance(step.operator, ops.QRouter)]
    routes = []
    for layer, spec in enumerate(routers):
        shape = spec.tokens, spec.top_k
        counts = published_counts(layer, *shape) if published else even_counts(spec.experts, *shape)
        routes.append(draw_routes(counts, *shape))
    return routes


def latency_rows(spec: AcceleratorSpec, folder: Path) -> Iterator[Row]:
    """Latencies, and what follows from those of the small network."""
    ratio = spec.engine.dsp_clock_ratio
    aims = AIMS[ratio]
    tiny_head, small_encoder, small_head = (f"{bound} ms (array)" for bound in aims.array_bounds)
    tiny, small = build(TINY, "semseg", folder), build(SMALL, "semseg", folder)
    live, skewed = routes_of(tiny, False), routes_of(tiny, True)
    lists = popular(live, 16, LIST)
    simulation = simulated(compile_one(encoder_steps(tiny.steps), spec, lists), spec, live)
    yield ms_row(
        "M3ViT-tiny encoder, every expert live", "6.47 ms (CoQMoE, ZCU102)", "1.39 ms (memory)", aims.tiny, simulation
    )
    simulation = simulated(compile_one(encoder_steps(tiny.steps), spec, popular(skewed, 16, LIST)), spec, skewed)
    yield ms_row(
        "the same, published token counts, prefetch list of 6", "-", "1.13 ms (memory)", aims.published, simulation
    )
    if ratio == 1:
        yield from coded_rows(spec, tiny)
    simulation = simulated(compile_one(tiny.steps, spec, lists), spec, live)
    yield ms_row("M3ViT-tiny + semseg head", "none", tiny_head, aims.tiny_head, simulation)
    encoder = simulated(
        compile_one(encoder_steps(small.steps), spec, popular(small.routes, 16, SMALL_LIST)), spec, small.routes
    )
    yield ms_row("M3ViT-small encoder 512x512", "69.0 ms (M3ViT, an estimate)", small_encoder, aims.small, encoder)
    simulation = simulated(compile_one(small.steps, spec, lists), spec, small.routes)
    yield ms_row("M3ViT-small + semseg head 512x512", "none", small_head, aims.small_head, simulation)
    yield from frame_rows(spec, folder, live, [*small.routes])
    yield from encoder_rows(encoder, spec, folder) if ratio == 1 else rate_rows(simulation, spec)


def frame_rows(spec: AcceleratorSpec, folder: Path, tiny: list[Choices], small: list[Choices]) -> Iterator[Row]:
    """Whole frames of both networks with their heads, routed as given."""
    aims = AIMS[spec.engine.dsp_clock_ratio]
    for what, preset, aim, routes, most in (
        ("M3ViT-tiny + semseg head", TINY, aims.tiny_frame, tiny, LIST),
        ("M3ViT-small + semseg head 512x512", SMALL, aims.small_frame, small, SMALL_LIST),
    ):
        steps = build_classes(preset, "semseg", folder)
        yield frame_row(what, aim, whole_frame(steps, spec, routes, most), spec.board.cpu.cores)


def whole_frame(steps: Sequence[Step], spec: AcceleratorSpec, routes: list[Choices], most: int) -> FrameTime:
    """Every step of a task, on all cores of the host CPU and in one segment."""
    gates = [step["logits"].buffer for step in steps if isinstance(step.operator, ops.QRouter)]
    early = dict(zip(gates, popular(routes, 16, most), strict=True))
    (task,) = compile_segments({"task": steps}, spec, early={"task": early}).tasks
    (segment,) = task.segments
    timing = simulated(segment, spec, routes).timing
    operators = [step.operator for step in task.steps]
    work = [of.index if isinstance(of, SegmentCall) else of for of in operators]
    macs = [timing.macs if isinstance(of, SegmentCall) else of.macs for of in operators]
    return time_frame(work, macs, [timing.cycles], spec, spec.board.cpu.cores)


def frame_row(what: str, aim: float, frame: FrameTime, cores: int) -> Row:
    """A frame from a camera's image to the result: its latency, and its period where frames overlap."""
    assert frame.latency_ms is not None, f"nobody counted {frame.unknown}"
    host = ", ".join(f"{step.name} {step.ms:.3f}" for step in frame.steps if step.where == "host CPU")
    remark = (
        f"a result every {frame.interval_ms:.3f} ms; accelerator {frame.accelerator_ms:.3f}, simulated; "
        f"{cores} cores, estimated: {host}"
    )
    named, value = f"{what}, in all, uint8 image to classes", f"{frame.latency_ms:.3f} ms"
    return Row(named, "none", "-", f"<= {aim:g} ms", value, frame.latency_ms <= aim, remark)


def rate_rows(simulation: Simulated, spec: AcceleratorSpec) -> Iterator[Row]:
    """Operations a second of the small network with its head, also for each DSP block of the engine."""
    blocks, gops = totals(resource_sum(spec))["dsp"], 2 * simulation.timing.macs / simulation.ms / 1e6
    yield Row("GOPS, small + head", "-", "-", ">= 3,000", f"{gops:,.0f}", gops >= 3000)
    value, remark = (
        gops / blocks,
        f"{blocks:,.0f} DSP of the whole engine, at {spec.engine.clock_mhz * spec.engine.dsp_clock_ratio} MHz",
    )
    yield Row("GOPS per DSP, small + head", "-", "2.23", ">= 1.8", f"{value:.3f}", value >= 1.8, remark)


def coded_rows(spec: AcceleratorSpec, tiny: Built) -> Iterator[Row]:
    """The tiny encoder with the weights of its experts in 4 bits."""
    steps = with_coded_experts(encoder_steps(tiny.steps))
    for what, published, target in (("every expert live", False, 1.17), ("published token counts", True, 1.07)):
        routes = routes_of(tiny, published)
        simulation = simulated(compile_one(steps, spec, popular(routes, 16, LIST)), spec, routes)
        yield ms_row(f"M3ViT-tiny encoder, experts in 4 bits, {what}", "-", "-", target, simulation)


def encoder_rows(encoder: Simulated, spec: AcceleratorSpec, folder: Path) -> Iterator[Row]:
    """Utilisation, operations per DSP, and the price of experts."""
    use = encoder.utilisation
    yield Row("MAC utilisation, small encoder", "-", "-", ">= 92%", f"{use:.1%}", use >= 0.92)
    blocks = totals(resource_sum(spec))["dsp"]
    gops = 2 * encoder.timing.macs / (encoder.ms / 1e3) / 1e9
    remark = f"{gops:,.0f} GOPS, {blocks:,.0f} DSP of the whole engine"
    value = gops / blocks
    yield Row("GOPS per DSP, small encoder", "0.92 (P2-ViT)", "1.11", ">= 1.05", f"{value:.3f}", value >= 1.05, remark)
    dense = build(SMALL, "semseg", folder, dense=True)
    plain = simulated(compile_one(encoder_steps(dense.steps), spec), spec, ())
    extra = encoder.timing.cycles / plain.timing.cycles - 1
    remark = f"{encoder.ms:.3f} ms against {plain.ms:.3f} ms"
    what = "latency of the MoE in expert order, above the dense ViT-S"
    yield Row(what, "+0.15% (M3ViT)", "0", "<= +1.2%", f"{extra:+.2%}", extra <= 0.012, remark)


def dram_rows(spec: AcceleratorSpec, folder: Path) -> Iterator[Row]:
    """How the latency that memory bounds depends on what DRAM sustains, on its own commands, and on a second one."""
    tiny = build(TINY, "semseg", folder)
    live = routes_of(tiny, False)
    segment = compile_one(encoder_steps(tiny.steps), spec, popular(live, 16, LIST))
    shares = {percent: simulated(segment, at_efficiency(spec, percent), live).ms for percent in DRAM_PERCENT}
    value = ", ".join(f"{ms:.3f}" for ms in shares.values())
    what = f"M3ViT-tiny encoder, every expert live, DRAM at {', '.join(map(str, shares))}% of its peak"
    yield Row(what, "-", "-", "reported", f"{value} ms", True, "all other rows: 75%")
    what, remark = "the same, DRAM by rows, banks and refresh", "without the controller's queues and the host CPU"
    yield Row(what, "-", "-", "reported", f"{simulated(segment, spec, live, banks=True).ms:.3f} ms", True, remark)
    option, remark = read_spec("zcu104x2-sodimm"), "a module that the board ships without; DSP blocks at 600 MHz"
    segment = compile_one(encoder_steps(tiny.steps), option, popular(live, 16, LIST))
    what, value = (
        "the same on zcu104x2-sodimm, weights in two memories",
        f"{simulated(segment, option, live).ms:.3f} ms",
    )
    yield Row(what, "-", "-", "reported", value, True, remark)


def switch_row(spec: AcceleratorSpec, folder: Path) -> Row:
    """Frames of two tasks in turn, against each task alone."""
    tasks = [build(TINY, name, folder) for name in ("semseg", "depth")]
    routes = [routes_of(task, False) for task in tasks]
    segments = [compile_one(t.steps, spec, popular(r, 16, LIST)) for t, r in zip(tasks, routes, strict=True)]
    frames = [frame_of(s, spec, r) for s, r in zip(segments, routes, strict=True)]
    alone = [simulate([frame] * 4, spec)[2].cycles for frame in frames]
    turns = [timing.cycles for timing in simulate(frames * 4, spec)[2:6]]
    extra = sum(turns) - 2 * sum(alone)
    remark = f"semseg, depth, semseg, depth: {turns}; alone {alone[0]} and {alone[1]}"
    return Row("task switch, M3ViT-tiny", "none", "0", "0 cycles", f"{extra / 4:+.1f} cycles", extra <= 0, remark)


def memory_row(spec: AcceleratorSpec, folder: Path) -> Row:
    """Bytes on chip of one block with experts, for many numbers of experts and of choices."""
    memories_by_case = {}
    for experts, top_k in [*((e, 2) for e in (8, 16, 64, 256)), *((16, k) for k in range(1, 9))]:
        built = build_block(experts, top_k, folder)
        memories_by_case[experts, top_k] = compile_one(built, spec).on_chip
    tables = {key: memories.pop("routing") for key, memories in memories_by_case.items()}
    same = len({tuple(sorted(memories.items())) for memories in memories_by_case.values()}) == 1
    exact = all(size == 4 * BLOCK_TOKENS * k + 8 * e for (e, k), size in tables.items())
    total = sum(next(iter(memories_by_case.values())).values())
    remark = f"routing table {min(tables.values()):,} to {max(tables.values()):,} bytes: 4 per (token, k), 8 per expert"
    value = f"{total:,} bytes in all {len(memories_by_case)} cases" if same else "they differ"
    return Row(
        "on-chip bytes, E = 8, 16, 64, 256, k = 1..8", "O(1) (M3ViT)", "-", "identical", value, same and exact, remark
    )


def popularity_row(spec: AcceleratorSpec, folder: Path) -> Row:
    """The early lists of the trained demo model, from training scenes, on held-out scenes."""
    rate = demo_hit_rate(spec.engine, folder)
    remark = f"{rate.useful:.1%} of the prefetched experts got tokens, over {rate.used:,} experts with tokens"
    value = f"{rate.covered:.1%} of experts with tokens were prefetched"
    return Row("prefetch lists, demo model, held-out scenes", "-", "-", "reported", value, True, remark)


def main() -> None:
    """Print a table for each board and write them as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, default=Path("out/m3vit"))
    args = parser.parse_args()
    spec = read_spec("zcu104")
    switch, lists, memory = (make(spec, args.work) for make in (switch_row, popularity_row, memory_row))
    rows = [*latency_rows(spec, args.work), *dram_rows(spec, args.work), switch, lists, memory]
    faster = [*latency_rows(read_spec("zcu104x2"), args.work)]
    print_rows("ZCU104, 300 MHz, simulated", rows)
    print_rows("zcu104x2, 300 MHz, DSP blocks at 600 MHz, simulated", faster)
    document = {name: [asdict(row) for row in table] for name, table in (("zcu104", rows), ("zcu104x2", faster))}
    (args.work / "targets.json").write_text(json.dumps(document, indent=1) + "\n")


def print_rows(engine: str, rows: list[Row]) -> None:
    """A table of Markdown, as in docs/benchmarks.md."""
    header = (engine, "published best", "floor", "target", "simulated", "met", "remark")
    cells = [(r.what, r.published, r.floor, r.target, r.value, "yes" if r.reached else "NO", r.remark) for r in rows]
    print(markdown("Targets", header, cells))


if __name__ == "__main__":
    main()
