"""The one loop that times functions."""

from itertools import count

from benchmarks.timing import milliseconds


def test_functions_take_turns_and_only_their_runs_are_timed() -> None:
    calls: list[str] = []
    ticks = count(0, 2_000_000)
    times = milliseconds(
        [lambda: calls.append("a"), lambda: calls.append("b")],
        rounds=2,
        runs=2,
        warm_runs=1,
        clock=lambda: next(ticks),
    )
    assert calls == list("aaabbb" * 2)
    assert times == [[2.0] * 4, [2.0] * 4]
