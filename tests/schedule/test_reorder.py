"""Orders against brute force over every order of small graphs."""

import sys
from itertools import permutations

from edgemtl.schedule import Buffer, Slot, lifetimes, plan, reorder, reorder_tasks
from tests.schedule.graphs import random_program


def _peak(steps, sizes):
    buffers = [Buffer(name, size) for name, size in sizes.items() if any(name in s.touches for s in steps)]
    return plan(buffers, lifetimes([steps], 0), limit=0).lower_bound_bytes


def _works(steps, order):
    """Every step reads the same writes as in the given order."""

    def seen(sequence):
        last, reads = {}, {}
        for index in sequence:
            step = steps[index]
            reads[index] = [(name, last.get(name)) for name in step.reads]
            last.update(dict.fromkeys((*step.writes, *step.workspaces), index))
        return reads, {n: w for n, w in last.items() if not n.endswith("ws")}

    return seen(order) == seen(range(len(steps)))


def test_small_graphs_get_the_best_order_there_is():
    better = 0
    for seed in range(400):
        buffers, tasks, prefix = random_program(seed)
        steps = tasks[0]
        if prefix or len(steps) > 6:
            continue
        sizes = {b.name: b.bytes for b in buffers}
        order = reorder(steps, sizes)
        assert sorted(order) == list(range(len(steps)))
        assert _works(steps, order)
        orders = (o for o in permutations(range(len(steps))) if _works(steps, o))
        best = min(_peak([steps[i] for i in o], sizes) for o in orders)
        assert _peak([steps[i] for i in order], sizes) == best
        better += best < _peak(steps, sizes)
    assert better >= 3


def test_tasks_keep_one_prefix_and_no_peak_rises():
    for seed in range(200):
        buffers, tasks, prefix = random_program(seed)
        sizes = {b.name: b.bytes for b in buffers}
        orders = reorder_tasks(tasks, sizes, prefix)
        moved = [[steps[i] for i in order] for steps, order in zip(tasks, orders, strict=True)]
        assert len({order[:prefix] for order in orders}) == 1
        assert all(sorted(order[:prefix]) == list(range(prefix)) for order in orders)
        before = plan(buffers, lifetimes(tasks, prefix), limit=0).lower_bound_bytes
        assert plan(buffers, lifetimes(moved, prefix), limit=0).lower_bound_bytes <= before


def test_wide_branches_run_one_after_the_other():
    tails = [(Slot(("x",), (f"a{i}",)), Slot((f"a{i}",), (f"b{i}",))) for i in range(8)]
    wide = [
        Slot((), ("x",)),
        *(t[0] for t in tails),
        *(t[1] for t in tails),
        Slot(tuple(f"b{i}" for i in range(8)), ("y",)),
    ]
    sizes = {n: 6400 if n[0] == "a" else 64 for s in wide for n in s.touches}
    order = reorder(wide, sizes)
    assert _works(wide, order)
    assert _peak([wide[i] for i in order], sizes) == 6400 + 64 * 8
    assert _peak(wide, sizes) > 8 * 6400


def test_a_search_grown_too_large_leaves_the_list_schedule(monkeypatch):
    tails = [(Slot(("x",), (f"a{i}",)), Slot((f"a{i}",), (f"b{i}",))) for i in range(3)]
    wide = [Slot((), ("x",)), *(t[0] for t in tails), *(t[1] for t in tails)]
    sizes = {n: 6400 if n[0] == "a" else 64 for s in wide for n in s.touches}
    found = reorder(wide, sizes)
    monkeypatch.setattr(sys.modules[reorder.__module__], "SEARCH_STATES", 0)
    assert _peak([wide[i] for i in reorder(wide, sizes)], sizes) >= _peak([wide[i] for i in found], sizes)


def test_no_tasks():
    assert reorder_tasks([], {}, 0) == ()
    assert reorder([], {}) == ()
