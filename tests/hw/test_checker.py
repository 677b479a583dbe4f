"""Streams that the checker accepts end and keep their counters small; every refusal is of one that could not."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgemtl.errors import IntegrityError
from edgemtl.hw import checker
from edgemtl.hw.checker import check_accesses, check_credits, check_stream
from edgemtl.hw.extents import REACHES
from edgemtl.hw.isa import BY_NAME, UNITS, WINDOWS, Instruction
from edgemtl.hw.sim.cycle import Frame, simulate
from edgemtl.hw.sim.cycle.kernel import Kernel
from tests.hw.sim.functional.flows import FLOWS
from tests.hw.sim.functional.rig import Rig
from tests.hw.sim.streams import lines_of, make_frame, make_spec, word

SPEC = make_spec()
LINES = lines_of(40, 32, SPEC)
EXPERTS, TOKENS = 6, 24
PLENTY = dict.fromkeys(WINDOWS, 2**40)


def layer(slot: int, release: bool = True) -> list[Instruction]:
    """STREAM and LINEAR of an entry, or of none."""
    shape = {"rows": 8, "k": 40, "n": 32, "slot": slot, "release": LINES if release else 0}
    return [word("STREAM", lines=LINES, slot=slot), word("LINEAR", **shape)]


def random_stream(rng: random.Random) -> tuple[list[Instruction], int]:
    """Layers, experts and other work with credits from earlier to later instructions; and a ring."""
    words = [word("ROUTE", rows=TOKENS, k=2, experts=EXPERTS, begin=1, end=1)]
    for _ in range(rng.randint(1, 12)):
        kind = rng.choice(["layer", "expert", "norm", "softmax", "load", "route"])
        if kind in ("layer", "expert"):
            words += layer(rng.randint(1, EXPERTS + 2) if kind == "expert" else 0)
        elif kind == "route":
            words.append(words[0])
        else:
            words.append(word(kind.upper(), rows=rng.randint(1, 9), **({"size": 2} if kind == "load" else {})))
    for _ in range(rng.randint(0, 30)):
        first, second = sorted(rng.sample(range(len(words)), 2)) if len(words) > 1 else (0, 0)
        poster, taker = words[first], words[second]
        if taker.unit not in poster.signals and poster.unit not in taker.waits and first != second:
            if poster.unit == "weights":
                continue
            words[first] = replace(poster, signals=poster.signals | {taker.unit})
            words[second] = replace(words[second], waits=words[second].waits | {poster.unit})
    return words, rng.choice([LINES, 2 * LINES, 5 * LINES])


def damaged(words: list[Instruction], rng: random.Random) -> list[Instruction]:
    """One instruction moved, taken out, or with other credits."""
    words, at = list(words), rng.randrange(len(words))
    match rng.randrange(4):
        case 0:
            words.insert(rng.randrange(len(words)), words.pop(at))
        case 1:
            del words[at]
        case 2:
            words[at] = replace(words[at], waits=words[at].waits ^ {rng.choice(UNITS)})
        case _:
            words[at] = replace(words[at], signals=words[at].signals ^ {rng.choice(UNITS)})
    return words


def frame_of(words: list[Instruction], ring: int, rng: random.Random) -> Frame:
    """With routes of few or of all experts."""
    used = rng.randint(2, EXPERTS)
    ends = sum(one.name == "ROUTE" for one in words)
    routes = [[rng.sample(range(used), 2) for _ in range(TOKENS)] for _ in range(ends)]
    return make_frame(words, SPEC, ring=ring, routes=routes)


def refusal_of(frame: Frame) -> str | None:
    """What the checker says; None where it accepts."""
    try:
        check_stream(frame.stream, SPEC.engine, PLENTY)
    except IntegrityError as error:
        return str(error)
    return None


def largest_counters(frame: Frame, monkeypatch: pytest.MonkeyPatch) -> Counter[tuple[str, str]]:
    """The most credits that the cycle simulator ever held, three frames in a row; it ends or raises."""
    most: Counter[tuple[str, str]] = Counter()
    finished = Kernel._finished

    def watch(self: Kernel, instruction, now: float) -> None:
        finished(self, instruction, now)
        for pair, held in self._credits.items():
            most[pair] = max(most[pair], len(held))

    with monkeypatch.context() as patched:
        patched.setattr(Kernel, "_finished", watch)
        simulate([frame] * 3, SPEC)
    return most


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 2**32), st.booleans())
def test_what_is_accepted_ends_and_never_overflows(seed, harm):
    """In the simulator at least; with queues of one instruction and of 64."""
    rng, monkeypatch = random.Random(seed), pytest.MonkeyPatch()
    words, ring = random_stream(rng)
    words = damaged(words, rng) if harm else words
    frame = frame_of(words, ring, rng)
    if (refusal := refusal_of(frame)) is not None:
        assert harm or "the ring must" in refusal or "weights of slots" in refusal
        return
    bounds = check_credits(words)
    for queue in (64, 1):
        with monkeypatch.context() as patched:
            patched.setattr("edgemtl.hw.sim.cycle.kernel.QUEUE_INSTRUCTIONS", queue)
            most = largest_counters(frame, monkeypatch)
        assert all(count <= bounds[pair] for pair, count in most.items()), (most, bounds)


def test_enough_streams_are_accepted_and_enough_refused():
    """The test above would say nothing if all were refused."""
    accepted = Counter()
    for seed in range(200):
        rng = random.Random(seed)
        words, ring = random_stream(rng)
        for harm in (False, True):
            accepted[harm] += refusal_of(frame_of(damaged(words, rng) if harm else words, ring, rng)) is None
    assert accepted[False] > 120
    assert 20 < accepted[True] < 150


@pytest.mark.parametrize("name", ["layers", "attention", "experts"])
def test_what_the_functional_simulator_runs_in_any_order_is_accepted(name):
    rig = FLOWS[name]()
    frame = make_frame(rig.words, rig.spec, ring=rig.ring)
    check_stream(frame.stream, rig.spec.engine, PLENTY)


def chain(count: int) -> list[Instruction]:
    """So many credits posted before the first is taken."""
    norms = [word("NORM", signals="matrix", rows=1)] * count
    return [*norms, *[word("SCORES", waits="vector", rows=1, k=1, heads=1, count=1)] * count]


def test_counters_have_six_bits():
    assert checker.MOST_CREDITS == 63
    assert check_credits(chain(63))["vector", "matrix"] == 63
    with pytest.raises(
        IntegrityError, match=r"instruction 63 \(NORM\): credits for matrix must be at most 63 at a time"
    ):
        check_credits(chain(64))
    # The router waits for the fourth of them, so four are taken before the vector unit goes on.
    words = chain(4)
    words[-1] = replace(words[-1], signals=frozenset({"vector"}))
    words += [replace(one, waits=frozenset({"vector"}) if one.unit == "matrix" else frozenset()) for one in chain(63)]
    first = next(i for i in range(8, len(words)) if words[i].unit == "vector")
    words[first] = replace(words[first], waits=frozenset({"matrix"}))
    assert check_credits(words)["vector", "matrix"] == 63


REFUSED = [
    ([word("NORM", waits="data", rows=1), word("LOAD", signals="vector", rows=1, size=2)], 99, "be posted before it"),
    (
        [word("NORM", signals="data", rows=1)],
        99,
        r"instruction 0 \(NORM\): its credit must be taken by data before END",
    ),
    (layer(0), LINES - 1, f"the ring must hold {LINES} lines, and has {LINES - 1}"),
    (layer(0)[1:], 99, "the ring must hold the .* lines it needs, and may hold 0"),
    (layer(0, release=False), 99, "the ring must be empty at END, and holds"),
    (layer(1), 99, "a slot must stand behind a ROUTE with end"),
    ([word("STREAM", signals="matrix", lines=1)], 99, "it must signal no unit, since it may run before its frame"),
    ([word("ROUTE", rows=1, k=1, experts=2, cache=1, end=1)], 99, "cache must be 0: hardware has no token order"),
    ([word("ROUTE", rows=1, k=1, experts=2, end=1), *layer(257)], 99, "slot must be at most 256, not 257"),
    (
        [word("ROUTE", rows=1, k=1, experts=2, end=1), layer(1)[0], word("ROUTE", rows=1, k=1, experts=2, end=1)],
        99,
        r"weights of slots \[1\] must have left the ring before it",
    ),
]


@pytest.mark.parametrize(("words", "ring", "text"), REFUSED, ids=range(len(REFUSED)))
def test_what_is_refused(words, ring, text):
    with pytest.raises(IntegrityError, match=text + ".*compile the stream again"):
        check_stream(make_frame(words, SPEC, ring=ring).stream, SPEC.engine, PLENTY)


def test_early_experts_are_always_there():
    """Their lines enter without a slot, and leave with the words of their entry."""
    route = word("ROUTE", rows=TOKENS, k=2, experts=EXPERTS, begin=1, end=1, early=1)
    words = [layer(0)[0], route, layer(1)[1], *layer(2)]
    frame = make_frame(words, SPEC, ring=2 * LINES, routes=[np.zeros((TOKENS, 2))], early=[(3,)])
    check_stream(frame.stream, SPEC.engine, PLENTY)
    simulate([frame] * 2, SPEC)
    late = replace(route, operands={**route.operands, "early": 0})
    with pytest.raises(IntegrityError, match="it must release lines of its own entry, 0, not"):
        check_stream(make_frame([layer(0)[0], late, layer(1)[1]], SPEC).stream, SPEC.engine, PLENTY)


def drawn_alone(rng: random.Random) -> Rig:
    """One instruction with operands of any size, small ones more often, on memories where everything was written."""
    name = rng.choice([name for name in REACHES if name not in ("SOFTMAX", "MIX", "COMBINE")])
    operands = {}
    for field in BY_NAME[name].fields:
        few = {"rows": 6, "count": 9, "heads": 1, "height": 9, "width": 5, "wrap": 9, "src_wrap": 9, "dst_wrap": 9}
        high = min(field.high, few.get(field.name, rng.choice([9, 99, 999, 9999])))
        least = 1 if field.name not in ("first", "token", "slot", "skip", "cached", "gather", "early", "cache") else 0
        operands[field.name] = rng.choice(field.allowed or [rng.randint(min(least, high), high)])
    fixed = {"slot": 0, "skip": 0, "gather": 0, "cached": 0, "cache": 0, "lines": 0, "token": 0, "k": 1, "wide": 0}
    fixed |= {"window": 3, "address": 0, "step": 40, "shift": 12, "early": 0, "residual": 0, "parameters": 0}
    fixed |= {"epsilon": 2**21, "release": 0, "offset": 0, "begin": 1, "end": 0}
    operands |= {name: value for name, value in fixed.items() if name in operands}
    return Rig(words=[Instruction(name, operands)])


def lies_outside(rig: Rig) -> bool:
    """Whether the functional simulator finds an access outside a region."""
    try:
        rig.run(chain=False)
    except IntegrityError as error:
        return "granules must lie in" in str(error)
    return False


def reaches_outside(rig: Rig) -> bool:
    """Whether the checker does."""
    try:
        check_accesses(rig.words, rig.engine, PLENTY)
    except IntegrityError:
        return True
    return False


def test_what_the_functional_simulator_finds_outside_a_region_is_refused():
    """Compiled streams, which the compiler checks, show that little else is."""
    names = Counter[str]()
    for seed in range(1500):
        rig = drawn_alone(random.Random(seed))
        if lies_outside(rig):
            assert reaches_outside(rig), rig.words
            names[rig.words[0].name] += 1
    assert {*names} >= {
        "SCORES",
        "NORM",
        "OPEN",
        "ENLARGE",
        "LOAD",
        "STORE",
        "ROUTE",
        "ADD",
        "MAP",
        "MEAN",
        "CLASSES",
    }, names


def test_windows_and_row_state():
    load = word("LOAD", rows=3, size=4, step=5, address=7, window=1)
    end = (7 + 2 * 5) * 64 + 4 * 32
    check_accesses([load], SPEC.engine, {**PLENTY, "input": end})
    with pytest.raises(IntegrityError, match=f"it must end in the {end - 1} bytes of window input, not at {end}"):
        check_accesses([load], SPEC.engine, {**PLENTY, "input": end - 1})
    route = word("ROUTE", rows=4, k=1, experts=3, end=1)
    fetch = word("STREAM", address=2, lines=5, stride=10, slot=1)
    route = [word("COMBINE", slot=9, rows=1, width=8), route, word("COMBINE", slot=3, rows=1, width=8)]
    check_accesses([*route, fetch], SPEC.engine, {**PLENTY, "parameters": 27 * 64})
    with pytest.raises(IntegrityError, match=r"instruction 3 \(STREAM\): it must end in the 1727 bytes of window para"):
        check_accesses([*route, fetch], SPEC.engine, {**PLENTY, "parameters": 27 * 64 - 1})
    with pytest.raises(IntegrityError, match="rows of scores must be at most 1536, not 1537"):
        check_accesses([word("SOFTMAX", rows=1537, stride=2, count=1)], SPEC.engine, PLENTY)


def test_rows_found_through_a_queue_reach_the_last_token():
    engine = SPEC.engine
    last = engine.buffers.input.bytes // 32 + engine.buffers.side.bytes // 5 // 32 - 1
    route = word("ROUTE", rows=100, k=1, experts=3, end=1)
    words = [route, word("LINEAR", rows=1, k=32, n=32, slot=1, gather=1, src_region=2, src=last - 99, src_stride=1)]
    check_accesses(words, engine, PLENTY)
    words[1] = replace(words[1], operands={**words[1].operands, "src": last - 98})
    with pytest.raises(IntegrityError, match=f"src must lie in the .* granules of input, not reach {last + 1}"):
        check_accesses(words, engine, PLENTY)
