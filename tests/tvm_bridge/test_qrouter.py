"""Integer router against the law."""

import numpy as np
import pytest

from edgemtl.hw import law
from edgemtl.operators import QRouter
from edgemtl.processor import CpuTarget
from tests.support.processors import on_each
from tests.tvm_bridge.integers import host_targets, integers, run_all, same, widest

TARGETS = on_each(host_targets())
SPECS = [
    QRouter(1, 1, 1, (0,), False, 0),
    QRouter(40, 6, 2, (1, 2, 4, 5), True, 0),
    QRouter(40, 16, 4, tuple(range(16)), False, 3000),
    QRouter(40, 17, 3, (0, 7, 16), True, 9000),
    QRouter(33, 256, 8, tuple(range(256)), False, 0),
    QRouter(33, 256, 8, tuple(range(3, 256, 5)), True, 700),
    QRouter(40, 16, 4, tuple(range(16)), False, 0, 9),
    QRouter(40, 17, 3, (0, 7, 16), True, 700, 7),
]


def rows(tokens: int, experts: int) -> np.ndarray:
    """Logits that spread, ones of a few values, which tie, equal ones, and the two ends."""
    logits = integers("int16", tokens, experts, low=-6000, high=6000)
    logits[1::4] = integers("int16", tokens, experts, low=-2, high=1)[1::4] * 500
    logits[2::4] = -(2**15)
    logits[3::4] = integers("int16", tokens, experts)[3::4]
    return logits


def check(target: CpuTarget, work: list[tuple[QRouter, np.ndarray]]) -> None:
    found = run_all(target, [(spec, {"logits": logits}) for spec, logits in work])
    for (spec, logits), outputs in zip(work, found, strict=True):
        routes = law.route(logits, spec.top_k, spec.candidates, spec.normalize, spec.threshold, spec.fraction_bits)
        for name, expected in zip(
            ("weights", "slots", "tokens", "offsets"),
            (routes.weight, routes.slot, routes.token, routes.first),
            strict=True,
        ):
            same(outputs[name], expected)


@TARGETS
def test_any_routing(target: CpuTarget) -> None:
    check(target, [(spec, rows(spec.tokens, spec.experts)) for spec in SPECS])


@TARGETS
def test_a_leader_that_is_no_candidate(target: CpuTarget) -> None:
    logits = rows(9, 6)
    logits[:, 3] = 2**15 - 1
    check(target, [(QRouter(9, 6, 2, (1, 2, 4, 5), normalize, 0), logits) for normalize in (False, True)])


@pytest.mark.parametrize("threads", [1, 3])
def test_threads_change_no_bit(threads: int) -> None:
    check(widest(threads), [(SPECS[3], rows(40, 17))])
