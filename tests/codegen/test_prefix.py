"""The beginning tasks share: equal work on equal buffers, and nothing that writes an output."""

from __future__ import annotations

import numpy as np

from edgemtl.codegen.cpu.prefix import common_prefix, separate
from edgemtl.lowering.ir import INPUT, OUTPUT, Constant, Step, dense

IMAGE = f"{INPUT}image"


def chain(*specs: str, origin: str = "", last: str = "") -> tuple[Step, ...]:
    """Steps that hand one buffer to the next."""
    names = [IMAGE, *(f"v{i}" for i in range(len(specs)))]
    names[-1] = last or names[-1]
    return tuple(
        Step(spec, (dense(a, (4,)),), (dense(b, (4,)),), origin=(origin,))
        for spec, a, b in zip(specs, names[:-1], names[1:], strict=True)
    )


def test_equal_steps_are_shared_whatever_their_origin() -> None:
    assert common_prefix([chain("a", "b", "c", origin="x"), chain("a", "b", "d", origin="y")]) == 2


def test_one_task_shares_nothing() -> None:
    assert common_prefix([chain("a", "b")]) == 0


def test_other_weights_end_the_prefix() -> None:
    one, two = (Constant("w", np.full(4, v, np.float32)) for v in (1.0, 2.0))
    first = Step("a", (), (dense("v0", (4,)),), (one,))
    assert common_prefix([(first,), (first,)]) == 1
    assert common_prefix([(first,), (Step("a", (), (dense("v0", (4,)),), (two,)),)]) == 0


def test_equal_weights_under_other_names_are_equal() -> None:
    one, two = (Constant(name, np.ones(4, np.float32)) for name in ("w", "v"))
    assert one.key == two.key
    assert Constant("w", np.ones((2, 2), np.float32)).key != one.key


def test_a_step_that_writes_the_output_is_not_shared() -> None:
    assert common_prefix([chain("a", "b", last=OUTPUT), chain("a", "b", last=OUTPUT)]) == 1


def test_buffers_behind_the_prefix_belong_to_their_task() -> None:
    one, two = chain("a", "b", "c", last=OUTPUT), chain("a", "d", "c", last=OUTPUT)
    separated = separate([one, two], ["x", "y"], common_prefix([one, two]))
    assert [step.buffers for step in separated[0]] == [(IMAGE, "v0"), ("v0", "x.v1"), ("x.v1", OUTPUT)]
    assert [step.buffers for step in separated[1]] == [(IMAGE, "v0"), ("v0", "y.v1"), ("y.v1", OUTPUT)]


def test_a_buffer_that_is_written_in_parts_is_shared_whole_or_not_at_all() -> None:
    whole = dense("v0", (8,))
    halves = [Step(f"copy {i}", (dense(IMAGE, (4,)),), (whole.apply(lambda a, i=i: a[4 * i :][:4]),)) for i in (0, 1)]
    other = Step("other", (dense(IMAGE, (4,)),), (halves[1].outputs[0],))
    assert common_prefix([(*halves,), (*halves,)]) == 2
    assert common_prefix([(*halves,), (halves[0], other)]) == 0
