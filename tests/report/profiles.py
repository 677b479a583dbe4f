"""Profiles made up for tests: no accelerator ran, but spans, sums and plans agree as a simulator's would."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from itertools import accumulate

import numpy as np

from edgemtl.bundle import ChipBuffer, Layer, Region, SegmentLayer
from edgemtl.hw.isa import UNITS
from edgemtl.hw.sim.energy import estimate
from edgemtl.hw.sim.trace import Span, Timing
from edgemtl.hw.spec import AcceleratorSpec, read_spec
from edgemtl.report.profile import (
    SCHEMA_VERSION,
    FrameStep,
    FrameTime,
    FrameTimings,
    InstructionFacts,
    MeasuredCpu,
    Profile,
    RouterFacts,
    SegmentFacts,
    coefficients,
    cpu_task_profile,
    frame_time,
    switch_cost,
    task_profile,
)

TAIL = 40
"""Cycles from the last row of the matrix unit to its result; the next word starts before."""
EXPERTS = 16


@dataclass
class Bench:
    """A frame while it is made up: a clock for each unit, and what is written down so far."""

    spec: AcceleratorSpec
    shift: int
    layers: list[SegmentLayer] = field(default_factory=list)
    instructions: list[InstructionFacts] = field(default_factory=list)
    spans: list[Span] = field(default_factory=list)
    buffers: dict[str, list[ChipBuffer]] = field(default_factory=dict)
    routers: list[RouterFacts] = field(default_factory=list)
    ring: list[tuple[int, int]] = field(default_factory=list)
    clock: dict[str, int] = field(default_factory=lambda: dict.fromkeys(UNITS, 0))
    done: int = 0
    macs: int = 0

    def word(self, unit: str, name: str, cycles: int, reason: str, kind: str = "", size: int = 0) -> int:
        """A word that starts when all before it are done, or, where it only fetches, when its unit is free."""
        ahead = unit in ("weights", "data")
        start = self.clock[unit] if ahead else max(self.clock[unit], self.done)
        stalls = ((reason, start - self.clock[unit]),) if start > self.clock[unit] else ()
        free = start + cycles
        end = free + (TAIL if unit == "matrix" else 0)
        at = len(self.instructions)
        self.spans.append(Span(at, unit, start + self.shift, end + self.shift, cycles, stalls))
        self.instructions.append(
            InstructionFacts(f"{name:8}rows=64 k=192 n=192 src=hidden:{at} <vector", len(self.layers), kind, size)
        )
        self.clock[unit] = free
        if not ahead:
            self.done = max(self.done, end - TAIL if unit == "matrix" else end)
        return at


def make_layer(bench: Bench, name: str, origin: str, instructions: int, seed: int) -> None:
    """A layer of about so many words: weights or activations fetched, then units in turn."""
    random = np.random.default_rng(seed)
    first = len(bench.instructions)
    turns = {
        "norm": ("vector",),
        "attention": ("matrix", "matrix", "softmax", "matrix"),
        "experts": ("matrix", "router", "matrix", "vector"),
    }.get(name, ("matrix", "matrix", "vector"))
    macs = held = 0
    for turn in range(max(instructions, len(turns))):
        unit = turns[turn % len(turns)]
        if turn % 4 == 0 and name != "norm":
            size = int(random.integers(2, 40)) * 1024
            bench.word("weights", "STREAM", size // 42, "ring", "weights", size)
            bench.ring.append((bench.clock["weights"] + bench.shift, size))
            held += size
        cycles = int(random.integers(40, 900))
        names = {"matrix": "LINEAR", "softmax": "SOFTMAX", "router": "ROUTE", "vector": "NORM"}
        reason = "weights" if turn % 3 == 0 else "tokens:vector"
        bench.word(unit, names[unit], cycles, reason)
        if unit == "matrix":
            macs += int(cycles * bench.spec.engine.macs_per_cycle * random.uniform(0.5, 0.95))
    bench.word(
        "data", "LOAD" if name == "picture" else "STORE", 30, "memory", "load" if name == "picture" else "store", 4096
    )
    last, room = len(bench.instructions) - 2, 24 * 1024
    regions = ("residual", "hidden", "input", "scores0", "queries", "constants")
    for place, region in enumerate(regions[: 1 + seed % 6]):
        size = room >> place
        offset = (len(bench.layers) % 2) * size
        buffer = ChipBuffer(f"{name}.{place}.{len(bench.layers)}", offset, size, first + 1, last)
        bench.buffers.setdefault(region, []).append(buffer)
    bench.ring.append((bench.done + bench.shift, -held))
    bench.macs += macs
    bench.layers.append(SegmentLayer(name, (origin,), macs))


def make_segment(spec: AcceleratorSpec, blocks: int, instructions: int, shift: int = 1000, seed: int = 0):
    """Facts, a cold and a steady timing, and routes of a network of so many blocks."""
    bench = Bench(spec, shift)
    bench.clock["weights"] = -2000
    kinds = [("patch", "backbone.patch_embed/Conv")]
    for block in range(blocks):
        network = "experts" if block % 2 else "mlp"
        for name, node in (("norm", "norm1"), ("attention", "attn"), ("norm", "norm2"), (network, "mlp")):
            kinds.append((name, f"backbone.blocks.{block}.{node}/MatMul"))
    kinds += [("picture", f"decoders.semseg.conv_{index}/Conv") for index in range(4)]
    for index, (name, origin) in enumerate(kinds):
        if name == "experts":
            early = (3, 5) if index % 8 == 0 else ()
            bench.routers.append(RouterFacts(len(bench.layers), EXPERTS, early))
        make_layer(bench, name, origin, instructions // len(kinds), seed + index)
    return _facts(bench), _timings(bench), _routes(bench, seed)


def _facts(bench: Bench) -> SegmentFacts:
    regions = []
    for name, buffers in bench.buffers.items():
        size = max(buffer.offset + buffer.bytes for buffer in buffers)
        regions.append(Region(name, size, size - 1024 * (name == "hidden"), tuple(buffers)))
    layers, instructions, routers = (tuple(part) for part in (bench.layers, bench.instructions, bench.routers))
    return SegmentFacts(layers, instructions, tuple(regions), {"ring": 2**20, "routing": 2192}, routers)


def _timings(bench: Bench) -> FrameTimings:
    end = max(bench.done, *(span.end - bench.shift for span in bench.spans)) + 10
    spans = list(bench.spans)
    for unit in UNITS[1:]:
        last = max((at for at, span in enumerate(spans) if span.unit == unit), default=None)
        if last is not None:
            rest = ("queue", end - bench.clock[unit])
            spans[last] = replace(spans[last], stalls=(*spans[last].stalls, rest))
    busy = {unit: sum(span.busy for span in spans if span.unit == unit) for unit in UNITS}
    traffic = {"weights": 0, "load": 0, "store": 0, "instructions": 32 * len(spans)}
    for word in bench.instructions:
        if word.kind:
            traffic[word.kind] += word.bytes
    busy["memory"] = min(sum(traffic.values()) // 42, end)
    on_chip = {"hidden": 10**6, "residual": 2 * 10**6, "ring": traffic["weights"], "array": 10**6}
    changes = sorted(bench.ring)
    sums = accumulate(size for _, size in changes)
    ring = tuple(dict(zip((cycle for cycle, _ in changes), sums, strict=True)).items())
    steady = Timing(bench.shift, bench.shift + end, bench.macs, tuple(spans), busy, traffic, ring, on_chip)
    return FrameTimings(replace(steady, begin=0, end=end + 2000), steady)


def _routes(bench: Bench, seed: int):
    random = np.random.default_rng(seed)
    return tuple(random.choice(EXPERTS - 2, (129, 2)).astype(np.int32) for _ in bench.routers)


def make_frame_time(task: str) -> FrameTime:
    """Image in, one segment, map out; of depth nobody counted the last step."""
    last = None if task == "depth" else 0.75
    steps = (
        FrameStep("host CPU", "QPixels", 0.5, 0),
        FrameStep("accelerator", "segment 0", 4.0, 3_000_000),
        FrameStep("host CPU", "DequantiseImage", last, 1_000_000),
    )
    return frame_time(steps, 4)


def make_profile(
    tasks=("semseg", "depth"),
    blocks: int = 12,
    instructions: int = 600,
    hypothetical: bool = False,
    model: str = "m3vit_tiny",
) -> Profile:
    """A profile of the accelerator."""
    spec = replace(read_spec("zcu104"), hypothetical=hypothetical)
    made = []
    for index, task in enumerate(tasks):
        facts, timings, routes = make_segment(spec, blocks, instructions, seed=100 * index)
        dram = {60: 1_200_000, 90: 900_000}
        left = ("head/Resize: bilinear to the image's size stays on the CPU",) if index == 0 else ()
        made.append(
            task_profile(
                task,
                [facts],
                [timings],
                [routes],
                spec,
                make_frame_time(task),
                [estimate(timings.steady, spec)],
                left,
                dram,
            )
        )
    steady = {task.task: task.latency.steady_cycles for task in made}
    order = tuple(tasks) * 3
    switches = switch_cost(order, [steady[task] + 40 * (index + 1) for index, task in enumerate(order)], steady)
    notes = ("Figures of this page are made up for a test.",)
    return Profile(
        SCHEMA_VERSION, "sim", "simulated", model, "model.edgemtl", spec, None, ("street.png",), tuple(made), (),
        switches, coefficients(), notes,
    )  # fmt: skip


def make_cpu_profile() -> Profile:
    """A profile of a CPU with two tasks."""
    random = np.random.default_rng(0)
    tasks = []
    for task in ("semseg", "depth"):
        kernels = [
            Layer(i, f"linear_{i}", (f"blocks.{i // 4}.mlp/MatMul",), 2 * 10**6 * (i + 1), 4096 * i) for i in range(40)
        ]
        times = [[0.02 * (i + 1) * random.uniform(0.9, 1.3) for i in range(40)] for _ in range(9)]
        tasks.append(cpu_task_profile(task, kernels, times, [sum(row) for row in times]))
    cpu = MeasuredCpu("Some CPU", "cpu-avx512", 2)
    return Profile(
        SCHEMA_VERSION,
        "cpu",
        "measured",
        "m3vit_demo",
        "m.edgemtl",
        None,
        cpu,
        ("a.png", "b.png"),
        (),
        tuple(tasks),
        None,
        (),
        (),
    )
