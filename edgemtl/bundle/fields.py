"""Reading JSON strictly: every value has a place, a type and a range, and nothing is left over."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NoReturn

from edgemtl.errors import ConfigError

MAX_TEXT = 4096
MAX_ITEMS = 1 << 20
NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")

# Half a character: legal in JSON, but no file or terminal can take it.
_SURROGATE = re.compile("[\ud800-\udfff]")


@dataclass(frozen=True)
class Field:
    """A value of a JSON document and its place there, as a user would write it."""

    place: str
    value: object

    def fail(self, must: str) -> NoReturn:
        """Raise ConfigError: the place, what it must be, what it is."""
        raise ConfigError(f"{self.place} must be {must}, not {shorten(self.value)}; compile the bundle again")

    def members(self, *names: str) -> tuple[Field, ...]:
        """The values of an object with exactly these keys, in this order."""
        found = self.entries()
        if unknown := sorted(found.keys() - set(names)):
            raise ConfigError(
                f"{self.place} must not have the field {unknown[0]!r}; use a newer edgemtl or compile again"
            )
        if missing := [name for name in names if name not in found]:
            raise ConfigError(f"{self.place} must have the field {missing[0]!r}; compile the bundle again")
        return tuple(found[name] for name in names)

    def entries(self) -> dict[str, Field]:
        """The values of an object whose keys are names."""
        if not isinstance(self.value, dict):
            self.fail("an object")
        return {key: Field(f"{self.place}.{key}", value) for key, value in self.value.items()}

    def items(self) -> Iterator[Field]:
        """The values of an array."""
        if not isinstance(self.value, list) or len(self.value) > MAX_ITEMS:
            self.fail(f"an array of at most {MAX_ITEMS} values")
        return (Field(f"{self.place}[{i}]", value) for i, value in enumerate(self.value))

    def integer(self, low: int, high: int) -> int:
        """An integer from ``low`` to ``high``."""
        if not isinstance(self.value, int) or isinstance(self.value, bool) or not low <= self.value <= high:
            self.fail(f"an integer from {low} to {high}")
        return self.value

    def number(self, low: float, high: float) -> float:
        """A finite number from ``low`` to ``high``."""
        if isinstance(self.value, bool) or not isinstance(self.value, int | float) or not low <= self.value <= high:
            self.fail(f"a number from {low:g} to {high:g}")
        return float(self.value)

    def text(self) -> str:
        """A text of at most ``MAX_TEXT`` characters."""
        if not isinstance(self.value, str) or len(self.value) > MAX_TEXT or _SURROGATE.search(self.value):
            self.fail(f"a text of at most {MAX_TEXT} characters")
        return self.value

    def name(self) -> str:
        """A name that is safe as part of a path or a symbol."""
        if not isinstance(self.value, str) or not NAME.fullmatch(self.value) or ".." in self.value:
            self.fail("a name of at most 128 letters, digits and _.- that does not start with . or -")
        return self.value

    def choice(self, *allowed: str) -> str:
        """One of these words."""
        if not isinstance(self.value, str) or self.value not in allowed:
            self.fail(f"one of {', '.join(allowed)}")
        return self.value

    def sha256(self) -> str:
        """A SHA-256 in hexadecimal."""
        if not isinstance(self.value, str) or not re.fullmatch("[0-9a-f]{64}", self.value):
            self.fail("a SHA-256 of 64 lower-case hexadecimal digits")
        return self.value


def shorten(value: object) -> str:
    """``value`` as an error message shows it: at most 60 characters."""
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def parse_json(data: bytes, name: str = "manifest.json") -> object:
    """The JSON document in ``data``, which messages call ``name``.

    Raises ConfigError for bad UTF-8 or JSON, repeated keys, NaN and infinity.
    """
    try:
        # Text, not bytes: of bytes the parser would guess the encoding.
        return json.loads(data.decode("utf-8"), object_pairs_hook=_unique, parse_constant=_refuse, parse_float=_finite)
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{name} must be a JSON document; {shorten(str(error))}; compile the bundle again") from None


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key is repeated")
    return found


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not a number")


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text} is not a finite number")
    return value
