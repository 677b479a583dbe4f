"""A value of a document and its place there: every value has a type and a range, and nothing is left over."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

from edgemtl.errors import ConfigError

MAX_ITEMS = 1 << 20
SHOWN_CHARACTERS = 60
"""Of a wrong value in a message."""


@dataclass(frozen=True)
class Dialect:
    """How documents of one kind are read, and how messages speak of them.

    advice, newer: what to do about a wrong value and about an unknown field. separator: between the document and the
    place in it. group: what an object is called. has_defaults: whether a field that has a default may be absent.
    ignores_unknown: whether fields may be there that nobody reads.
    """

    advice: str = ""
    newer: str = ""
    separator: str = "."
    group: str = "an object"
    has_defaults: bool = False
    ignores_unknown: bool = False

    def describe_wrong(self, field: Field, must: str) -> str:
        """The message about a value that is not what it must be."""
        return f"{field.place} must be {must}, not {shorten(field.value)}{self.advice}"

    def describe_missing(self, field: Field, missing: Sequence[str], required: Sequence[str], must: str) -> str:
        """The message about an object without the fields ``missing``; ``must``: what the first of them must be."""
        return f"{field.place} must have the field {missing[0]!r}{self.advice}"

    def describe_unknown(self, field: Field, name: str, names: Sequence[str]) -> str:
        """The message about the field ``name`` of an object that must have no other fields than ``names``."""
        return f"{field.place} must not have the field {name!r}{self.newer}"


@dataclass(frozen=True)
class Field:
    """A value of a document and its place there, as a user would write it; ``path`` is "" for the whole document."""

    document: str
    value: object
    dialect: Dialect
    path: str = ""

    @property
    def place(self) -> str:
        """The document and the place in it."""
        if not self.path:
            return self.document or "the document"
        return f"{self.document}{self.dialect.separator}{self.path}" if self.document else self.path

    def fail(self, must: str) -> NoReturn:
        """Raise ConfigError: the place, what it must be, what it is."""
        raise ConfigError(self.dialect.describe_wrong(self, must))

    def entries(self) -> dict[str, Field]:
        """The values of an object by key."""
        if not isinstance(self.value, dict):
            self.fail(self.dialect.group)
        return {key: self._inner(f"{self.path}.{key}" if self.path else key, v) for key, v in self.value.items()}

    def items(self) -> Iterator[Field]:
        """The values of an array."""
        if not isinstance(self.value, list) or len(self.value) > MAX_ITEMS:
            self.fail(f"an array of at most {MAX_ITEMS} values")
        return (self._inner(f"{self.path}[{i}]", value) for i, value in enumerate(self.value))

    def _inner(self, path: str, value: object) -> Field:
        return Field(self.document, value, self.dialect, path)

    def as_document(self, dialect: Dialect) -> Field:
        """The value as a document of its own, in another dialect."""
        return Field(self.place, self.value, dialect)


def shorten(value: object) -> str:
    """``value`` as a message shows it: at most `SHOWN_CHARACTERS`, on one line."""
    try:
        text = repr(value)
    except (ValueError, RecursionError):
        # Python refuses to write out whole numbers of more than 4300 digits.
        text = f"{type(value).__name__} too long to show"
    return text if len(text) <= SHOWN_CHARACTERS else f"{text[: SHOWN_CHARACTERS - 3]}..."


def parse_json(data: bytes | str, finite: bool = True) -> object:
    """The JSON document in ``data``; ``finite``: whether NaN and infinity are refused.

    Raises ValueError for bad UTF-8 or JSON and repeated keys, RecursionError for a document that is too deep.
    """
    # Text, not bytes: of bytes the parser would guess the encoding.
    text = data if isinstance(data, str) else data.decode("utf-8")
    if not finite:
        return json.loads(text, object_pairs_hook=_unique)
    return json.loads(text, object_pairs_hook=_unique, parse_constant=_refuse, parse_float=_finite)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    document = dict(pairs)
    if len(document) != len(pairs):
        raise ValueError("a key is repeated")
    return document


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not a number")


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text} is not a finite number")
    return value
