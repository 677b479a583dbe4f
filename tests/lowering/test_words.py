"""Operators in words, for notes and reports."""

from __future__ import annotations

import pytest

from edgemtl.lowering.words import spell_operator


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("Linear", "linear"),
        ("QLinear", "int8 linear"),
        ("LayerNorm", "layer norm"),
        ("QuantiseImage", "quantise image"),
        ("QConv2d", "int8 conv2d"),
    ],
)
def test_words(name: str, words: str) -> None:
    assert spell_operator(name) == words
