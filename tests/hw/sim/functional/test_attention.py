"""SCORES, SOFTMAX and MIX against attention of the law, for one head and for several at once."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgemtl.hw import law
from tests.hw.sim.functional.rig import SPEC, Rig, spec_of

SEED = st.integers(0, 2**32 - 1)


def on_chains(rows: np.ndarray, array_rows: int, heads: int) -> np.ndarray:
    """Heads side by side brought to their chains: byte j drives chain j mod S, and head i has every S / h of them."""
    if heads == 1:
        return rows
    chains, moved, used = array_rows // 8, np.empty_like(rows), [0] * heads
    for byte in range(array_rows):
        head = (byte % chains) * heads // chains
        moved[:, byte] = rows[:, head * (array_rows // heads) + used[head]]
        used[head] += 1
    return moved


def attend(rig: Rig, qkv: np.ndarray, heads: int, scales: tuple[int, int, int], block: int) -> np.ndarray:
    """Attention of rows int8 [tokens, 3 heads d], ``heads`` at once, ``block`` queries a time, copies in turn."""
    tokens, dim = len(qkv), qkv.shape[1] // (3 * heads)
    q, k, v = (np.ascontiguousarray(part) for part in np.split(qkv, 3, 1))
    q, k = (on_chains(part, rig.engine.array_rows, heads) for part in (q, k))
    at = {"queries": 0, "input": 4, "hidden": 9}
    strides = [rig.put(name, first, part) for (name, first), part in zip(at.items(), (q, k, v), strict=True)]
    score_stride, tiles = rig.engine.array_columns and -(-2 * tokens // rig.granule), dim // rig.granule
    score_shift, mul, shift = scales
    for number, first in enumerate(range(0, tokens, block)):
        rows, scores = min(block, tokens - first), f"scores{number % 2}"
        rig.add(
            "SCORES",
            **{"src": ("queries", first * strides[0]), "src_stride": strides[0], "rows": rows, "k": heads * dim},
            **{"heads": heads, "keys": ("input", 4), "keys_stride": strides[1], "count": tokens},
            **{"dst": (scores, 2), "dst_stride": score_stride, "shift": score_shift},
        )
        rig.add("SOFTMAX", src=(scores, 2), stride=score_stride, rows=rows * heads, count=tokens)
        for head in range(heads):
            rig.add(
                "MIX",
                **{"src": (scores, 2 + head * score_stride), "src_stride": heads * score_stride, "heads": heads},
                **{"head": head, "rows": rows, "values": ("hidden", 9 + head * tiles), "values_stride": strides[2]},
                **{"values_tile": 1, "count": tokens, "n": dim, "mul": mul, "shift": shift},
                **{"dst": ("residual", (first * heads + head) * tiles), "dst_stride": heads * tiles},
            )
    out = rig.get("residual", 0, tokens, heads * tiles, heads * dim)
    return rig.run().rows_of(out, tokens, heads * dim)


@pytest.mark.parametrize(
    ("spec", "heads", "dim"),
    [(SPEC, 1, 32), (SPEC, 1, 16), (SPEC, 2, 16), (SPEC, 1, 48), (spec_of(96, 32), 3, 32), (spec_of(96, 16), 2, 48)],
)
@given(st.integers(1, 40), st.integers(1, 20), SEED)
def test_attention(spec, heads, dim, tokens, block, seed):
    rng = np.random.default_rng(seed)
    qkv = rng.integers(-127, 128, (tokens, 3 * heads * dim)).astype(np.int8)
    scales = int(rng.integers(1, 9)), int(rng.integers(2**16, 2**17)), int(rng.integers(14, 20))
    got = attend(Rig(spec), qkv, heads, scales, block)
    np.testing.assert_array_equal(got, law.attention(qkv, heads, *scales))


@given(st.integers(1, 30), SEED)
def test_a_head_that_fills_no_tile(tokens, seed):
    """One head of 20 channels: the last tile of values is not whole."""
    rng = np.random.default_rng(seed)
    qkv = rng.integers(-127, 128, (tokens, 60)).astype(np.int8)
    q, k, v = (np.ascontiguousarray(part) for part in np.split(qkv, 3, 1))
    rig, stride = Rig(), -(-2 * tokens // 16)
    for region, part in (("queries", q), ("input", k), ("hidden", v)):
        rig.put(region, 0, part)
    places = {"src": ("queries", 0), "src_stride": 2, "keys": ("input", 0), "keys_stride": 2, "dst": ("scores1", 0)}
    rig.add("SCORES", **places, rows=tokens, k=20, heads=1, count=tokens, dst_stride=stride, shift=7)
    rig.add("SOFTMAX", src=("scores1", 0), stride=stride, rows=tokens, count=tokens)
    places = {"src": ("scores1", 0), "src_stride": stride, "values": ("hidden", 0), "values_stride": 2}
    rig.add(
        *("MIX",),
        **places,
        **{"values_tile": 1, "heads": 1, "rows": tokens, "count": tokens, "n": 20, "mul": 2**16, "shift": 16},
        **{"dst": ("residual", 0), "dst_stride": 2},
    )
    out = rig.get("residual", 0, tokens, 2, 20)
    np.testing.assert_array_equal(rig.run().rows_of(out, tokens, 20), law.attention(qkv, 1, 7, 2**16, 16))
