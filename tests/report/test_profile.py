"""Profiles are sums over spans: nothing is lost between the simulator's figures and the rows of layers."""

from __future__ import annotations

import json
from dataclasses import asdict, fields, is_dataclass, replace
from pathlib import Path

import numpy as np
import pytest

from edgemtl import bundle
from edgemtl.hw.isa import UNITS
from edgemtl.hw.sim.cycle import simulate
from edgemtl.hw.spec import read_spec
from edgemtl.report.profile import (
    FrameTimings,
    RouterFacts,
    SegmentFacts,
    cpu_task_profile,
    facts_of_bundle,
    instructions_of,
    model,
    parts,
    profile_to_json,
    routers_of,
    switch_cost,
    task_profile,
)
from edgemtl.report.profile.layers import label_layers
from edgemtl.report.profile.tables import KERNEL_COLUMNS, LAYER_COLUMNS
from edgemtl.report.published import PUBLISHED, fitting
from tests.hw.sim.streams import layer, lines_of, make_frame, make_spec, word
from tests.report.profiles import make_cpu_profile, make_frame_time, make_profile, make_segment

SPEC = read_spec("zcu104")
FRAME = make_frame_time("semseg")


@pytest.fixture(scope="module")
def profile():
    return make_profile()


@pytest.fixture(scope="module")
def task(profile):
    return profile.tasks[0]


def test_layers_add_up_to_the_task(task):
    assert task.macs == task.macs_executed == sum(layer.macs for layer in task.layers)
    assert sum(layer.instructions for layer in task.layers) == len(task.spans)
    for kind in ("weights", "load", "store"):
        assert sum(layer.traffic[kind] for layer in task.layers) == task.traffic[kind] > 0
    busy = sum(span.busy for span in task.spans if span.unit == "matrix")
    assert sum(layer.matrix_busy for layer in task.layers) == busy
    assert sum(layer.matrix_share for layer in task.layers) == pytest.approx(1)


def test_stalls_add_up_to_the_frame(task):
    for unit in UNITS[1:]:
        stood = sum(cycles for layer in task.layers for cycles in layer.stalls.get(unit, {}).values())
        worked = sum(span.busy for span in task.spans if span.unit == unit)
        assert stood + worked == task.latency.steady_cycles
        assert task.utilisation[unit] == pytest.approx(worked / task.latency.steady_cycles)


def test_cycles_count_from_the_begin_of_the_frame(task):
    inside = [span for span in task.spans if span.unit not in ("weights", "data")]
    assert min(span.start for span in inside) == 0
    assert max(span.end for span in task.spans) <= task.latency.steady_cycles
    assert min(span.start for span in task.spans) < 0, "weights are fetched in the frame before"
    for held in task.layers:
        own = [span for span in inside if task.layers[span.layer] is held]
        assert (held.start, held.end) == (min(s.start for s in own), max(s.end for s in own))
    ms = task.latency.steady_cycles / 300e3
    assert task.latency.steady_ms == pytest.approx(ms)
    assert task.latency.first_cycles > task.latency.steady_cycles


def test_figures_of_a_layer(task):
    held = next(layer for layer in task.layers if layer.name == "mlp")
    assert held.intensity == pytest.approx(held.macs / sum(held.traffic.values()))
    assert held.utilisation == pytest.approx(held.macs / held.matrix_busy / 3072)
    assert 0 < held.utilisation < 1


def test_experts_are_counted_by_layer(task):
    assert [task.layers[loads.layer].name for loads in task.experts] == ["experts"] * 6
    for loads in task.experts:
        assert sum(loads.tokens) == 129 * 2
        assert loads.empty == (14, 15)
        assert len(loads.tokens) == 16
    assert task.experts[0].early in ((3, 5), ())


def test_memories_have_bounds_and_gaps(task):
    memories = {memory.memory: memory for memory in task.memories}
    hidden = memories["hidden"]
    assert hidden.bytes - hidden.lower_bound == 1024
    assert hidden.gap == pytest.approx(1024 / hidden.lower_bound)
    assert memories["residual"].gap == 0
    assert memories["ring"].gap is None
    assert memories["ring"].capacity == SPEC.engine.weight_ring_bytes
    assert all(memory.bytes <= memory.capacity for memory in task.memories)
    for buffer in task.buffers:
        assert buffer.offset + buffer.bytes <= memories[buffer.memory].bytes
        assert buffer.start < buffer.end


def test_segments_follow_each_other():
    made = [make_segment(SPEC, 2, 100, shift=shift, seed=shift) for shift in (10, 5000)]
    facts, timings, routes = zip(*made, strict=True)
    task = task_profile("depth", facts, timings, routes, SPEC, FRAME)
    first, second = (timing.steady for timing in timings)
    assert task.latency.steady_cycles == first.cycles + second.cycles
    assert len(task.layers) == sum(len(held.layers) for held in facts)
    start = min(span.start for span in task.spans if span.segment == 1 and span.unit == "matrix")
    assert start == first.cycles
    assert {layer.segment for layer in task.layers[len(facts[0].layers) :]} == {1}


def test_what_does_not_fit_is_refused():
    facts, timings, routes = make_segment(SPEC, 2, 100)
    with pytest.raises(ValueError, match="must have a word for every span"):
        task_profile("depth", [replace(facts, instructions=facts.instructions[:-1])], [timings], [routes], SPEC, FRAME)
    with pytest.raises(ValueError, match="argument 2"):
        task_profile("depth", [facts, facts], [timings], [routes], SPEC, FRAME)


def test_bytes_are_those_the_simulator_moves():
    spec = make_spec()
    shape = {"rows": 32, "k": 96, "n": 32}
    lines = lines_of(96, 32, spec)
    listed = [
        word("ROUTE", signals="matrix weights", begin=1, end=1, rows=40, k=1, experts=8),
        *layer(spec, slot=1, **shape),
        *layer(spec, slot=2, **shape),
        *layer(spec, slot=3, **shape),
        word("LOAD", rows=4, size=2, step=1),
        word("STORE", rows=4, size=2, step=1),
    ]
    listed[1] = word("STREAM", "router", lines=lines, slot=1)
    listed[2] = word("LINEAR", "router", slot=1, release=lines, **shape)
    routes = (np.array([[6]] * 30 + [[2]] * 10, np.int32),)
    frame = make_frame(listed, spec, routes=routes)
    place = [0] * 7 + [1] * 2
    cold, steady = simulate([frame] * 2, spec)
    facts = SegmentFacts(
        (bundle.SegmentLayer("experts", (), 40 * 96 * 32), bundle.SegmentLayer("picture", (), 0)),
        instructions_of(frame.stream, place, routes, (), spec.engine),
        (), {}, routers_of(frame.stream, place, ()),
    )  # fmt: skip
    task = task_profile("depth", [facts], [FrameTimings(cold, steady)], [routes], spec, FRAME)
    assert [router.experts for router in facts.routers] == [3]
    assert task.layers[0].traffic == {"weights": 2 * lines * 64, "load": 0, "store": 0}, "the third has no entry"
    assert {kind: sum(held.traffic[kind] for held in task.layers) for kind in ("weights", "load", "store")} == {
        kind: task.traffic.get(kind, 0) for kind in ("weights", "load", "store")
    }
    assert task.macs == task.macs_executed
    assert facts.instructions[0].text.startswith("ROUTE")


WORDS = [
    word("LOAD", rows=4, size=2, step=1),
    *layer(SPEC, rows=32, k=96, n=32),
    word("ROUTE", begin=1, end=1, rows=40, k=1, experts=8, early=1),
    word("STREAM", lines=5, slot=2),
]
ROUTES = (np.array([[1]] * 30 + [[2]] * 10, np.int32),)


def test_facts_of_a_bundle():
    frame = make_frame(WORDS, SPEC, routes=ROUTES, early=((0,),))
    region = bundle.segment.Region("hidden", 4096, 2048, (bundle.segment.ChipBuffer("x.1", 64, 256, 0, 2),))
    held = bundle.Segment(
        stream="s", layer_index="l", layers=(bundle.SegmentLayer("patch", ("Conv",), 98304),), inputs=(), outputs=(),
        windows=bundle.segment.Windows(0, 0, 0), early=((0,),), routing=(bundle.segment.Routing(40, 1, 8),),
        regions=(region,),
    )  # fmt: skip
    facts = facts_of_bundle(held, frame.stream, np.zeros(len(WORDS), np.uint16), ROUTES, SPEC.engine)
    assert (facts.layers, facts.regions) == (held.layers, held.regions)
    assert facts.tables == {"ring": 2**20, "routing": 4 * 40 + 8 * 8}
    assert facts.routers == (RouterFacts(0, 2, (0,)),)
    assert [(made.kind, made.bytes) for made in facts.instructions][-1] == ("weights", 5 * 64)


def test_in_order_of_tokens_the_candidates_are_the_logits():
    listed = [
        word("ROUTE", begin=1, end=1, rows=40, k=1, experts=8, cache=2, lines=5),
        word("STREAM", lines=5, slot=40, cached=1),
    ]
    frame = make_frame(listed, SPEC, ring=100, routes=ROUTES)
    assert routers_of(frame.stream, [0, 0], ()) == (RouterFacts(0, 8, ()),)
    held = bundle.Segment("s", "l", (), (), (), bundle.segment.Windows(0, 0, 0), ((),), (), ())
    facts = facts_of_bundle(held, frame.stream, [0, 0], ROUTES, SPEC.engine)
    assert facts.tables == {"ring": 110 * 64, "routing": 0}


def test_the_documents_name_every_field():
    text = (Path(__file__).parents[2] / "docs" / "profile.md").read_text(encoding="utf-8")
    kinds = [kind for room in (model, parts) for kind in vars(room).values() if is_dataclass(kind)]
    names = {field.name for kind in kinds if kind is not type(SPEC) for field in fields(kind)}
    assert [name for name in names | {*LAYER_COLUMNS, *KERNEL_COLUMNS} if f"`{name}`" not in text] == []


def test_labels_name_the_part_of_the_model_and_stay_apart():
    origins = ("backbone.blocks.3.norm1/LayerNormalization", "backbone.blocks.3.norm2/LayerNormalization", "Add")
    layers = [bundle.SegmentLayer("norm", (origin,), 0) for origin in origins]
    assert label_layers([*layers, bundle.SegmentLayer("norm", (), 0)]) == [
        "blocks.3 norm",
        "blocks.3 norm 2",
        "norm",
        "norm 2",
    ]


def test_a_switch_costs_what_is_above_a_row_of_the_same_task():
    made = switch_cost(("a", "b", "a"), (110, 205, 100), {"a": 100, "b": 200})
    assert made.extra == (10, 5, 0)
    with pytest.raises(ValueError, match="argument 2"):
        switch_cost(("a", "b"), (110,), {"a": 100, "b": 200})


def test_medians_of_kernels():
    kernels = [bundle.Layer(0, "linear", ("fc1/MatMul",), 3 * 10**6, 64), bundle.Layer(1, "add", (), 0, 8)]
    made = cpu_task_profile("depth", kernels, [[3, 1], [1, 1], [2, 4]], [5, 4, 9])
    assert (made.median_ms, made.least_ms, made.most_ms, made.runs) == (5, 4, 9, 3)
    first, second = made.kernels
    assert (first.median_ms, first.least_ms, first.most_ms) == (2, 1, 3)
    assert first.gmac_per_s == pytest.approx(1.5)
    assert second.gmac_per_s == 0
    with pytest.raises(ValueError, match="at least one run"):
        cpu_task_profile("depth", kernels, [], [])


@pytest.mark.parametrize("made", [make_profile(instructions=150), make_cpu_profile()], ids=["sim", "cpu"])
def test_a_document_is_plain_json(made):
    document = profile_to_json(made)
    assert json.loads(json.dumps(document)) == _plain(asdict(made))


def _plain(value):
    """Written apart: dataclasses are dicts already, spans become one table."""
    if isinstance(value, dict):
        return {key: _spans(held) if key == "spans" else _plain(held) for key, held in value.items()}
    return [_plain(held) for held in value] if isinstance(value, list | tuple) else value


def _spans(rows):
    if not rows:
        return []
    return {"columns": list(rows[0]), "rows": [[_plain(held) for held in row.values()] for row in rows]}


def test_published_rows_are_those_of_the_model():
    assert {row.model for row in fitting("m3vit-small-512")} == {"small"}
    assert [row.latency_ms for row in fitting("M3ViT_tiny_k2")] == [34.64, 25.76, 6.47]
    assert fitting("m3vit_demo") == fitting("resnet-tiny") == ()
    assert all(row.work and row.covers for row in PUBLISHED)
