"""A layer of experts, from logits to sums, against the law: blocks, early experts, empty queues, the cache."""

from collections import OrderedDict
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from edgemtl.hw import law
from tests.hw.sim.functional.rig import LINE_BYTES, Rig, layer, spec_of, word

SEED = st.integers(0, 2**32 - 1)
WIDTH = 24
"""Channels of a token: a tile and a half."""


@dataclass(frozen=True)
class Gate:
    """How tokens are routed."""

    tokens: int
    experts: int
    candidates: tuple[int, ...]
    k: int
    normalize: bool
    threshold: int
    logits: np.ndarray

    @property
    def routes(self) -> law.Routes:
        return law.route(self.logits, self.k, self.candidates, self.normalize, self.threshold)

    @property
    def choices(self) -> np.ndarray:
        """Candidates in order of logits, equal ones in order of index."""
        mine = self.logits[:, list(self.candidates)].astype(int)
        ranked = [sorted(range(mine.shape[1]), key=lambda e: (-row[e], e)) for row in mine]
        return np.array(ranked)[:, : self.k]


@st.composite
def gates(draw, most_tokens: int = 20) -> Gate:
    rng = np.random.default_rng(draw(SEED))
    tokens, experts = draw(st.integers(1, most_tokens)), draw(st.integers(1, 20))
    candidates = tuple(sorted(rng.choice(experts, int(rng.integers(1, experts + 1)), replace=False).tolist()))
    spread = int(rng.choice([3, 3000, 2**15 - 1]))
    logits = rng.integers(-spread - 1, spread + 1, (tokens, experts)).astype("<i2")
    k = int(rng.integers(1, min(4, len(candidates)) + 1))
    return Gate(tokens, experts, candidates, k, bool(rng.integers(2)), int(rng.choice([0, 3000])), logits)


class Layer:
    """The integers of one linear layer an expert, and the rig that computes with them."""

    def __init__(self, gate: Gate, seed: int, ring: int = 512) -> None:
        rng = np.random.default_rng(seed)
        count = len(gate.candidates)
        self.gate, self.rng, self.rig = gate, rng, Rig(spec_of(weight_ring_bytes=64 * 1024), ring)
        self.x = rng.integers(-128, 128, (gate.tokens, WIDTH)).astype(np.int8)
        self.residual = rng.integers(-(2**15), 2**15, (gate.tokens, WIDTH)).astype("<i2")
        self.w = rng.integers(-127, 128, (count, WIDTH, WIDTH)).astype(np.int8)
        self.scale = [(np.zeros(WIDTH, int), np.full(WIDTH, 2**17 - 1), rng.integers(15, 24, WIDTH)) for _ in self.w]
        packed = [layer(16, w, *scale) for w, scale in zip(self.w, self.scale, strict=True)]
        self.lines = len(packed[0]) // LINE_BYTES
        self.address = self.rig.hold(self.rig.parameters, b"".join(packed))

    def begin(self, early: list[int], cache: int = 0, blocks: int = 1) -> None:
        """Load everything and route in blocks of tokens."""
        rig, gate = self.rig, self.gate
        rig.put("input", 0, self.x)
        rig.put("residual", 0, self.residual)
        stride = rig.put("queries", 0, gate.logits)
        mask = np.packbits([e in gate.candidates for e in range(256)], bitorder="little")
        rig.put("constants", 5, np.concatenate([mask, np.array(early, np.uint8)])[None], window="parameters")
        rig.add("OPEN", high=("residual", 0), low=("hidden", 0), stride=3, rows=gate.tokens, width=WIDTH)
        bounds = np.linspace(0, gate.tokens, min(blocks, gate.tokens) + 1).astype(int).tolist()
        for first, end in pairwise(bounds):
            made = {"src": ("queries", first * stride), "src_stride": stride, "token": first, "rows": end - first}
            made |= {"experts": gate.experts, "k": gate.k, "normalize": gate.normalize, "threshold": gate.threshold}
            made |= {"begin": first == 0, "end": end == gate.tokens, "early": len(early), "cache": cache}
            rig.words.append(word("ROUTE", **made, lines=self.lines, from_=("constants", 5)))

    def expert(self, slot: int, rows: int, block: int, **more: object) -> None:
        """One block of an entry: LINEAR and COMBINE."""
        self.rig.add(
            "LINEAR",
            **{"src": ("input", 0), "src_stride": 2, "rows": rows, "k": WIDTH, "n": WIDTH, "wide": 1, "gather": 1},
            **{"dst": ("scores0", 0), "dst_stride": 4, "dst_tile": 2, "slot": slot, "skip": block * rows},
            **{"low": -128, **more},
        )
        self.rig.add(
            "COMBINE",
            **{
                "src": ("scores0", 0),
                "src_stride": 4,
                "rows": rows,
                "slot": slot,
                "skip": block * rows,
                "width": WIDTH,
            },
            **{"high": ("residual", 0), "low": ("hidden", 0), "stride": 3},
        )

    def end(self, **options: object) -> np.ndarray:
        self.rig.add("SETTLE", high=("residual", 0), low=("hidden", 0), stride=3, rows=self.gate.tokens, width=WIDTH)
        out = self.rig.get("residual", 0, self.gate.tokens, 3, 2 * WIDTH)
        return self.rig.run(**options).rows_of(out, self.gate.tokens, 2 * WIDTH, "i2")

    def wanted(self) -> np.ndarray:
        """saturate(round_shift(residual * 2^15 + sum of w y, 15)), written out."""
        routes, how = self.gate.routes, law.Finish("int16")
        y = np.zeros((len(routes.token), WIDTH), np.int64)
        for expert, (first, end) in enumerate(pairwise(routes.first)):
            tokens = routes.token[first:end]
            y[first:end] = law.linear(self.x[tokens], self.w[expert], *self.scale[expert], how)
        sums = self.residual.astype(np.int64) << 15
        sums += (routes.weight[:, :, None].astype(np.int64) * y[routes.slot]).sum(1)
        return np.clip((sums + 2**14) >> 15, -(2**15), 2**15 - 1)


@given(gates(), st.integers(1, 8), st.integers(1, 3), st.data())
def test_experts_in_order(gate, rows, blocks, data):
    """Early experts come first, without a slot and before the router has run; slots that have no entry do nothing."""
    count = len(gate.candidates)
    early = data.draw(st.lists(st.integers(0, count - 1), unique=True, max_size=3))
    held = Layer(gate, data.draw(SEED))
    for expert in early:
        held.rig.add("STREAM", address=held.address + expert * held.lines, lines=held.lines)
    held.begin(early, blocks=blocks)
    most = -(-gate.tokens // rows)
    for slot in range(1, count + 1):
        if slot > len(early):
            held.rig.add("STREAM", address=held.address, lines=held.lines, slot=slot, stride=held.lines)
        for block in range(most):
            held.expert(slot, rows, block, release=held.lines if block == most - 1 else 0)
    np.testing.assert_array_equal(held.end(), held.wanted())
    (got,) = held.rig.result.routes
    assert got.dtype == np.int32
    np.testing.assert_array_equal(got, gate.choices)


@given(gates(12), st.integers(1, 5), SEED)
def test_tokens_in_order(gate, cache, seed):
    """An entry a token and choice, weights from the cache."""
    held = Layer(gate, seed)
    held.begin([], cache)
    for slot in range(1, gate.tokens * gate.k + 3):
        made = {"address": held.address, "lines": held.lines, "slot": slot, "stride": held.lines}
        held.rig.add("STREAM", **made, cached=1)
        held.expert(slot, 1, 0, cached=1)
    np.testing.assert_array_equal(held.end(), held.wanted())
    np.testing.assert_array_equal(held.rig.result.routes[0], gate.choices)


@given(st.lists(st.integers(0, 6), min_size=1, max_size=40), st.integers(1, 5))
@example([0, 1, 0, 2, 0, 1], 2)
def test_the_cache_replaces_what_was_used_longest_ago(experts, places):
    from edgemtl.hw.sim.functional.routing import by_token

    choices = np.array(experts)[:, None]
    got = [(e.line, e.load) for e in by_token(choices, choices, places, 3)]
    held: OrderedDict[int, int] = OrderedDict()
    for (line, load), expert in zip(got, experts, strict=True):
        assert load == (expert not in held)
        if expert in held:
            assert held[expert] == line
            held.move_to_end(expert)
            continue
        if len(held) == places:
            assert line == held.popitem(last=False)[1]
        held[expert] = line
        assert line in range(0, 3 * places, 3)
        assert len({*held.values()}) == len(held)


@pytest.mark.parametrize("k", [1, 2, 7])
def test_sums_saturate_as_the_law_does(k):
    """Residuals and experts at the ends of their range, in either order."""
    rng = np.random.default_rng(k)
    gate = Gate(16, 8, tuple(range(8)), k, True, 0, rng.integers(-3000, 3000, (16, 8)).astype("<i2"))
    held = Layer(gate, 3)
    held.residual = np.where(rng.integers(0, 2, held.residual.shape), 32767, -32768).astype("<i2")
    held.begin([])
    for slot in range(1, 9):
        held.rig.add("STREAM", address=held.address, lines=held.lines, slot=slot, stride=held.lines)
        held.expert(slot, 16, 0, release=held.lines)
    got = held.end()
    np.testing.assert_array_equal(got, held.wanted())
    assert {32767, -32768} & {*got.reshape(-1).tolist()}


@pytest.mark.parametrize("value", [127, -127])
def test_sums_stop_at_32_bits(value):
    """Five equal weights round up to 2^15 + 2: with everything at its end the sum would leave 32 bits."""
    gate = Gate(2, 5, tuple(range(5)), 5, True, 0, np.zeros((2, 5), "<i2"))
    held = Layer(gate, 1)
    held.x[:], held.residual[:] = 127, 32767 if value > 0 else -32768
    held.w[:] = value
    packed = [layer(16, w, np.zeros(WIDTH, int), np.full(WIDTH, 2**16), np.full(WIDTH, 12)) for w in held.w]
    held.rig.parameters[:] = b"".join(packed)
    held.scale = [(np.zeros(WIDTH, int), np.full(WIDTH, 2**16), np.full(WIDTH, 12))] * 5
    held.begin([])
    for slot in range(1, 6):
        held.rig.add("STREAM", address=held.address, lines=held.lines, slot=slot, stride=held.lines)
        held.expert(slot, 2, 0, release=held.lines)
    got = held.end()
    np.testing.assert_array_equal(got, held.wanted())
    assert {*got.reshape(-1).tolist()} == {32767 if value > 0 else -32768}
    assert gate.routes.weight.sum() == 2 * (2**15 + 2)


def test_early_experts_have_an_entry_without_tokens():
    """Their weights are in the ring: a block without rows must release them, and one behind it waits for nothing."""
    logits = np.tile(np.array([9, 0, 0, 5], "<i2"), (3, 1))
    held = Layer(Gate(3, 4, (0, 1, 3), 2, False, 0, logits), 5)
    early = [1, 0]
    for expert in early:
        held.rig.add("STREAM", address=held.address + expert * held.lines, lines=held.lines)
    held.begin(early)
    held.rig.add("STREAM", address=held.address, lines=held.lines, slot=3, stride=held.lines)
    for slot in (1, 2, 3):
        held.expert(slot, 3, 0, release=held.lines)
        held.expert(slot, 3, 1)
    np.testing.assert_array_equal(held.end(), held.wanted())


def test_two_lists_of_one_stream():
    """The second ROUTE replaces the list of the first; both are in the result."""
    rng = np.random.default_rng(4)
    gate = Gate(5, 4, (0, 2, 3), 1, True, 0, rng.integers(-99, 99, (5, 4)).astype("<i2"))
    held = Layer(gate, 1)
    held.begin([])
    held.rig.words.append(held.rig.words[-1])
    for slot in range(1, 4):
        held.rig.add("STREAM", address=held.address, lines=held.lines, slot=slot, stride=held.lines)
        held.expert(slot, 5, 0, release=held.lines)
    np.testing.assert_array_equal(held.end(), held.wanted())
    assert len(held.rig.result.routes) == 2
