"""Words whose rows the router decides: lists, empty slots, shared queues, double buffers and the cache."""

import numpy as np
import pytest

from edgemtl.hw.sim.cycle import simulate
from edgemtl.hw.sim.cycle.lists import by_expert, by_token
from tests.hw.sim.streams import layer, lines_of, make_frame, make_spec, word

SPEC = make_spec()
SHAPE = {"rows": 32, "k": 96, "n": 32}
LINES = lines_of(96, 32, SPEC)


def run(words, **held):
    return simulate([make_frame(words, SPEC, **held)], SPEC)[0]


def route(**operands):
    return word("ROUTE", signals="matrix weights", begin=1, end=1, **{"rows": 40, "k": 1, "experts": 8} | operands)


def expert(slot: int, waits: str = "", signals: str = "", **operands):
    return layer(SPEC, waits, signals, slot=slot + 1, **SHAPE | operands)


def test_lists():
    choices = np.array([[3, 0], [3, 5], [0, 3]], np.int32)
    made = [(entry.expert, entry.tokens) for entry in by_expert(choices, (2, 3))]
    assert made == [(2, 0), (3, 3), (0, 2), (5, 1)]
    assert [(entry.expert, entry.tokens) for entry in by_token(choices, 2)] == [
        (3, 1),
        (0, 1),
        (3, 1),
        (5, 1),
        (0, 1),
        (3, 1),
    ]
    assert by_expert(np.zeros((0, 2), np.int32), ()) == ()


@pytest.mark.parametrize("places", [1, 2, 5, 64])
def test_cache_misses_are_those_of_a_cache_written_apart(places):
    choices = np.random.default_rng(places).integers(0, 12, (200, 3), np.int32)
    cache: list[int] = []
    for entry, number in zip(by_token(choices, places), choices.ravel().tolist(), strict=True):
        assert entry.load == (number not in cache)
        cache = [number, *(other for other in cache if other != number)][:places]


def test_an_entry_that_is_not_there_costs_nothing_and_keeps_the_ring():
    words = [route()]
    for slot in range(3):
        words += expert(slot)
    timing = run(words, routes=[[[1]] * 20 + [[6]] * 20])
    assert [span.busy for span in timing.spans[2::2]] == [20, 20, 0]
    assert timing.traffic["weights"] == 2 * LINES * 64
    assert timing.macs == 40 * 96 * 32
    assert timing.ring[-1][1] == 0


def test_an_early_expert_without_tokens_is_fetched_and_released():
    _, linear = expert(0)
    words = [route(early=1), word("STREAM", lines=LINES), linear, *expert(1)]
    timing = run(words, routes=[[[1]] * 40], early=[(4,)])
    assert [span.busy for span in timing.spans[2::2]] == [0, 32]  # 40 tokens, of which a word holds 32
    assert timing.traffic["weights"] == 2 * LINES * 64
    assert timing.ring[-1][1] == 0


def test_words_share_a_queue():
    stream, _ = expert(0)
    blocks = [expert(0, skip=32 * block, release=LINES * (block == 2))[1] for block in range(3)]
    timing = run([route(), stream, *blocks], routes=[[[1]] * 40])
    assert [span.busy for span in timing.spans[2:]] == [32, 8, 0]
    combine = [word("COMBINE", rows=32, slot=1, skip=32 * block, width=32) for block in range(3)]
    timing = run([route(), *combine], routes=[[[1]] * 40])
    # Rows of one granule take less time than the links by which they are found.
    assert [span.busy for span in timing.spans[1:]] == [32 * 3 + 24, 8 * 3 + 24, 0]


def test_rows_of_a_queue_are_found_while_the_word_before_runs():
    """Three cycles a link from when the word before begins; words of one entry walk each link once."""
    shape = {"k": 32, "n": 32, "slot": 1, "gather": 1}
    lines = lines_of(32, 32, SPEC)
    blocks = [
        word("LINEAR", "" if skip else "router", rows=32, skip=skip, release=lines * (skip == 64), **shape)
        for skip in (0, 32, 64)
    ]
    dense = layer(SPEC, rows=20, k=32, n=32)
    words = [route(rows=80, experts=64), *dense, word("STREAM", lines=lines, slot=1), *blocks]
    routed, _, before, _, first, second, third = run(words, routes=[[[1]] * 80]).spans
    assert before.end < routed.end
    assert first.start == routed.end + 3 * 32
    assert second.start == first.start + 3 * 32
    assert third.start == second.start + 3 * 16
    words[0] = route(rows=8)
    routed, _, before, _, first, *_ = run([*words[:5]], routes=[[[1]] * 8]).spans
    assert routed.end < before.start
    assert first.start == before.start + 40  # the load of the tile, longer than eight links


def test_a_stream_for_a_list_waits_until_it_is_made():
    _, linear = expert(0)
    words = [route(), word("STREAM", waits="router", lines=LINES, slot=1), linear]
    spans = run(words, routes=[[[1]] * 40]).spans
    assert spans[0].end - spans[0].start == 40 * 1 + 52 + 8
    assert spans[1].start == spans[0].end
    assert dict(spans[1].stalls)["tokens:router"] > 0


def test_two_experts_in_flight():
    """Results of expert i are combined while i + 1 computes; two buffers, so i + 2 waits for the first combine."""
    words = [route()]
    for slot in range(4):
        waits = "vector" if slot > 1 else ""
        words += expert(slot, waits, "vector")
        words.append(
            word("COMBINE", waits="matrix", signals="matrix" if slot < 2 else "", rows=32, slot=slot + 1, width=960)
        )
    spans = run(words, routes=[[[number] for number in range(4) for _ in range(10)]]).spans
    linear, combine = spans[2::3], spans[3::3]
    for slot in range(4):
        assert combine[slot].start == max(linear[slot].end, combine[slot - 1].end if slot else 0)
    for slot in (2, 3):
        assert linear[slot].start == combine[slot - 2].end
        assert dict(linear[slot].stalls)["tokens:vector"] > 0


def test_results_of_a_word_without_work_are_not_signalled_before_those_of_the_word_before():
    words = [route(early=1), *layer(SPEC, rows=400, signals="vector"), *expert(0, signals="vector")]
    words += [word("NORM", waits="matrix", rows=1, width=8)] * 2
    spans = run(words, routes=[[[1]] * 40], early=[(4,)]).spans
    assert spans[4].busy == 0
    assert spans[4].end == spans[2].end
    assert spans[5].start == spans[2].end


def test_a_cache_loads_what_it_misses():
    tokens = [[1], [2], [1], [3], [2], [1]]
    words = [route(rows=6, cache=2)]
    for slot in range(6):
        words.append(
            word("STREAM", waits="router" if not slot else "", signals="matrix", lines=LINES, slot=slot + 1, cached=1)
        )
        words.append(word("LINEAR", waits="weights", slot=slot + 1, cached=1, **SHAPE))
    timing = run(words, routes=[tokens])
    assert timing.traffic["weights"] == 5 * LINES * 64  # of 1, 2, 1, 3, 2, 1 only the second 1 is a hit
    assert all(span.busy == 4 for span in timing.spans[2::2])
    assert timing.macs == 6 * 96 * 32
