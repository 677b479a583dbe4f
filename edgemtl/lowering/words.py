"""What a step's operator is called where a person reads it."""

from __future__ import annotations

import re

_WORD = re.compile(r"[A-Z][a-z0-9]*")


def operator_name(spec: object) -> str:
    """The operator in words, "int8 linear" or "layer norm": the name of its class is for programmers."""
    return spell_operator(type(spec).__name__)


def spell_operator(class_name: str) -> str:
    """The same from the name of the class, such as "QLinearSpec"."""
    name = class_name.removesuffix("Spec")
    integer = re.match(r"Q[A-Z]", name) is not None
    words = " ".join(_WORD.findall(name.removeprefix("Q") if integer else name)).lower()
    return f"int8 {words}" if integer else words
