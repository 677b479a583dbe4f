"""What holds for every stream: nothing is lost, nothing is twice, nobody is faster than memory and array."""

from itertools import pairwise, product

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from edgemtl.hw import isa
from edgemtl.hw.sim.cycle import simulate
from tests.hw.sim.streams import layer, make_frame, make_spec, word

AFTER = {"matrix": 48, "weights": 120, "data": 120}
"""Cycles that a unit's word goes on behind the start of its next one, at most."""


@st.composite
def works(draw) -> list[isa.Instruction]:
    """One instruction, or a STREAM and the LINEAR that reads it."""
    rows = draw(st.integers(1, 70))
    kind = draw(st.sampled_from(["LINEAR", "SCORES", "MIX", "SOFTMAX", "NORM", "COMBINE", "LOAD", "STORE", "ROUTE"]))
    count = draw(st.integers(1, 300))
    if kind == "LINEAR":
        shape = {"rows": rows, "k": count, "n": draw(st.integers(1, 130)), "table": rows % 2}
        if slot := draw(st.integers(0, 9)):
            shape |= {"slot": slot, "skip": draw(st.integers(0, 40))}
        return layer(make_spec(), **shape)
    shapes = {
        "SCORES": {"k": 96, "heads": 3, "count": count, "keys_region": 1},
        "MIX": {"count": count, "n": 32, "values_region": 1},
        "SOFTMAX": {"count": count},
        "NORM": {"width": count},
        "COMBINE": {"width": count, "slot": draw(st.integers(0, 9))},
        "LOAD": {"size": count, "step": 200},
        "STORE": {"size": count, "step": 200},
        "ROUTE": {"k": 2, "experts": 8, "end": draw(st.integers(0, 1)), "begin": 1},
    }
    return [word(kind, rows=rows, **shapes[kind])]


@st.composite
def streams(draw) -> list[isa.Instruction]:
    """Words whose tokens come from words before them, each taken once, so that no stream stands still."""
    groups = draw(st.lists(works(), max_size=25))
    route = word("ROUTE", rows=40, k=2, experts=8, begin=1, end=1)
    words = [route, *(made for group in groups for made in group)]
    spare: dict[tuple[str, str], int] = {}
    made = []
    for plain in words:
        unit = plain.unit
        waits = draw(st.sets(st.sampled_from([of for of in isa.UNITS if spare.get((of, unit))] or ["none"]))) - {"none"}
        signals = draw(st.sets(st.sampled_from(isa.UNITS), max_size=2))
        for of in waits:
            spare[of, unit] -= 1
        for to in signals:
            spare[unit, to] = spare.get((unit, to), 0) + 1
        made.append(isa.Instruction(plain.name, plain.operands, frozenset(waits), frozenset(signals)))
    return made


@st.composite
def frames(draw):
    """One to three frames on one engine."""
    spec = make_spec(
        draw(st.sampled_from([5.5, 42.667, 64])), weight_load_bytes_per_cycle=draw(st.sampled_from([32, 128]))
    )
    made = []
    for words in draw(st.lists(streams(), min_size=1, max_size=3)):
        ends = sum(one.name == "ROUTE" and one["end"] for one in words)
        seed = np.random.default_rng(draw(st.integers(0, 99)))
        routes = [seed.integers(0, 8, (40, 2)) for _ in range(ends)]
        made.append(make_frame(words, spec, ring=draw(st.sampled_from([1024, 4096])), routes=routes))
    return spec, made


def tiles(instruction: isa.Instruction) -> int:
    """Tiles of a word with work, counted apart from the simulator."""
    deep, wide = {"SCORES": ("k", "count"), "MIX": ("count", "n"), "LINEAR": ("k", "n")}[instruction.name]
    return len(range(0, instruction[deep], 96)) * len(range(0, instruction[wide], 32))


@settings(max_examples=100, deadline=None)
@given(frames())
def test_laws(drawn):
    spec, made = drawn
    timings = simulate(made, spec)
    assert timings == simulate(made, spec)
    begin = 0
    for frame, timing in zip(made, timings, strict=True):
        words = frame.stream.instructions
        assert timing.begin == begin
        begin = timing.end
        check_spans(timing, words)
        check_traffic(timing, words, spec)
        assert [span.instruction for span in timing.spans] == list(range(len(words)))
        assert all(span.end <= timing.end for span in timing.spans)
    ran = []
    for frame, timing in zip(made, timings, strict=True):
        ran += [(span, frame.stream.instructions[span.instruction]) for span in timing.spans]
    check_tokens(ran)
    first = timings[0]
    assert first.cycles >= sum(first.traffic.values()) / spec.sustained_bytes_per_cycle
    held = [change for timing in timings for change in timing.ring]
    assert [cycle for cycle, _ in held] == sorted({cycle for cycle, _ in held})
    assert all(0 <= size <= max(frame.stream.ring_lines for frame in made) * 64 for _, size in held)


def check_spans(timing, words):
    """Every unit runs its words in order and one at a time, and all its cycles are accounted for."""
    for unit in isa.UNITS:
        spans = [span for span in timing.spans if span.unit == unit]
        for one, two in pairwise(spans):
            assert two.start >= one.end - AFTER.get(unit, 0)
            assert two.start >= one.start
            assert two.end >= one.end
        assert timing.busy.get(unit, 0) == sum(span.busy for span in spans)
        if spans and unit != "weights":
            assert spans[0].start >= timing.begin
            assert timing.cycles == sum(span.busy + sum(dict(span.stalls).values()) for span in spans)
        for span in spans:
            assert min([0, span.busy, *dict(span.stalls).values()]) == 0
            if unit == "matrix" and span.busy:
                needed = max(
                    4, words[span.instruction]["rows"] if not words[span.instruction].operands.get("slot") else 4
                )
                assert span.busy >= tiles(words[span.instruction]) * needed


def check_tokens(ran):
    """The n-th word that waits for a unit starts when the n-th that signals it has ended, or later."""
    for of, to in product(isa.UNITS, isa.UNITS):
        given = [span.end for span, made in ran if made.unit == of and to in made.signals]
        taken = [span.start for span, made in ran if made.unit == to and of in made.waits]
        assert all(end <= start for end, start in zip(given, taken, strict=False))


def check_traffic(timing, words, spec):
    """Bytes are those that the words name; of experts, at most those."""
    named = {"weights": 0, "most": 0}
    for made in words:
        if made.name == "STREAM":
            named["most"] += made["lines"] * 64
            named["weights"] += made["lines"] * 64 * (not made["slot"])
    assert named["weights"] <= timing.traffic.get("weights", 0) <= named["most"]
    for name in ("LOAD", "STORE"):
        lines = [made["rows"] * -(-made["size"] * 32 // 64) for made in words if made.name == name]
        assert timing.traffic.get(name.lower(), 0) == 64 * sum(lines)
    assert timing.traffic["instructions"] == 32 * (len(words) + 2)
    moved = sum(timing.traffic.values())
    assert timing.busy["memory"] == round(moved / spec.sustained_bytes_per_cycle)
