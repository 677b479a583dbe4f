"""Nodes that move elements: in integers, with the values that onnxruntime moves, and nothing beside them rounded."""

from __future__ import annotations

import numpy as np
import pytest

from edgemtl.quantize.moves import cut_blocks
from tests.codegen.graphs import int64, random
from tests.quantize.forms import exchanged_db, judge, quantised

IMAGE = "float[1,3,8,12] image"
CONV = "a = Conv<pads = [1, 1, 1, 1]>(image, w)"
END = "y = Conv<pads = [1, 1, 1, 1]>(b, v)"
ROWS = "r = Reshape(a, tokens) \n t = Transpose<perm = [0, 2, 1]>(r)"
CONSTANTS = {
    "w": random(8, 3, 3, 3, scale=0.3),
    "v": random(8, 8, 3, 3, seed=1, scale=0.2),
    "wide": random(8, 32, 3, 3, seed=1, scale=0.1),
    "narrow": random(8, 2, 3, 3, seed=1, scale=0.3),
    "m": random(8, 8, seed=3, scale=0.4),
    "tokens": int64(1, 8, 96),
    "cls": random(1, 2, 8, seed=4),
    "row_2": int64(1, 2, 8),
    "pads": int64(0, 0, 2, 1, 0, 0, 3, 1),
    "cut": int64(0, 0, -1, 1, 0, 0, 0, -2),
    "level": np.array(0.7, np.float32),
    "some": int64(3, 0, 0, 7, -1),
    "pairs": int64(0, 1, 0, 3, 0, 1).reshape(3, 2),
    "each": np.random.default_rng(0).integers(0, 8, (1, 8, 8, 12)),
    "first": int64(-1),
    "last": int64(-100),
    "three": int64(3),
    "minus_one": int64(-1),
    "repeats": int64(1, 4, 1, 1),
    "mask": random(1, 1, 8, 12, seed=5) > 0,
    "diagonal": random(1, 1, 96, 96, seed=5) > 0,
    "lowest": np.array(-np.inf, np.float32),
    "lengths": int64(5),
    "at": int64(0, 2, 0, 5).reshape(2, 2),
    "zeros": np.zeros((1, 96, 8), np.float32),
}
PADS = {mode: f'b = Pad<mode = "{mode}">(a, pads) \n {END}' for mode in ("constant", "reflect", "edge", "wrap")}
BODIES = {
    **{f"Pad {mode}": body for mode, body in PADS.items()},
    "Pad with a level": f"b = Pad(a, pads, level) \n {END}",
    "Pad that cuts": f"b = Pad(a, cut) \n {END}",
    "Gather": f"b = Gather<axis = 1>(a, some) \n {END.replace('v', 'five').replace('Confive', 'Conv')}",
    "GatherND": f"{ROWS} \n b = GatherND(t, pairs) \n y = MatMul(b, m)",
    "GatherElements": f"b = GatherElements<axis = 1>(a, each) \n {END}",
    "flip": f"b = Slice(a, first, last, three, minus_one) \n {END}",
    "roll": f"c, d = Split<axis = 3>(a, halves) \n b = Concat<axis = 3>(d, c) \n {END}",
    "Tile": "b = Tile(a, repeats) \n y = Conv<pads = [1, 1, 1, 1]>(b, wide)",
    "DepthToSpace": "b = DepthToSpace<blocksize = 2>(a) \n y = Conv(b, narrow)",
    "SpaceToDepth": "b = SpaceToDepth<blocksize = 2>(a) \n y = Conv<pads = [1, 1, 1, 1]>(b, wide)",
    "Where": f"b = Where(mask, a, level) \n {END}",
    "Where of two": f"c = Relu(a) \n b = Where(mask, a, c) \n {END}",
    "masked scores": f"{ROWS} \n s = MatMul(t, r) \n d = Where(diagonal, s, lowest) \n p = Softmax(d)"
    " \n y = MatMul(p, t)",
    "Trilu": f"{ROWS} \n s = MatMul(t, r) \n d = Trilu<upper = 0>(s) \n y = MatMul(d, t)",
    "ReverseSequence": f"b = ReverseSequence<batch_axis = 0, time_axis = 1>(a, lengths) \n {END}",
    "ScatterND": f"{ROWS} \n c = MatMul(t, m) \n d = Gather<axis = 1>(c, two) \n e = Reshape(d, row_2)"
    " \n f = Squeeze(e, zero) \n g = ScatterND(zeros, at, f) \n y = MatMul(g, m)",
    "a class token": f"{ROWS} \n b = Concat<axis = 1>(cls, t) \n y = MatMul(b, m)",
    "a class token before a LayerNorm": f"{ROWS} \n b = Concat<axis = 1>(cls, t)"
    " \n n = LayerNormalization<axis = -1>(b, gamma, beta) \n y = MatMul(n, m)",
    "queries between two": f"{ROWS} \n c = MatMul(t, m) \n b = Concat<axis = 1>(t, cls, c) \n y = MatMul(b, m)",
    "Pad at the end": "y = Pad(a, pads)",
}
CONSTANTS |= {
    "five": random(8, 5, 3, 3, seed=1, scale=0.3),
    "halves": int64(5, 7),
    "two": int64(4, 9),
    "zero": int64(0),
    "gamma": random(8, seed=8),
    "beta": random(8, seed=9),
}


@pytest.mark.parametrize("name", BODIES)
def test_a_move(name: str) -> None:
    body = f"{CONV} \n {BODIES[name]}"
    words = set(body.replace("(", " ").replace(")", " ").replace(",", " ").split())
    form = quantised(f"t ({IMAGE}) => (y) {{{body}}}", **{n: a for n, a in CONSTANTS.items() if n in words})
    judge(form)
    assert exchanged_db(form) > 25
    assert ("QMove" in form.kinds) == (name != "roll")


def test_blocks_are_as_wide_as_they_can_be() -> None:
    """Rows of 4 of an array of 3, one of them twice, between constants; then the same with a neighbour left out."""
    rows = np.arange(12).reshape(3, 4)
    constants = np.array([5, 6, 7, 8, 0], np.int8)
    sources = np.concatenate([rows[[2, 0, 0]].ravel(), [12, 13, 14, 15], rows[1]])
    width, index, fill = cut_blocks(sources, 12, constants)
    assert width == 4
    np.testing.assert_array_equal(index, [2, 0, 0, 3, 1])
    np.testing.assert_array_equal(fill, [[5, 6, 7, 8]])
    width, index, fill = cut_blocks(sources[1:], 12, constants)
    assert width == 1
    taken = np.concatenate([np.arange(12, dtype=np.int8), fill.reshape(-1)])[index]
    np.testing.assert_array_equal(taken, [9, 10, 11, 0, 1, 2, 3, 0, 1, 2, 3, 5, 6, 7, 8, 4, 5, 6, 7])
