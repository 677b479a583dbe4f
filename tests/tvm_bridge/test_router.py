"""The router against a loop over tokens."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from edgemtl.host.operators import run_operator
from edgemtl.operators import Dispatch, Router
from edgemtl.processor import CpuTarget
from edgemtl.tvm_bridge.kernels import dispatch, router
from tests.tvm_bridge.harness import close, normal, on_targets, run, targets


def route(spec: Router, target: CpuTarget, logits: np.ndarray) -> dict[str, np.ndarray]:
    (candidates,) = router.pack(spec, target)
    return run(router.build(spec, target), target, logits=logits, candidates=candidates)


def check(spec: Router, target: CpuTarget, logits: np.ndarray) -> None:
    got = route(spec, target, logits)
    powers = np.exp(logits.astype(float) - logits.max(1, keepdims=True))
    held = (powers / powers.sum(1, keepdims=True))[:, spec.candidates]
    # A stable sort of float32 logits: equal ones keep their order, so ties go to the lowest column.
    order = np.argsort(-logits[:, spec.candidates], 1, kind="stable")[:, : spec.top_k]
    weights = np.take_along_axis(held, order, 1)
    if spec.normalize:
        weights = weights / weights.sum(1, keepdims=True)
    close(got["weights"], np.where(weights < spec.threshold, 0.0, weights), 1e-6)
    check_queues(spec, got, order)


def check_queues(spec: Router | Dispatch, got: dict[str, np.ndarray], order: np.ndarray) -> None:
    counts = np.bincount(order.ravel(), minlength=len(spec.candidates))
    np.testing.assert_array_equal(got["offsets"], np.cumsum([0, *counts]))
    np.testing.assert_array_equal(np.sort(got["slots"].ravel()), np.arange(order.size))
    expert = np.repeat(np.arange(len(counts)), counts)
    np.testing.assert_array_equal(expert[got["slots"]], order)
    np.testing.assert_array_equal(got["tokens"][got["slots"]], np.arange(spec.tokens)[:, None] + 0 * order)
    for first, end in zip(got["offsets"], got["offsets"][1:], strict=False):
        assert (np.diff(got["tokens"][first:end]) > 0).all()


@st.composite
def specs(draw: st.DrawFn) -> Router:
    experts = draw(st.integers(1, 20))
    kept = tuple(sorted(draw(st.sets(st.integers(0, experts - 1), min_size=1))))
    k = draw(st.integers(1, min(4, len(kept))))
    return Router(draw(st.integers(1, 40)), experts, k, kept, draw(st.booleans()), draw(st.sampled_from([0.0, 0.21])))


@given(specs(), st.sampled_from(targets(1) + targets(2)))
@settings(max_examples=25, deadline=None, derandomize=True)
def test_any_routing(spec: Router, target: CpuTarget) -> None:
    check(spec, target, normal(spec.tokens, spec.experts))


@on_targets()
class TestOneRouting:
    SPEC = Router(9, 6, 2, (1, 2, 4, 5), True, 0.0)

    def test_ties_go_to_the_lowest_expert(self, target: CpuTarget) -> None:
        check(self.SPEC, target, np.zeros((9, 6), np.float32))
        check(self.SPEC, target, normal(9, 6).round())

    def test_experts_that_are_no_candidates_are_never_picked(self, target: CpuTarget) -> None:
        logits = normal(9, 6)
        logits[:, [0, 3]] += 9
        check(self.SPEC, target, logits)

    def test_all_tokens_of_one_expert(self, target: CpuTarget) -> None:
        logits = normal(9, 6)
        logits[:, 4] += 30
        got = route(Router(9, 6, 1, (1, 2, 4, 5), False, 0.0), target, logits)
        np.testing.assert_array_equal(got["offsets"], [0, 0, 0, 9, 9])

    def test_large_logits_give_no_nan(self, target: CpuTarget) -> None:
        spec = Router(9, 6, 2, tuple(range(6)), False, 0.0)
        got = route(spec, target, normal(9, 6) * np.float32(1e30))
        assert np.isfinite(got["weights"]).all()
        np.testing.assert_allclose(got["weights"][:, 0], 1.0)

    def test_dropping_experts_never_picked_changes_no_bit(self, target: CpuTarget) -> None:
        logits = normal(9, 6)
        logits[:, [0, 3]] -= 9
        full = route(Router(9, 6, 2, tuple(range(6)), False, 0.0), target, logits)
        fewer = route(Router(9, 6, 2, (1, 2, 4, 5), False, 0.0), target, logits)
        for name in ("weights", "slots", "tokens"):
            assert full[name].tobytes() == fewer[name].tobytes()


def sparse_weights(spec: Dispatch, seed: int) -> np.ndarray:
    """Weights of any sign [T, E], at most k of a token's candidates not 0."""
    rng = np.random.default_rng(seed)
    weights = rng.standard_normal((spec.tokens, spec.experts)).astype(np.float32)
    for row in weights:
        zero = rng.permutation(spec.candidates)[: len(spec.candidates) - rng.integers(0, spec.top_k + 1)]
        row[zero] = 0
    return weights


@given(specs(), st.integers(0, 9), st.sampled_from(targets(1) + targets(2)))
@settings(max_examples=15, deadline=None, derandomize=True)
def test_given_weights_come_back_in_their_columns(shape: Router, seed: int, target: CpuTarget) -> None:
    spec = Dispatch(shape.tokens, shape.experts, shape.top_k, shape.candidates)
    weights = sparse_weights(spec, seed)
    (candidates,) = dispatch.pack(spec, target)
    got = run(dispatch.build(spec, target), target, logits=weights, candidates=candidates)
    order = np.searchsorted(got["offsets"], got["slots"], side="right") - 1
    back = np.zeros((spec.tokens, len(spec.candidates)), np.float32)
    np.put_along_axis(back, order, got["weights"], 1)
    np.testing.assert_array_equal(back, weights[:, spec.candidates])
    check_queues(spec, got, order)
    routes = {name: np.zeros(kind.shape, kind.dtype) for name, kind in spec.signature.outputs.items()}
    run_operator("dispatch", spec, [weights], [], list(routes.values()))
    for name, array in routes.items():
        np.testing.assert_array_equal(got[name], array)


@on_targets()
def test_weights_that_are_no_numbers_are_chosen_first(target: CpuTarget) -> None:
    spec = Dispatch(2, 4, 2, (0, 1, 2, 3))
    weights = np.array([[1, 0, np.nan, np.nan], [-1, 0, np.inf, 2]], np.float32)
    (candidates,) = dispatch.pack(spec, target)
    got = run(dispatch.build(spec, target), target, logits=weights, candidates=candidates)
    np.testing.assert_array_equal(got["weights"], [[np.nan, np.nan], [np.inf, 2]])
