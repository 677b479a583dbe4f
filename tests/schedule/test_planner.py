"""Plans against bytes that are really written and read, and against the lower bound."""

import subprocess
import sys
from itertools import combinations
from pathlib import Path

import pytest

from edgemtl.schedule import ALIGNMENT, Buffer, Lifetime, Plan, Slot, check, lifetimes, plan
from edgemtl.schedule.greedy import Problem, place_greedily
from edgemtl.schedule.improve import improve
from tests.schedule.graphs import hard_intervals, random_program, run_on_bytes


def _plan(program, **options):
    buffers, tasks, prefix = program
    return plan(buffers, lifetimes(tasks, prefix), **options)


@pytest.mark.parametrize("block", [*range(10), *(pytest.param(b, marks=pytest.mark.slow) for b in range(10, 100))])
def test_no_random_program_corrupts_its_bytes(block):
    for seed in range(block * 200, (block + 1) * 200):
        program = random_program(seed)
        made = _plan(program, limit=0)
        check(made, *program)
        run_on_bytes(made, *program)
        assert made.arena_bytes >= made.lower_bound_bytes
        assert all(offset % ALIGNMENT == 0 for offset in made.offsets.values())


def test_heuristics_stay_near_the_lower_bound():
    gaps = [_plan(random_program(seed), limit=0).gap for seed in range(400)]
    assert sum(gaps) / len(gaps) < 0.01
    assert max(gaps) < 0.35


def _no_overlap(made, buffers, timelines):
    """The definition, pair by pair."""
    size = {b.name: b.bytes for b in buffers}
    for timeline in timelines:
        for (a, one), (b, two) in combinations(timeline.items(), 2):
            if one.first <= two.last and two.first <= one.last:
                below = made.offsets[a] + size[a] <= made.offsets[b]
                assert below or made.offsets[b] + size[b] <= made.offsets[a], (a, b)


def test_search_closes_gaps_the_heuristics_leave():
    greedy, searched = 0.0, 0.0
    for seed in range(8):
        buffers, timelines = hard_intervals(seed)
        first, better = plan(buffers, timelines, limit=0), plan(buffers, timelines, limit=2)
        _no_overlap(first, buffers, timelines)
        _no_overlap(better, buffers, timelines)
        assert better.lower_bound_bytes <= better.arena_bytes <= first.arena_bytes
        greedy, searched = greedy + first.gap, searched + better.gap
    assert greedy > 0.1
    assert searched < 0.5 * greedy


def test_the_same_input_gets_the_same_plan():
    buffers, timelines = next(p for p in map(hard_intervals, range(20)) if plan(*p, limit=0).gap > 0)
    assert plan(buffers, timelines, limit=1) == plan(buffers, timelines, limit=1)


def test_search_without_time_keeps_the_start():
    buffers, tasks, prefix = random_program(3)
    problem = Problem.of(buffers, lifetimes(tasks, prefix))
    start = place_greedily(problem)
    assert problem.extent(improve(problem, start, problem.lower_bound(), 1e-9)) <= problem.extent(start)


def test_lifetimes_of_a_chain_and_of_a_boundary():
    prefix = Slot((), ("x",), ())
    tasks = [
        [prefix, Slot(("x",), ("a",), ("scratch",)), Slot(("a",), ("b",))],
        [prefix, Slot((), ("c",)), Slot(("c",), ("d",)), Slot(("d",), ("e",))],
    ]
    first, second = lifetimes(tasks, 1)
    assert first == {"x": Lifetime(0, 2), "a": Lifetime(1, 2), "scratch": Lifetime(1, 1), "b": Lifetime(2, 2)}
    assert second["x"] == Lifetime(0, 3)  # never read here, wanted by the other task


def test_tasks_share_bytes_and_the_arena_is_the_larger_one():
    tasks = [[Slot((), ("a",))], [Slot((), ("b",))]]
    made = plan([Buffer("a", 1000), Buffer("b", 5000)], lifetimes(tasks, 0))
    assert made == Plan({"a": 0, "b": 0}, 5056, 5056)
    assert made.gap == 0.0


def test_an_empty_plan():
    made = plan([], [])
    assert made == Plan({}, 0, 0)
    assert made.gap == 0.0


@pytest.mark.parametrize(
    ("buffers", "timelines", "text"),
    [
        ([Buffer("a", 1), Buffer("a", 2)], [], "every buffer must have a name of its own"),
        ([Buffer("a", 0)], [], "buffer a must have at least 1 byte, not 0"),
        ([], [{"b": Lifetime(0, 0)}], "timelines must name planned buffers only, not b"),
    ],
)
def test_refused_input(buffers, timelines, text):
    with pytest.raises(ValueError, match=text):
        plan(buffers, timelines)


INTERRUPTED = """
import signal
from edgemtl.schedule.greedy import Problem, place_greedily
from edgemtl.schedule.improve import improve
from tests.schedule.graphs import hard_intervals

problem = Problem.of(*hard_intervals(0))
improve(problem, place_greedily(problem), 0, limit=0.01)
try:
    signal.raise_signal(signal.SIGINT)
except KeyboardInterrupt:
    print("interrupted as before")
"""


def test_the_solver_leaves_interrupts_alone():
    code = [sys.executable, "-c", INTERRUPTED]
    ran = subprocess.run(code, capture_output=True, text=True, check=False, cwd=Path(__file__).parents[2])
    assert ran.stdout == "interrupted as before\n", ran.stderr
