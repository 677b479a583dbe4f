"""Operators in words, for notes and reports."""

from __future__ import annotations

import pytest

from edgemtl.lowering.words import spell_operator


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("LinearSpec", "linear"),
        ("QLinearSpec", "int8 linear"),
        ("LayerNormSpec", "layer norm"),
        ("QuantiseImageSpec", "quantise image"),
        ("QConv2dSpec", "int8 conv2d"),
    ],
)
def test_words(name: str, words: str) -> None:
    assert spell_operator(name) == words
