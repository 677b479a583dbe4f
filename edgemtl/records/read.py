"""A frozen dataclass from a field, by the annotations of its own fields.

A type with a `Rule` (``Annotated[int, integer(1, 8)]``) is read by its rules, one after the other; int, float, bool and
str without one by `PLAIN`. Dataclasses, tuples, mappings, Literals and ``X | None`` are made of such types.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import MISSING, fields, is_dataclass, replace
from functools import cache
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from edgemtl.errors import ConfigError
from edgemtl.records.field import Field
from edgemtl.records.rules import FLAG, TEXT, Rule, integer, number, one_of

T = TypeVar("T")

Reader = Callable[[Field], Any]
MOST, MOST_NUMBER = 1 << 62, 1e300
PLAIN: Mapping[type, Rule] = {
    int: integer(-MOST, MOST),
    float: number(-MOST_NUMBER, MOST_NUMBER),
    bool: FLAG,
    str: TEXT,
}


def read(kind: type[T], field: Field, **known: object) -> T:
    """``field`` as a ``kind``; the values of ``known`` are read already.

    Raises ConfigError, with the place, for a field that is missing, unknown, of another type or out of range.
    """
    return kind(**known, **_values(kind, field, known))


def _values(kind: type, field: Field, known: Mapping[str, object]) -> dict[str, Any]:
    hints = _hints(kind)
    return {name: _reader(hints[name])(item) for name, item in members(kind, field).items() if name not in known}


def members(kind: type, field: Field) -> dict[str, Field]:
    """The values of an object by the fields of ``kind``, in their order; those with a default may be absent where the
    dialect says so.

    Raises ConfigError where one is missing or unknown.
    """
    hints, entries, dialect = _hints(kind), field.entries(), field.dialect
    if not dialect.ignores_unknown and (unknown := sorted(entries.keys() - hints.keys())):
        raise ConfigError(dialect.describe_unknown(field, unknown[0], tuple(hints)))
    required = [name for name in hints if not (dialect.has_defaults and name in _defaults(kind))]
    if missing := [name for name in required if name not in entries]:
        must = _describe(hints[missing[0]], dialect.group)
        raise ConfigError(dialect.describe_missing(field, missing, required, must))
    return {name: entries[name] for name in hints if name in entries}


@cache
def _hints(kind: type) -> Mapping[str, Any]:
    """The types of a dataclass's fields, in their order."""
    hints = get_type_hints(kind, include_extras=True)
    return {item.name: hints[item.name] for item in fields(kind)}


@cache
def _defaults(kind: type) -> frozenset[str]:
    """The fields that have a default."""
    return frozenset(
        item.name for item in fields(kind) if item.default is not MISSING or item.default_factory is not MISSING
    )


def _describe(hint: Any, group: str) -> str:
    """What a value of this type must be, for messages."""
    rules = [item.must for item in getattr(hint, "__metadata__", ()) if isinstance(item, Rule)]
    return rules[0] if rules else PLAIN[hint].must if hint in PLAIN else group


@cache
def _reader(hint: Any) -> Reader:
    """The reader of one type."""
    if hint in PLAIN:
        return PLAIN[hint].read
    if isinstance(hint, type) and is_dataclass(hint):
        return lambda field: read(hint, field)
    origin, inner = get_origin(hint), get_args(hint)
    if origin is Annotated:
        return _by_rules(inner[1:])
    if origin is Literal:
        return one_of(*inner).read
    if origin is tuple:
        return _tuple(inner)
    if origin in (dict, Mapping):
        return _mapping(*inner)
    if origin in (Union, UnionType) and len(inner) == 2 and NoneType in inner:
        (other,) = (item for item in inner if item is not NoneType)
        return _optional(_reader(other))
    raise TypeError(f"a field must be of a type that documents have, not {hint}")


def _by_rules(rules: tuple[Rule, ...]) -> Reader:
    def read_all(field: Field) -> Any:
        return [rule.read(field) for rule in rules][-1]

    return rules[0].read if len(rules) == 1 else read_all


def _optional(inner: Reader) -> Reader:
    return lambda field: None if field.value is None else inner(field)


def _tuple(hints: tuple[Any, ...]) -> Reader:
    """Of any length where the last hint is an ellipsis, else of one value for each hint."""
    if hints[-1] is Ellipsis:
        each = _reader(hints[0])
        return lambda field: tuple(each(item) for item in field.items())
    readers = [_reader(hint) for hint in hints]

    def read_fixed(field: Field) -> tuple[Any, ...]:
        values = list(field.items())
        if len(values) != len(readers):
            field.fail(f"{len(readers)} values")
        return tuple(reader(value) for reader, value in zip(readers, values, strict=True))

    return read_fixed


def _mapping(key: Any, value: Any) -> Reader:
    """Keys are data: those of a type with a rule are read by it."""
    inner = _reader(value)
    if key is str:
        return lambda field: {name: inner(item) for name, item in field.entries().items()}
    outer = _reader(key)
    return lambda field: {outer(replace(item, value=name)): inner(item) for name, item in field.entries().items()}


def leaves(record: Any) -> Iterator[tuple[str, Any]]:
    """Dotted names and values of what a dataclass holds, through the dataclasses in it."""
    for item in fields(record):
        value = getattr(record, item.name)
        if is_dataclass(value):
            yield from ((f"{item.name}.{key}", leaf) for key, leaf in leaves(value))
        else:
            yield item.name, value
