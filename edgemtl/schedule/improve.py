"""Smaller placements by constraint programming, the same on every run.

Each task's timeline is a packing of rectangles: time is fixed, the offset is free (OR-tools CP-SAT).
One worker, a fixed seed and a limit in deterministic time, so that a plan does not depend on the machine.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from ortools.sat.python import cp_model

from edgemtl.schedule.greedy import Offsets, Problem


def improve(problem: Problem, start: Mapping[str, int], lower_bound: int, limit: float) -> Offsets:
    """Offsets at least as good as `start`; `limit` is CP-SAT's deterministic time, about seconds."""
    unit = math.gcd(*problem.sizes.values()) or 1
    model = cp_model.CpModel()
    bound = problem.extent(start) // unit
    arena = model.new_int_var(-(-lower_bound // unit), bound, "arena")
    places = {name: model.new_int_var(0, bound - size // unit, name) for name, size in problem.sizes.items()}
    _forbid_overlap(model, problem, places, unit)
    for name, place in places.items():
        model.add(place + problem.sizes[name] // unit <= arena)
        model.add_hint(place, start[name] // unit)
    model.add_hint(arena, bound)
    model.minimize(arena)
    solver = _solver(limit)
    if solver.solve(model) not in (cp_model.OPTIMAL, cp_model.FEASIBLE):
        return dict(start)
    return {name: solver.value(place) * unit for name, place in places.items()}


def _forbid_overlap(
    model: cp_model.CpModel, problem: Problem, places: Mapping[str, cp_model.IntVar], unit: int
) -> None:
    rectangles: dict[int, tuple[list[cp_model.IntervalVar], list[cp_model.IntervalVar]]] = {}
    for name, spans in problem.spans.items():
        rows = model.new_fixed_size_interval_var(places[name], problem.sizes[name] // unit, f"{name} bytes")
        for task, first, last in spans:
            times, bytes_ = rectangles.setdefault(task, ([], []))
            times.append(model.new_fixed_size_interval_var(first, last - first + 1, f"{name} in task {task}"))
            bytes_.append(rows)
    for times, bytes_ in rectangles.values():
        model.add_no_overlap_2d(times, bytes_)


def _solver(limit: float) -> cp_model.CpSolver:
    solver = cp_model.CpSolver()
    solver.parameters.num_workers = 1
    solver.parameters.random_seed = 0
    solver.parameters.max_deterministic_time = limit
    # It would leave the signal of Ctrl-C with the system's default, which ends the process without a word.
    solver.parameters.catch_sigint_signal = False
    return solver
