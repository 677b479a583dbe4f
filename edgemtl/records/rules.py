"""What single values must be; a rule stands in the annotation of the field that it is for."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from edgemtl.records.field import Field

MAX_TEXT = 4096
NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")

# Half a character: legal in JSON, but no file or terminal can take it.
_SURROGATE = re.compile("[\ud800-\udfff]")
_SHA256 = re.compile("[0-9a-f]{64}")


@dataclass(frozen=True)
class Rule:
    """What a value must be, as messages say it, and its reading, which raises ConfigError where it is not that."""

    must: str
    read: Callable[[Field], Any]


def check(must: str, holds: Callable[[Any], bool], convert: Callable[[Any], Any] | None = None) -> Rule:
    """The rule that ``holds`` is true of a value, which ``convert`` then changes."""

    def read(field: Field) -> Any:
        if not holds(field.value):
            field.fail(must)
        return field.value if convert is None else convert(field.value)

    return Rule(must, read)


def integer(low: int, high: int, kind: str = "an integer") -> Rule:
    """An integer from ``low`` to ``high``, which messages call ``kind``."""
    # A bool is an int to isinstance, and true is no number of anything.
    return check(f"{kind} from {low} to {high}", lambda value: type(value) is int and low <= value <= high)


def number(low: float, high: float) -> Rule:
    """A finite number from ``low`` to ``high``, as a float."""
    must = f"a number from {low:g} to {high:g}"
    return check(must, lambda value: type(value) in (int, float) and low <= value <= high, float)


def one_of(*values: int | str) -> Rule:
    """One of ``values``."""
    kinds = {type(value) for value in values}
    return check(f"one of {', '.join(map(str, values))}", lambda value: type(value) in kinds and value in values)


def items(rule: Rule, low: int, high: int, must: str) -> Rule:
    """An array of ``low`` to ``high`` values by ``rule``, as a tuple; ``must``: what it must be, for messages."""

    def read(field: Field) -> tuple[Any, ...]:
        values = tuple(rule.read(item) for item in field.items())
        if not low <= len(values) <= high:
            field.fail(must)
        return values

    return Rule(must, read)


def hexadecimal(digits: int) -> Rule:
    """A text of so many digits."""
    pattern = re.compile(f"[0-9a-f]{{{digits}}}")
    return check(
        f"{digits} lower-case hexadecimal digits", lambda value: type(value) is str and bool(pattern.fullmatch(value))
    )


FLAG = check("true or false", lambda value: type(value) is bool)
TEXT = check(
    f"a text of at most {MAX_TEXT} characters",
    lambda value: type(value) is str and len(value) <= MAX_TEXT and not _SURROGATE.search(value),
)
SAFE_NAME = check(
    "a name of at most 128 letters, digits and _.- that does not start with . or -",
    lambda value: type(value) is str and bool(NAME.fullmatch(value)) and ".." not in value,
)
"""Safe as part of a path or a symbol."""
SHA256 = check(
    "a SHA-256 of 64 lower-case hexadecimal digits",
    lambda value: type(value) is str and bool(_SHA256.fullmatch(value)),
)
