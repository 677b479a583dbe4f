"""Frames behind each other: weights fetched ahead, the border between streams, two tasks in turn."""

import pytest

from edgemtl.hw.sim.cycle import rate, simulate
from tests.hw.sim.streams import layer, make_frame, make_spec, word

SPEC = make_spec()


def task(count: int, **shape):
    """A few layers, each of which waits for the one before."""
    words = [word("LOAD", signals="matrix", rows=4, size=64, step=32)]
    for at in range(count):
        words += layer(SPEC, "matrix" if at else "data", "matrix" if at < count - 1 else "data", **shape)
    return [*words, word("STORE", waits="matrix", rows=4, size=64, step=32)]


def test_the_next_frames_weights_are_on_the_way():
    made = make_frame(task(3), SPEC)
    first, second = simulate([made, made], SPEC)
    assert (first.begin, second.begin) == (0, first.end)
    assert second.cycles < first.cycles
    early = [span for span in second.spans if span.unit == "weights" and span.end < second.begin]
    assert early
    assert all(span.start >= second.begin for span in second.spans if span.unit != "weights")
    # Words and first weights are there: the frame is its LOAD, then tiles, then STORE. The first tile comes into the
    # array while the LOAD runs.
    load, store = second.spans[0], second.spans[-1]
    assert load.start == second.begin
    assert second.cycles == (load.end - load.start) + 3 * (12 * 129 + 48) + (store.end - store.start)


@pytest.mark.parametrize(
    ("words", "ring", "spec"),
    [(task(3), 700, SPEC), (task(4, rows=4, k=768, n=384), 6000, make_spec(rate=16))],
    ids=["array", "memory"],
)
def test_rate_is_the_time_between_frames(words, ring, spec):
    made = make_frame(words, spec, ring=ring)
    cycles = [timing.cycles for timing in simulate([made] * 6, spec)]
    steady = rate(made.stream, made.routes, spec)
    assert cycles[1:-1] == pytest.approx([steady.cycles] * 4, abs=2)
    assert cycles[0] > steady.cycles


def test_a_frame_that_memory_bounds_takes_what_memory_takes():
    """And not less, as the last frame does, which shares the memory with no next one."""
    spec = make_spec(rate=16)
    made = make_frame(task(4, rows=4, k=768, n=384), spec, ring=6000)
    steady = rate(made.stream, made.routes, spec)
    assert steady.cycles == pytest.approx(steady.busy["memory"], rel=0.01)
    assert simulate([made] * 3, spec)[2].cycles < steady.cycles


def test_tasks_in_turn_cost_the_sum():
    a, b = make_frame(task(3), SPEC), make_frame(task(2, rows=400, n=384), SPEC)
    alone = sum(rate(made.stream, made.routes, SPEC).cycles for made in (a, b))
    timings = simulate([a, b] * 4, SPEC)
    assert timings[5].end - timings[3].end == pytest.approx(alone, abs=100)
    assert [timing.traffic for timing in timings] == [timings[0].traffic, timings[1].traffic] * 4


def test_a_ring_of_another_size_waits_for_the_frame():
    a, b = make_frame(task(1), SPEC), make_frame(task(1), SPEC, ring=2048)
    _, second = simulate([a, b], SPEC)
    assert min(span.start for span in second.spans) >= second.begin


def test_a_stream_of_no_words_ends():
    nothing = make_frame([], SPEC)
    first, second = simulate([nothing, nothing], SPEC)
    # Two words each: 61 cycles for the first piece; END leaves one cycle behind HEAD.
    assert (first.end, second.end) == (122, 124)
    assert first.spans == ()


def test_a_small_ring_makes_weights_late():
    words = [*layer(SPEC, rows=512), *layer(SPEC, rows=4)]
    wide, narrow = make_frame(words, SPEC), make_frame(words, SPEC, ring=608)
    free, bound = (simulate([made], SPEC)[0] for made in (wide, narrow))
    assert bound.cycles > free.cycles
    assert dict(bound.spans[2].stalls)["ring"] > 0
    assert dict(bound.spans[3].stalls)["ring"] > 0
    assert "ring" not in dict(free.spans[3].stalls)
    assert max(held for _, held in bound.ring) <= 608 * 64
