"""Ways to change bytes, JSON documents and lines of text; a random generator that is given decides everything."""

from __future__ import annotations

import copy
import json
from random import Random
from typing import Any

ROUNDS = (1, 1, 1, 2, 3)
"""How many changes an input gets."""

VALUES: list[Any] = [
    *(None, True, False, 0, 1, -1, 63, 64, 0.5, -0.0, 1e308, 1e-320),
    *(2**31 - 1, 2**31, 2**32 - 1, 2**63 - 1, 2**63, -(2**63), 10**400),
    *("", "x", "../x", "x" * 5000, "\0", "é", "NaN", "\ud800"),
    *([], {}, [[]], [1] * 10, [2**31 - 1] * 8, [None], {"": 0}),
]
"""What stands for an ordinary value of a document."""


def change_bytes(data: bytes, rng: Random) -> bytes:
    """Bits flipped, bytes set, put in, taken out or zeroed, the end cut off. What is given must not be empty."""
    changed = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 8, 32))):
        at, run = rng.randrange(max(1, len(changed))), rng.choice((1, 1, 4, 16, 64, 4096))
        match rng.randrange(8):
            case 0 | 1 | 2:
                changed[at : at + 1] = bytes(byte ^ 1 << rng.randrange(8) for byte in changed[at : at + 1])
            case 3:
                changed[at : at + 1] = rng.choice((b"\0", b"\1", b"\x7f", b"\x80", b"\xff"))
            case 4:
                del changed[at : at + run]
            case 5:
                changed[at:at] = rng.randbytes(run)
            case 6:
                changed[at : at + run] = bytes(len(changed[at : at + run]))
            case _:
                del changed[at + (len(changed) - at) * 9 // 10 :]
    return bytes(changed)


def change_document(document: Any, rng: Random, rounds: int | None = None) -> Any:
    """Values replaced, moved by a little, taken out, exchanged or nested, anywhere in a JSON document."""
    root = [copy.deepcopy(document)]
    for _ in range(rounds or rng.choice(ROUNDS)):
        parent: Any = root
        key: Any = 0
        while isinstance(parent[key], dict | list) and parent[key] and (parent is root or rng.random() < 0.85):
            parent = parent[key]
            key = rng.choice(_keys(parent))
        if parent is not root:
            _change_member(parent, key, rng)
    return root[0]


def _keys(container: Any) -> list[Any]:
    return list(container) if isinstance(container, dict) else list(range(len(container)))


def _change_member(parent: Any, key: Any, rng: Random) -> None:
    value, chance = parent[key], rng.random()
    if chance < 0.45:
        parent[key] = copy.deepcopy(rng.choice(VALUES))
    elif chance < 0.75 and type(value) in (int, float):
        parent[key] = near(value, rng)
    elif chance < 0.85:
        parent.pop(key)
    elif chance < 0.95:
        other = rng.choice(_keys(parent))
        parent[key], parent[other] = parent[other], parent[key]
    else:
        parent[key] = [value]


def near(value: float, rng: Random) -> float:
    """A number that could stand for another one: one more, twice, half, another bit, the other sign."""
    if isinstance(value, float):
        return rng.choice((-value, value * 2, value / 2, value * 1e6, value * 1e-6, value + 1))
    flipped = value ^ (1 << rng.randrange(31))
    return rng.choice((value - 1, value + 1, value * 2, value // 2, value - 64, value + 64, -value, flipped))


def change_text(text: str, rng: Random) -> str:
    """JSON or the like with a character changed, its end cut off, or nested without end."""
    at = rng.randrange(len(text) + 1)
    match rng.randrange(5):
        case 0 | 1:
            return text[:at] + rng.choice('{}[],:"0-eN.\\') + text[at + 1 :]
        case 2:
            return text[:at]
        case 3:
            return rng.choice(("[", '{"a":')) * 20_000
        case _:
            return rng.choice(("", "null", "[]", "{}", "0", '"x"', "NaN", "1e999"))


def change_json(document: Any, rng: Random) -> str:
    """A document as text, nine times in ten changed as a document, else as text."""
    if rng.random() < 0.9:
        return json.dumps(change_document(document, rng))
    return change_text(json.dumps(document), rng)


LINE_VALUES = (
    *("0", "-1", "1", "2", "3", "7", "65536", "4294967296", "9" * 28, "nan", "inf", "-inf", "1e308"),
    *('"x"', '""', "true", "[]", "{}", "2026-01-01", "[1, 2]"),
)


def change_lines(text: str, rng: Random, separator: str) -> str:
    """``key SEPARATOR value`` lines with values replaced or moved by a little, lines taken out or doubled."""
    lines = text.split("\n")
    for _ in range(rng.choice(ROUNDS)):
        at = rng.randrange(len(lines))
        key, found, old = lines[at].partition(separator)
        number = old.split("#")[0].strip().replace("_", "")
        if found and number.isdigit() and rng.random() < 0.5:
            lines[at] = f"{key}{separator} {near(int(number), rng) * rng.choice((1, 1, 1000))}"
        elif found and rng.random() < 0.8:
            lines[at] = f"{key}{separator} {rng.choice(LINE_VALUES)}"
        elif rng.random() < 0.5 and len(lines) > 1:
            del lines[at]
        else:
            lines.insert(at, rng.choice(lines))
    return "\n".join(lines)
