"""Streams with no token too many: what a compiler would make of small layers."""

from __future__ import annotations

import numpy as np

from tests.hw.sim.functional.rig import LINE_BYTES, Rig, layer, word


def random_layer(rng: np.random.Generator, k: int, n: int, shift: int) -> bytes:
    """A layer of large scales, so that results are not all alike."""
    w = rng.integers(-127, 128, (k, n))
    return layer(16, w, rng.integers(-999, 999, n), np.full(n, 2**16), np.full(n, shift))


def linear(waits: str, signals: str, src: tuple, dst: tuple, release: int, **more: object):
    """A LINEAR of 4 rows, 16 to 16."""
    made = {"src": src, "src_stride": 1, "rows": 4, "k": 16, "n": 16, "low": -128, "dst": dst, "dst_stride": 1}
    return word("LINEAR", waits, signals, **(made | {"dst_tile": 1, "release": release} | more))


def signal(rig: Rig, waits: str = "", signals: str = "") -> None:
    """Give the last word its tokens."""
    last = rig.words[-1]
    rig.words[-1] = type(last)(last.name, last.operands, frozenset(waits.split()), frozenset(signals.split()))


def layers() -> Rig:
    """Two layers and a LayerNorm, twice over the same memories, with both results stored."""
    rng, rig = np.random.default_rng(1), Rig(ring=12)
    x = rng.integers(-128, 128, (2, 4, 16)).astype(np.int8)
    wide = {"wide": 1, "dst_stride": 2, "dst_tile": 2}
    norm = {"src": ("residual", 0), "src_stride": 2, "dst": ("queries", 0), "dst_stride": 1, "rows": 4, "width": 16}
    rig.put("input", 0, x[0])
    signal(rig, "", "matrix")
    for again in (False, True):
        lines = [rig.weights(random_layer(rng, 16, 16, shift)) for shift in (24, 20)]
        signals = "matrix" if again else "matrix data"
        rig.words.append(linear("data", signals, ("input", 0), ("hidden", 0), lines[0]))
        waits = "matrix vector" if again else "matrix"
        rig.words.append(linear(waits, "vector", ("hidden", 0), ("residual", 0), lines[1], **wide))
        if not again:
            rig.put("input", 0, x[1])
            signal(rig, "matrix", "matrix")
        waits, signals = ("matrix data", "data") if again else ("matrix", "data matrix")
        rig.add("NORM", waits, signals, **norm, epsilon=9, mul=2**16, shift=12)
        rig.get("queries", 0, 4, 1, 16)
        signal(rig, "vector", "" if again else "vector")
    return rig


def attention() -> Rig:
    """Two blocks of queries through one copy of the scores; the keys are loaded, the results stored."""
    rng, rig = np.random.default_rng(2), Rig()
    for region in ("input", "queries", "hidden"):
        rig.put(region, 0, rng.integers(-127, 128, (8, 32)).astype(np.int8))
    signal(rig, "", "matrix")
    for block in range(2):
        scores = {"src": ("queries", 8 * block), "src_stride": 2, "rows": 4, "k": 32, "heads": 2, "count": 8}
        scores |= {"keys": ("input", 0), "keys_stride": 2, "dst": ("scores0", 0), "dst_stride": 1, "shift": 6}
        rig.add("SCORES", "" if block else "data", "softmax", **scores)
        rig.add("SOFTMAX", "matrix", "matrix", src=("scores0", 0), stride=1, rows=8, count=8)
        for head in range(2):
            mix = {"src": ("scores0", head), "src_stride": 2, "heads": 2, "head": head, "rows": 4, "count": 8, "n": 16}
            mix |= {"values": ("hidden", head), "values_stride": 2, "values_tile": 1, "mul": 2**16, "shift": 16}
            waits, signals = "" if head else "softmax", "data" if head else ""
            rig.add("MIX", waits, signals, **mix, dst=("residual", 8 * block + head), dst_stride=2)
        rig.get("residual", 8 * block, 4, 2, 32)
        signal(rig, "matrix")
    return rig


def _routed(rig: Rig, rng: np.random.Generator, cache: int, lines: int) -> None:
    rig.put("input", 0, rng.integers(-128, 128, (4, 16)).astype(np.int8))
    rig.put("residual", 0, rng.integers(-999, 999, (4, 16)).astype("<i2"))
    signal(rig, "", "vector")
    rig.put("queries", 0, np.array([[0, 9], [9, 0], [5, 7], [6, 2]], "<i2"))
    rig.put("constants", 0, np.pad(np.array([[3]], np.uint8), ((0, 0), (0, 31))))
    signal(rig, "", "router")
    rig.add("OPEN", "data", high=("residual", 0), low=("hidden", 0), stride=2, rows=4, width=16)
    made = {"src": ("queries", 0), "src_stride": 1, "rows": 4, "experts": 2, "k": 1, "begin": 1, "end": 1}
    made |= {"cache": cache, "lines": lines, "normalize": 1}
    signals = "weights" if cache else "weights matrix"
    rig.words.append(word("ROUTE", "data", signals, **made, from_=("constants", 0)))


def experts(cache: int = 0) -> Rig:
    """Two experts of one layer in turn through one place for their results; with ``cache`` in order of tokens."""
    rng, rig = np.random.default_rng(3), Rig()
    packed = [random_layer(rng, 16, 16, 18) for _ in range(2)]
    lines, address = len(packed[0]) // LINE_BYTES, rig.hold(rig.parameters, b"".join(packed))
    _routed(rig, rng, cache, lines)
    last = 4 if cache else 2
    for slot in range(1, last + 1):
        begins, ends = slot == 1, slot == last
        fetch = {"address": address, "lines": lines, "slot": slot, "stride": lines, "cached": bool(cache)}
        waits = ("router" if begins else "") + (" matrix" if cache and not begins else "")
        rig.add("STREAM", waits, "matrix" if cache else "", **fetch)
        more = {"wide": 1, "dst_stride": 2, "dst_tile": 2, "slot": slot, "gather": 1, "cached": bool(cache)}
        waits = ("" if cache and begins else "router" if begins else "vector") + (" weights" if cache else "")
        signals = "vector" + (" weights" if cache and not ends else "")
        rig.words.append(linear(waits, signals, ("input", 0), ("scores0", 0), 0 if cache else lines, **more))
        made = {"src": ("scores0", 0), "src_stride": 2, "rows": 4, "slot": slot, "width": 16, "stride": 2}
        rig.add("COMBINE", "matrix", "" if ends else "matrix", **made, high=("residual", 0), low=("hidden", 0))
    rig.add("SETTLE", "", "data", high=("residual", 0), low=("hidden", 0), stride=2, rows=4, width=16)
    rig.get("residual", 0, 4, 2, 32)
    signal(rig, "vector")
    return rig


def cached() -> Rig:
    """Tokens in order with one place in the cache, that every other token replaces."""
    return experts(cache=1)


FLOWS = {made.__name__: made for made in (layers, attention, experts, cached)}
