"""Frozen dataclasses read from documents by their annotations: every kind of type, and every refusal."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Literal

import pytest

from edgemtl.errors import ConfigError
from edgemtl.records import Dialect, Field, check, integer, items, leaves, members, parse_json, read, shorten
from edgemtl.records.types import Count, Name

JSON = Dialect(advice="; do it again", newer="; update")
LENIENT = Dialect(separator=": ", group="a table", has_defaults=True, ignores_unknown=True)
EVEN = check("even", lambda value: value % 2 == 0, str)


@dataclass(frozen=True)
class Inner:
    size: Count
    name: Name = "plain"


@dataclass(frozen=True)
class Outer:
    inner: Inner
    many: tuple[Inner, ...]
    pair: tuple[int, float]
    either: Inner | None
    word: Literal["a", "b"]
    by_name: Mapping[str, bool]
    by_rule: dict[Annotated[str, check("short", lambda key: len(key) < 3)], int]
    chain: Annotated[str, integer(0, 9), EVEN]
    few: Annotated[tuple[int, ...], items(integer(0, 9), 1, 2, "one value or two")]
    text: str = "nothing"


GOOD = {
    "inner": {"size": 1, "name": "x"},
    "many": [{"size": 2, "name": "y"}],
    "pair": [3, 4],
    "either": None,
    "word": "a",
    "by_name": {"one": True},
    "by_rule": {"k": -5},
    "chain": 8,
    "few": [1],
    "text": "",
}


def test_every_kind_of_type() -> None:
    outer = read(Outer, Field("file", GOOD, JSON))
    pair = (3, 4.0)
    assert outer == Outer(Inner(1, "x"), (Inner(2, "y"),), pair, None, "a", {"one": True}, {"k": -5}, "8", (1,), "")
    assert type(outer.pair[1]) is float
    assert read(Outer, Field("file", {**GOOD, "either": {"size": 7, "name": "z"}}, JSON)).either == Inner(7, "z")
    assert dict(leaves(Inner(1))) == {"size": 1, "name": "plain"}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"inner": 3}, "file.inner must be an object, not 3; do it again"),
        ({"inner": {"size": 1}}, "file.inner must have the field 'name'; do it again"),
        ({"more": 1}, "file must not have the field 'more'; update"),
        ({"many": {}}, "file.many must be an array of at most 1048576 values, not {}; do it again"),
        ({"many": [{"size": 0, "name": "y"}]}, "file.many[0].size must be an integer from 1 to 2147483647, not 0; do"),
        ({"pair": [1]}, "file.pair must be 2 values, not [1]; do it again"),
        ({"pair": [1, True]}, "file.pair[1] must be a number from -1e+300 to 1e+300, not True; do it again"),
        ({"word": "c"}, "file.word must be one of a, b, not 'c'; do it again"),
        ({"by_name": {"one": 1}}, "file.by_name.one must be true or false, not 1; do it again"),
        ({"by_rule": {"long": 1}}, "file.by_rule.long must be short, not 'long'; do it again"),
        ({"chain": 10}, "file.chain must be an integer from 0 to 9, not 10; do it again"),
        ({"chain": 7}, "file.chain must be even, not 7; do it again"),
        ({"few": []}, "file.few must be one value or two, not []; do it again"),
        ({"text": None}, "file.text must be a text of at most 4096 characters, not None; do it again"),
    ],
)
def test_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read(Outer, Field("file", {**GOOD, **changes}, JSON))
    assert str(caught.value).startswith(message)


def test_dialects() -> None:
    assert read(Inner, Field("file", {"size": 1, "more": 2}, LENIENT)) == Inner(1)
    with pytest.raises(ConfigError, match=r"^file: size must be an integer from 1 to 2147483647, not 0$"):
        read(Inner, Field("file", {"size": 0}, LENIENT))
    with pytest.raises(ConfigError, match=r"^file must be a table, not 3$"):
        read(Inner, Field("file", 3, LENIENT))
    with pytest.raises(ConfigError, match=r"^the document must be a table, not 3$"):
        read(Inner, Field("", 3, LENIENT))
    with pytest.raises(ConfigError, match=r"^size must be an integer"):
        read(Inner, Field("", {"size": 0}, LENIENT))


def test_values_that_are_known_are_not_read() -> None:
    field = Field("file", {"size": "what another reads", "name": "x"}, JSON)
    assert read(Inner, field, size=4) == Inner(4, "x")
    assert [*members(Inner, field)] == ["size", "name"]


def test_types_that_no_document_has() -> None:
    @dataclass(frozen=True)
    class Odd:
        values: set[int]

    Odd.__annotations__["values"] = set[int]
    with pytest.raises(TypeError, match=r"^a field must be of a type that documents have, not set\[int\]$"):
        read(Odd, Field("file", {"values": []}, JSON))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"a": 1, "a": 2}', "a key is repeated"),
        ("NaN", "NaN is not a number"),
        ("1e999", "1e999 is not a finite number"),
        ("{", "Expecting property name"),
        (b"\xff", "'utf-8' codec can't decode"),
    ],
)
def test_what_is_no_json(text: str | bytes, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse_json(text)
    assert parse_json('{"a": Infinity}', finite=False) == {"a": float("inf")}


def test_a_value_in_a_message_is_short() -> None:
    assert shorten("a" * 100) == "'" + "a" * 56 + "..."
    assert shorten(10**5000) == "int too long to show"
