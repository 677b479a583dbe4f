"""What a pass is, and the runner that applies passes in order and verifies the model between them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from edgemtl.errors import InternalError

Model = TypeVar("Model")
Notes = tuple[str, ...]
"""What a user should know of the choices a pass made."""


@dataclass(frozen=True)
class Property(Generic[Model]):
    """Something a pass makes true of a model, and that stays true to the last pass.

    find_violation: says what contradicts it, None where nothing does. It runs after every later change, so it must be
    cheap; None where no cheap test is known.
    """

    name: str
    find_violation: Callable[[Model], str | None] | None = None


@dataclass(frozen=True)
class Pass(Generic[Model]):
    """One change to a model, or one look at it that refuses models.

    run: from the model to the model after the pass and the notes on it; it may reuse the parts of what it gets, which
    nobody reads afterwards.  requires: what earlier passes must have ensured.  ensures: what holds from here on.
    looks: it changes nothing and only reads or refuses the model.
    """

    name: str
    run: Callable[[Model], tuple[Model, Notes]]
    requires: tuple[Property[Model], ...] = ()
    ensures: tuple[Property[Model], ...] = ()
    looks: bool = False


def check_order(passes: Sequence[Pass[Model]]) -> None:
    """Raise InternalError for the first pass that requires what no pass before it ensures."""
    for index, later in enumerate(passes):
        for needed in later.requires:
            if not any(needed in earlier.ensures for earlier in passes[:index]):
                source = next((p.name for p in passes[index:] if needed in p.ensures), None)
                where = f"pass {source!r} must come before it" if source else "no pass ensures that"
                raise InternalError(f"pass {later.name!r} requires that {needed.name}; {where}")


def run_passes(passes: Sequence[Pass[Model]], model: Model) -> tuple[Model, Notes]:
    """The model after all passes, and their notes in order.

    After each change everything that has been ensured so far is tested, after a look what it ensures itself. Raises
    InternalError for passes in a wrong order, and for a pass that does not leave what has been ensured.
    """
    check_order(passes)
    notes: Notes = ()
    ensured: dict[Property[Model], None] = {}
    for step in passes:
        model, new = step.run(model)
        notes += new
        ensured |= dict.fromkeys(step.ensures)
        for what in step.ensures if step.looks else ensured:
            violation = what.find_violation(model) if what.find_violation is not None else None
            if violation is not None:
                raise InternalError(f"after pass {step.name!r} it must hold that {what.name}, and {violation}")
    return model, notes
