"""What goes wrong inside an instruction, and the error that names the instruction."""

from __future__ import annotations

from edgemtl.errors import IntegrityError
from edgemtl.hw.encoding import disassemble
from edgemtl.hw.isa import Instruction


class Fault(Exception):
    """An instruction breaks a rule of the machine; `blame` makes the error that users see of it."""


def blame(place: int, instruction: Instruction, why: object) -> IntegrityError:
    """The error of the instruction at ``place`` of the stream; 0 is the first behind HEAD."""
    return IntegrityError(f"{called(place, instruction)}: {why}; compile the stream again")


def called(place: int, instruction: Instruction) -> str:
    """How messages name an instruction."""
    return f"instruction {place} ({disassemble(instruction)})"


def in_range(instruction: Instruction, **limits: int) -> None:
    """Raise Fault where one of the named operands is not in 1..limit."""
    for name, limit in limits.items():
        if not 1 <= instruction[name] <= limit:
            raise Fault(f"{name} must be in 1..{limit}, not {instruction[name]}")


def set_to_something(instruction: Instruction, *names: str) -> None:
    """Raise Fault where one of the named operands is 0."""
    for name in names:
        if instruction[name] < 1:
            raise Fault(f"{name} must be at least 1, not {instruction[name]}")
