"""Reads a table of a TOML file into a frozen dataclass: every key there, none unknown, each of its type and range."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, fields, is_dataclass
from typing import Any, Final, TypeVar, get_type_hints

from edgemtl.errors import ConfigError

T = TypeVar("T")

SHOWN_CHARACTERS: Final = 60
"""Of a wrong value in a message."""


@dataclass(frozen=True)
class Rule:
    """What a value must be, as a message says it, and whether one is."""

    text: str
    holds: Callable[[Any], bool]


FLAG: Final = Rule("true or false", lambda value: type(value) is bool)
TEXTS: Final = Rule("a list of texts", lambda value: type(value) is list and {type(item) for item in value} <= {str})


def whole(low: int, high: int) -> Rule:
    """A whole number from ``low`` to ``high``."""
    # A bool is an int to isinstance, and true is no number of anything.
    return Rule(f"a whole number from {low} to {high}", lambda value: type(value) is int and low <= value <= high)


def one_of(*values: int | str) -> Rule:
    """One of ``values``."""
    kinds = {type(value) for value in values}
    return Rule(f"one of {', '.join(map(str, values))}", lambda value: type(value) in kinds and value in values)


def text(longest: int) -> Rule:
    """A line of printable text of at most ``longest`` characters."""
    return Rule(
        f"a line of 1 to {longest} printable characters",
        lambda value: type(value) is str and 0 < len(value) <= longest and value.isprintable(),
    )


def read_table(kind: type[T], table: object, file: str, prefix: str = "") -> T:
    """``table`` of ``file`` as a ``kind``, whose fields are annotated with rules or are dataclasses, so tables again.

    Raises ConfigError with the file, the key, what it must be and what it is.
    """
    where = prefix.rstrip(".")
    if not isinstance(table, Mapping):
        raise ConfigError(f"{file}: {where} must be a table, not {shown(table)}")
    hints = get_type_hints(kind, include_extras=True)
    for key in table:
        if key not in hints:
            keys = f"keys of [{where}]" if where else "the keys"
            raise ConfigError(f"{file}: {keys} must be among {', '.join(hints)}, not {shown(key)}")
    given = {
        name: _value(hint, table, name, file, prefix) for name, hint in hints.items() if _is_needed(kind, name, table)
    }
    return kind(**given)


def _is_needed(kind: type, name: str, table: Mapping[str, Any]) -> bool:
    return name in table or not hasattr(kind, name)  # the default of a dataclass's field is an attribute of the class


def _value(hint: Any, table: Mapping[str, Any], name: str, file: str, prefix: str) -> Any:
    rule: Rule | None = next(iter(getattr(hint, "__metadata__", ())), None)
    if name not in table:
        raise ConfigError(f"{file}: {prefix}{name} must be {rule.text if rule else 'a table'}; it is missing")
    value = table[name]
    if rule is None:
        return read_table(hint, value, file, f"{prefix}{name}.")
    if not rule.holds(value):
        raise ConfigError(f"{file}: {prefix}{name} must be {rule.text}, not {shown(value)}")
    return tuple(value) if isinstance(value, list) else value


def shown(value: object) -> str:
    """``value`` as a message shows it: short, on one line."""
    try:
        words = repr(value)
    except (ValueError, RecursionError):
        # Python refuses to write out whole numbers of more than 4300 digits.
        words = f"{type(value).__name__} too long to show"
    return words if len(words) <= SHOWN_CHARACTERS else f"{words[: SHOWN_CHARACTERS - 3]}..."


def leaves(value: Any) -> Iterator[tuple[str, Any]]:
    """Dotted names and values of what a dataclass holds, through the dataclasses in it."""
    for item in fields(value):
        held = getattr(value, item.name)
        if is_dataclass(held):
            yield from ((f"{item.name}.{key}", leaf) for key, leaf in leaves(held))
        else:
            yield item.name, held
