"""The checker against plans broken on purpose, and against the machine that runs them on bytes."""

import random
from dataclasses import replace

import pytest

from edgemtl.schedule import Access, Buffer, Plan, PlanError, Slot, check, check_accesses, lifetimes, plan
from tests.schedule.graphs import Corrupted, random_program, run_on_bytes


def _corrupts(made, program):
    try:
        run_on_bytes(made, *program)
    except Corrupted:
        return True
    return False


def _refuses(made, program):
    try:
        check(made, *program)
    except PlanError:
        return True
    return False


@pytest.mark.parametrize("block", range(4))
def test_every_broken_plan_is_caught(block):
    broken = 0
    for seed in range(block * 150, (block + 1) * 150):
        program = random_program(seed)
        made = plan(program[0], lifetimes(*program[1:]), limit=0)
        rng = random.Random(seed)
        for name in rng.sample(sorted(made.offsets), min(4, len(made.offsets))):
            moved = replace(made, offsets={**made.offsets, name: 64 * rng.randrange(1 + made.arena_bytes // 64)})
            if moved.offsets[name] + dict((b.name, b.bytes) for b in program[0])[name] > made.arena_bytes:
                assert _refuses(moved, program)
            elif _corrupts(moved, program):
                broken += 1
                assert _refuses(moved, program), (seed, name)
    assert broken > 50


def test_any_two_live_buffers_on_top_of_each_other_are_caught():
    for seed in range(60):
        program = random_program(seed)
        timelines = lifetimes(*program[1:])
        made = plan(program[0], timelines, limit=0)
        for timeline in timelines:
            for name, life in timeline.items():
                for other, span in timeline.items():
                    if name < other and life.first <= span.last and span.first <= life.last:
                        moved = replace(
                            made,
                            offsets={**made.offsets, name: made.offsets[other]},
                            arena_bytes=2 * made.arena_bytes,
                        )
                        assert _refuses(moved, program) or not _corrupts(moved, program)


CHAIN = [[Slot((), ("a",)), Slot(("a",), ("b",), ("ws",)), Slot(("b",), ("c",))]]
BUFFERS = [Buffer("a", 100), Buffer("b", 100), Buffer("ws", 10), Buffer("c", 100)]


def _check(offsets, arena=512, tasks=CHAIN, prefix=0, buffers=BUFFERS):
    check(Plan(offsets, arena, 0), buffers, tasks, prefix)


def test_a_sound_plan_passes():
    _check({"a": 0, "b": 128, "ws": 256, "c": 0})


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"b": 64}, "buffers a and b must not overlap at task 0, step 1: b starts 36 bytes early"),
        ({"c": 64}, "buffers c and b must not overlap at task 0, step 2: b starts 36 bytes early"),
        ({"ws": 64}, "buffers a and ws must not overlap at task 0, step 1: ws starts 36 bytes early"),
        ({"c": 32}, "buffer c must start at a multiple of 64, not at 32"),
        ({"c": 448}, "buffer c must lie in the arena of 512 bytes, not at 448 to 548"),
        ({"c": -64}, "buffer c must lie in the arena of 512 bytes, not at -64 to 36"),
    ],
)
def test_refused_offsets(changes, text):
    with pytest.raises(PlanError, match=f"^{text}$"):
        _check({"a": 0, "b": 128, "ws": 256, "c": 0, **changes})


def test_refused_gaps_in_the_plan():
    with pytest.raises(PlanError, match=r"^buffer c must have a size and an offset: a step touches it$"):
        _check({"a": 0, "b": 128, "ws": 256})
    with pytest.raises(PlanError, match=r"^buffer c must have a size and an offset: a step touches it$"):
        _check({"a": 0, "b": 128, "ws": 256, "c": 0}, buffers=BUFFERS[:3])


def test_refused_reads_before_writes():
    with pytest.raises(PlanError, match=r"^buffer a must be written before step 0 of task 0 reads it$"):
        _check({"a": 0, "b": 128}, tasks=[[Slot(("a",), ("b",)), Slot((), ("a",))]])


def test_refused_prefixes():
    tasks = [[Slot((), ("a",)), Slot(("a",), ("b",))], [Slot((), ("b",)), Slot(("b",), ("c",))]]
    with pytest.raises(PlanError, match=r"^step 0 of the common prefix must be in task 1 what it is in task 0$"):
        _check({"a": 0, "b": 128, "c": 256}, tasks=tasks, prefix=1)
    tasks = [[Slot((), ("a",)), Slot(("a",), ("b",))], [Slot((), ("a",)), Slot(("a",), ("a",))]]
    text = r"^buffer a must stay as the common prefix left it; step 1 of task 1 writes it$"
    with pytest.raises(PlanError, match=text):
        _check({"a": 0, "b": 128}, tasks=tasks, prefix=1)


def test_what_crosses_the_prefix_must_outlive_a_task_that_never_reads_it():
    prefix = Slot((), ("x",))
    tasks = [[prefix, Slot(("x",), ("a",))], [prefix, Slot((), ("b",)), Slot(("b",), ("c",))]]
    buffers = [Buffer(name, 64) for name in "xabc"]
    _check({"x": 0, "a": 64, "b": 64, "c": 128}, tasks=tasks, prefix=1, buffers=buffers)
    text = r"^buffers c and x must not overlap at task 1, step 2: x starts 64 bytes early$"
    with pytest.raises(PlanError, match=text):
        _check({"x": 0, "a": 64, "b": 64, "c": 0}, tasks=tasks, prefix=1, buffers=buffers)


def test_a_kernel_that_may_touch_more_than_it_is_given_is_refused() -> None:
    check_accesses([Access("copy", "x", 64, 64)])
    message = "operand y of copy must stay in the 64 bytes it is given, not touch 68"
    with pytest.raises(PlanError, match=message):
        check_accesses([Access("copy", "x", 64, 64), Access("copy", "y", 68, 64)])
