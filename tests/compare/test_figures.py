"""The figures by hand, and what becomes of values that are no numbers."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

from edgemtl.compare import Comparison, LayerFigures, Limits, RouterFigures, Routing
from edgemtl.compare.figures import LayerSums, RouterSums
from edgemtl.compare.meaning import real_values
from edgemtl.compare.reading import route_logits
from edgemtl.frontend.moe_node import MoEAttributes
from edgemtl.quantize.tensors import Tensor


def figures(*pairs):
    sums = LayerSums()
    for a, b in pairs:
        sums.add(np.array(a, np.float32), np.array(b, np.float32))
    return sums.figures("x")


def test_sqnr_leaves_the_mean_out():
    found = figures(([4.0, 6.0], [4.125, 6.125]))  # power 2 around the mean, noise 2 / 64
    assert found.sqnr_db == pytest.approx(10 * math.log10(64))
    assert found.max_abs == 0.125
    assert found.elements == 2


def test_images_count_together():
    apart, together = (
        figures(([1.0, 2.0], [1.0, 2.5]), ([3.0, 8.0], [3.0, 8.0])),
        figures(([1, 2, 3, 8], [1, 2.5, 3, 8])),
    )
    assert apart == together


def test_cosine_is_of_the_angle():
    assert figures(([1.0, 0.0], [1.0, 1.0])).cosine == pytest.approx(math.sqrt(0.5))
    assert figures(([0.0, 0.0], [1.0, 1.0])).cosine == 0


@pytest.mark.parametrize(
    ("a", "b", "sqnr"),
    [
        ([1.0, 2.0], [1.0, 2.0], math.inf),
        ([3.0, 3.0], [3.0, 3.0], math.inf),
        ([3.0, 3.0], [3.0, 4.0], -math.inf),
        ([1.0, 2.0], [1.0, math.nan], -math.inf),
        ([1.0, 2.0], [math.inf, 2.0], -math.inf),
    ],
)
def test_the_ends_of_the_scale(a, b, sqnr):
    assert figures((a, b)).sqnr_db == sqnr


def test_agreement_by_hand():
    a = Routing(np.array([[0, 1], [2, 3]]), np.array([[0.6, 0.2], [0.5, 0.3]]))
    b = Routing(np.array([[1, 4], [2, 3]]), np.array([[0.5, 0.1], [0.5, 0.3]]))
    sums = RouterSums()
    sums.add(a, b)
    found = sums.figures("router", 3)
    assert (found.choices, found.agreement, found.behind) == (4, 0.75, 3)
    assert found.weighted == pytest.approx(1.0 / 1.6)


def test_logits_choose_among_candidates_and_ties_fall_to_the_lower():
    logits = np.array([[9.0, 1.0, 1.0, 0.0, 1.0]], np.float32)
    found = route_logits(logits, MoEAttributes(2, normalize=True, experts=(1, 2, 4)))
    assert found.experts.tolist() == [[1, 2]]
    assert found.weights.tolist() == [[0.5, 0.5]]


def test_integers_become_what_they_stand_for():
    rows = np.arange(6, dtype=np.int8)
    assert real_values(rows, Tensor("int8", 0.5, 2), 3).tolist() == [-1, -0.5, 0, 0.5, 1, 1.5]
    assert real_values(rows, Tensor("int8", parts=(1.0, 2.0, 3.0)), 3).tolist() == [0, 2, 6, 3, 8, 15]
    folded = Tensor("int8", 1.0, 0, np.array([1.0, 2.0, 0.0]), np.array([0.5, 0.0, 1.0]))
    assert real_values(rows, folded, 3).tolist() == [0.5, 2, 1, 3.5, 8, 1]


def comparison(limits=None):
    layers = (
        LayerFigures("first", 4, math.inf, 1.0, 0.0),
        LayerFigures("second", 4, 12.5, 0.9, 0.5),
        LayerFigures("third", 4, -math.inf, math.nan, math.nan),
    )
    routers = (RouterFigures("gate", 10, 0.9, 0.95, 1),)
    return Comparison("fp32", "int8", "depth", 2, layers, routers, ("alone",), (), limits or Limits())


def test_json_holds_no_number_that_is_none():
    document = json.loads(json.dumps(comparison(Limits(20.0, 0.97)).to_json(), allow_nan=False))
    assert [(layer["sqnr_db"], layer["identical"]) for layer in document["layers"]] == [
        (None, True),
        (12.5, False),
        (None, False),
    ]
    assert (document["first_below"], document["first_router_below"], document["failed"]) == ("second", "gate", True)
    assert (document["only_a"], document["only_b"]) == (["alone"], [])


def test_only_what_was_asked_for_fails():
    assert not comparison().failed
    assert comparison().first is None
    assert comparison(Limits(12.5)).first.name == "third"
    assert not comparison(Limits(None, 0.9)).failed
    assert comparison(Limits(None, 0.91)).first_router.name == "gate"
