"""Layers that tasks share: found by their weights, and given one range in octaves."""

import numpy as np
import pytest

from edgemtl.lowering.ir import Constant, Step, dense
from edgemtl.quantize.align import halved, share_ranges, shared_layers
from edgemtl.quantize.observe import Observation, Range
from edgemtl.tvm_bridge import specs

SHARED, OWN_A, OWN_B = (np.full((4, 4), value, np.float32) for value in (1, 2, 3))


def linear(index, weight, n=4):
    spec = specs.LinearSpec(2, 4, n, "", False)
    constants = (Constant(f"w{index}", weight), Constant("b", np.zeros(n, np.float32)))
    return Step(spec, (dense(f"v{index}", (2, 4)),), (dense(f"v{index + 1}", (2, n)),), constants, (f"n{index}",))


def attention(index):
    spec = specs.AttentionSpec(2, 1, 4, 1.0)
    return Step(spec, (dense(f"v{index}", (2, 4)),), (dense(f"v{index + 1}", (2, 4)),), (), (f"n{index}",))


def bias_free(index, weight):
    made = linear(index, weight)
    return Step(made.spec, made.inputs, made.outputs, made.constants[:1], made.origin)


A = [bias_free(0, SHARED), attention(1), bias_free(2, OWN_A), attention(3)]
B = [bias_free(0, SHARED), attention(1), bias_free(2, OWN_B), attention(3)]
BOTH = frozenset({"a", "b"})


def test_layers_are_shared_by_weights_and_by_what_they_read():
    assert shared_layers({"a": A, "b": B}) == [BOTH, BOTH, frozenset(), frozenset()]


def test_other_sizes_are_other_layers():
    wide = [linear(0, np.full((4, 8), 1, np.float32), 8), *A[1:]]
    assert shared_layers({"a": A, "b": wide})[0] == frozenset()


@pytest.mark.parametrize(
    ("union", "own", "expected"),
    [
        ((-8, 8), (-7, 3), (-8, 8)),
        ((-8, 8), (-4, 4), (-4, 4)),
        ((-8, 8), (-1, 0.5), (-1, 1)),
        ((0, 8), (0, 3), (0, 4)),
        ((-1, 8), (-1, 1), (-1, 8)),
        ((0, 0), (0, 0), (0, 0)),
        ((-8, 8), (0, 0), (-(2.0**-13), 2.0**-13)),
        ((0, 1.5), (0, 1e-320), (0, 1.5 * 2.0**-1024)),
    ],
)
def test_a_small_range_takes_the_union_by_powers_of_two(union, own, expected):
    found = halved(Range(*union), Range(*own))
    assert (found.low, found.high) == expected
    assert found.low <= own[0]
    assert found.high >= own[1]


def test_shared_layers_get_one_range_and_one_extreme_others_keep_theirs():
    seen = {
        "a": Observation({"image": Range(-1, 1), "0": Range(-4, 4), "2": Range(-1, 1)}, {1: np.array([1.0, 5.0])}),
        "b": Observation({"image": Range(-2, 2), "0": Range(-3, 3), "2": Range(-9, 9)}, {1: np.array([2.0, 3.0])}),
    }
    shared = share_ranges({"a": A, "b": B}, seen)
    assert shared["a"].ranges["0"] == shared["b"].ranges["0"] == Range(-4, 4)
    assert (shared["a"].ranges["2"].high, shared["b"].ranges["2"].high) == (1, 9)
    assert (shared["a"].ranges["image"].high, shared["b"].ranges["image"].high) == (1, 2)
    assert shared["a"].channels[1].tolist() == shared["b"].channels[1].tolist() == [2.0, 5.0]
