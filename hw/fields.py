"""Reads a table of a TOML file into a frozen dataclass: every key there, none unknown, each of its type and range."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import MISSING, Field, dataclass, field, fields, is_dataclass
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


def whole(low: int, high: int) -> Any:
    """A field that is a whole number from ``low`` to ``high``."""
    # A bool is an int to isinstance, and true is no number of anything.
    rule = Rule(f"a whole number from {low} to {high}", lambda value: type(value) is int and low <= value <= high)
    return field(metadata={"rule": rule})


def one_of(*values: int | str) -> Any:
    """A field that is one of ``values``."""
    kinds = {type(value) for value in values}
    rule = Rule(f"one of {', '.join(map(str, values))}", lambda value: type(value) in kinds and value in values)
    return field(metadata={"rule": rule})


def text(longest: int) -> Any:
    """A field that is a line of printable text of at most ``longest`` characters."""
    rule = Rule(
        f"a line of 1 to {longest} printable characters",
        lambda value: type(value) is str and 0 < len(value) <= longest and value.isprintable(),
    )
    return field(metadata={"rule": rule})


def flag() -> Any:
    """A field that is true or false, false where it is not given."""
    return field(default=False, metadata={"rule": Rule("true or false", lambda value: type(value) is bool)})


def names() -> Any:
    """A field that is a list of texts, none where it is not given."""
    rule = Rule("a list of texts", lambda value: type(value) is list and all(type(item) is str for item in value))
    return field(default=(), metadata={"rule": rule})


def read_table(kind: type[T], table: object, file: str, prefix: str = "") -> T:
    """``table`` of ``file`` as a ``kind``; fields that are dataclasses are tables of their own.

    Raises ConfigError with the file, the key, what it must be and what it is.
    """
    if not isinstance(table, Mapping):
        raise ConfigError(f"{file}: {prefix.rstrip('.')} must be a table, not {shown(table)}")
    known = {item.name: item for item in fields(kind)}  # type: ignore[arg-type]  # T is a dataclass, which has no name
    for key in table:
        if key not in known:
            raise ConfigError(
                f"{file}: keys of [{prefix.rstrip('.')}] must be among {', '.join(known)}, not {shown(key)}"
            )
    hints = get_type_hints(kind)
    return kind(**{name: _value(item, hints[name], table, file, prefix) for name, item in known.items()})


def _value(item: Field[Any], kind: Any, table: Mapping[str, Any], file: str, prefix: str) -> Any:
    key = prefix + item.name
    if is_dataclass(kind):
        if item.name not in table:
            raise ConfigError(f"{file}: {key} must be a table; it is missing")
        return read_table(kind, table[item.name], file, f"{key}.")  # type: ignore[arg-type]  # a class, not a value
    rule: Rule = item.metadata["rule"]
    if item.name not in table:
        if item.default is MISSING:
            raise ConfigError(f"{file}: {key} must be {rule.text}; it is missing")
        return item.default
    value = table[item.name]
    if not rule.holds(value):
        raise ConfigError(f"{file}: {key} must be {rule.text}, not {shown(value)}")
    return tuple(value) if isinstance(value, list) else value


def shown(value: object) -> str:
    """``value`` as a message shows it: short, on one line."""
    try:
        words = repr(value)
    except (ValueError, RecursionError):
        # Python refuses to write out whole numbers of more than 4300 digits.
        words = f"a {type(value).__name__} too long to show"
    return words if len(words) <= SHOWN_CHARACTERS else f"{words[: SHOWN_CHARACTERS - 3]}..."


def leaves(value: Any) -> Iterator[tuple[str, Any]]:
    """Dotted names and values of what a dataclass holds, through the dataclasses in it."""
    for item in fields(value):
        held = getattr(value, item.name)
        if is_dataclass(held):
            yield from ((f"{item.name}.{key}", leaf) for key, leaf in leaves(held))
        else:
            yield item.name, held
