"""Random multi-task programs, and a machine that runs them on real bytes: the planner's oracle."""

from __future__ import annotations

import random
from collections.abc import Sequence

import numpy as np

from edgemtl.schedule import Buffer, Lifetime, Plan, Slot

Program = tuple[list[Buffer], list[list[Slot]], int]


def random_program(seed: int) -> Program:
    """Buffers, one to four tasks of up to ten steps behind a common prefix of up to six, and its length."""
    rng = random.Random(seed)
    sizes: dict[str, int] = {}
    prefix, known = _random_steps(rng, sizes, "p", rng.randrange(7), [])
    tasks = []
    for task in range(rng.randint(1, 4)):
        suffix, _ = _random_steps(rng, sizes, f"t{task}_", rng.randint(1, 10), list(known))
        tasks.append(prefix + suffix)
    return [Buffer(name, size) for name, size in sizes.items()], tasks, len(prefix)


def _random_steps(rng, sizes, stem, count, known):
    steps = []
    own: list[str] = []
    for index in range(count):
        reads = rng.sample(known, min(len(known), rng.randint(0, 3)))
        writes = []
        for part in range(rng.choice((1, 1, 1, 2))):
            if own and rng.random() < 0.1:  # a buffer written in parts
                writes.append(rng.choice(own))
            else:
                writes.append(_new(rng, sizes, f"{stem}{index}_{part}"))
        own += [name for name in writes if name not in own]
        spaces = (_new(rng, sizes, f"{stem}{index}_ws"),) if rng.random() < 0.3 else ()
        steps.append(Slot(tuple(reads), tuple(dict.fromkeys(writes)), spaces))
        known = [*known, *(name for name in writes if name not in known)]
    return steps, known


def _new(rng, sizes, name):
    sizes[name] = rng.choice((1, 63, 64, 65, 100, 256, 1000, 4096))
    return name


def hard_intervals(seed: int) -> tuple[list[Buffer], list[dict[str, Lifetime]]]:
    """Two tasks of thirty long-lived buffers each, ten of them common: where heuristics lose bytes."""
    rng = random.Random(seed)
    buffers = [Buffer(f"b{index}", 64 * rng.randint(1, 40)) for index in range(50)]
    timelines: list[dict[str, Lifetime]] = [{}, {}]
    for index, buffer in enumerate(buffers):
        for task in (0, 1) if index < 10 else (index % 2,):
            first = rng.randrange(24)
            timelines[task][buffer.name] = Lifetime(first, min(27, first + rng.randint(0, 10)))
    return buffers, timelines


class Corrupted(Exception):
    """A step read bytes that are not the ones last written."""


def run_on_bytes(plan: Plan, buffers: Sequence[Buffer], tasks: Sequence[Sequence[Slot]], prefix: int) -> None:
    """Run every ordered pair of tasks as a session does: one from the start, the next behind the prefix.

    A write fills its buffer with a number of its own; reads and the end of a step expect it, else Corrupted.
    """
    sizes = {b.name: b.bytes for b in buffers}
    for first in range(len(tasks)):
        for second in range(len(tasks)):
            memory, stamps, counter = np.zeros(plan.arena_bytes, np.int64), {}, 0
            for step in [*tasks[first], *tasks[second][prefix:]]:
                counter = _run_step(memory, stamps, counter, step, plan.offsets, sizes)


def _run_step(memory, stamps, counter, step, offsets, sizes):
    place = {n: slice(offsets[n], offsets[n] + sizes[n]) for n in step.touches}
    for name in step.reads:
        if not (memory[place[name]] == stamps[name]).all():
            raise Corrupted(name)
    for name in (*step.writes, *step.workspaces):
        counter += 1
        stamps[name] = counter
        memory[place[name]] = counter
    for name in step.touches:
        if not (memory[place[name]] == stamps[name]).all():
            raise Corrupted(name)
    return counter
