"""Rules of single instructions: refused by encoder and decoder alike, and never broken within their bounds."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgemtl.errors import ConfigError, IntegrityError
from edgemtl.hw import arith, rules
from edgemtl.hw.encoding import check_instruction, decode_stream, encode_stream
from edgemtl.hw.isa import BY_NAME, REGIONS, Instruction
from edgemtl.hw.rules import violation
from edgemtl.hw.spec import read_spec
from tests.hw.test_isa import stream_by_hand, zeros

ENGINE = read_spec("zcu104").engine
GOOD = {
    "CONV": {
        "kernel_height": 3,
        "kernel_width": 7,
        "stride": 2,
        "dilation": 1,
        "wrap": 8,
        "width": 64,
        "out_width": 32,
    },
    "SCORES": {"k": 96, "heads": 3, "rows": 46, "count": 1025, "dst_stride": 68, "shift": 6},
    "SOFTMAX": {"rows": 138, "stride": 68, "count": 1025},
    "MIX": {"heads": 3, "rows": 46, "values_stride": 1, "count": 1025, "n": 32, "mul": 2**16, "shift": 16},
    "ROUTE": {"rows": 128, "experts": 16, "k": 4, "early": 3, "begin": 1, "end": 1},
    "ADD": {"size": 9, "mul_a": 9, "mul_b": -9, "shift": 29},
    "MEAN": {"rows": 49, "width": 2048, "begin": 1, "end": 1, "mul": 9, "shift": 43},
    "RESCALE": {"rows": 2, "size": 9, "mul": 9, "shift": 12},
    "CLASSES": {"rows": 2, "width": 9, "height": 9, "classes": 256},
    "NORM": {"rows": 128, "width": 384, "epsilon": 2**21, "mul": 2**16, "shift": 12},
}
WRONG = [
    ("CONV", {"kernel_height": 0}, "kernel_height must be at least 1, not 0"),
    ("CONV", {"kernel_width": 0}, "kernel_width must be at least 1, not 0"),
    ("CONV", {"stride": 0}, "stride must be at least 1, not 0"),
    ("CONV", {"dilation": 0}, "dilation must be at least 1, not 0"),
    ("SCORES", {"heads": 0}, "heads must be in 1..3, not 0"),
    ("SCORES", {"k": 64}, "k must be the array's 96 rows for 3 heads, not 64"),
    ("SCORES", {"heads": 1, "k": 4129}, "k must be at most 4128 for each head, not 4129"),
    ("SCORES", {"count": 2049}, "count must be at most 2048 keys, not 2049"),
    (
        "SCORES",
        {"dst_stride": 66},
        "dst_stride must be such that the 3 rows of a query begin in different ones of 6 lanes, not 66",
    ),
    ("SOFTMAX", {"count": 2049}, "count must be at most 2048 keys, not 2049"),
    ("MIX", {"count": 2049}, "count must be at most 2048 keys, not 2049"),
    (
        "MIX",
        {"values_stride": 3},
        "values_stride must be without a common divisor with 3, the lanes that keys are read from at once, not 3",
    ),
    ("MIX", {"shift": 4}, "shift must be one that every row's exponent takes to 12..43, not one that takes to 11..21"),
    ("MIX", {"shift": 27}, "takes to 12..43, not one that takes to 34..44"),
    ("ROUTE", {"k": 0}, "k must be in 1..8, the choices of a token that the router has, not 0"),
    ("ROUTE", {"k": 9}, "k must be in 1..8, the choices of a token that the router has, not 9"),
    ("ROUTE", {"early": 257}, "early must be at most 256, not 257"),
    ("ADD", {"shift": 0}, "shift must be in 1..29, not 0"),
    ("ADD", {"shift": 30}, "shift must be in 1..29, not 30"),
    ("MEAN", {"width": 0}, "width must be in 1..2048, the sums of the vector unit, not 0"),
    ("MEAN", {"width": 2049}, "width must be in 1..2048, the sums of the vector unit, not 2049"),
    ("MEAN", {"shift": 11}, "shift must be in 12..43, not 11"),
    ("RESCALE", {"shift": 0}, "shift must be in 1..43, not 0"),
    ("RESCALE", {"shift": 44}, "shift must be in 1..43, not 44"),
    ("CLASSES", {"classes": 0}, "classes must be in 1..256, not 0"),
    ("CLASSES", {"classes": 257}, "classes must be in 1..256, not 257"),
    ("NORM", {"width": 1025}, "width must be in 1..1024, not 1025"),
    ("NORM", {"epsilon": 0}, "epsilon must be at least 1, not 0"),
    ("NORM", {"shift": 1}, "shift must be one that every row's exponent takes to 12..43, not one that takes to 11..24"),
    ("NORM", {"shift": 21}, "takes to 12..43, not one that takes to 31..44"),
]


def instruction(name: str, **operands: int) -> Instruction:
    return Instruction(name, zeros(BY_NAME[name]) | GOOD.get(name, {}) | operands)


@pytest.mark.parametrize("name", GOOD)
def test_what_fulfils_the_rules_is_taken(name):
    assert rules.RULES.keys() == GOOD.keys()
    made = instruction(name)
    assert violation(made, ENGINE) == ""
    assert decode_stream(encode_stream([made], ENGINE, 100), ENGINE).instructions == (made,)


@pytest.mark.parametrize(("name", "operands", "text"), WRONG, ids=[f"{w[0]} {w[2][:24]}" for w in WRONG])
def test_what_breaks_a_rule_is_neither_encoded_nor_decoded(name, operands, text):
    made = instruction(name, **operands)
    with pytest.raises(ConfigError, match=rf"^{name}\..*{text}"):
        encode_stream([made], ENGINE, 100)
    with pytest.raises(IntegrityError, match=rf"^byte 32: {name}\..*{text}.*compile the stream again"):
        decode_stream(stream_by_hand([made, Instruction("END", {})]), ENGINE)


def walk(*words: tuple[str, int, int]) -> list[Instruction]:
    """LINEAR with gather ("first") or without ("second"), COMBINE, or a ROUTE that ends."""
    of = {"first": ("LINEAR", {"gather": 1}), "second": ("LINEAR", {}), "sum": ("COMBINE", {}), "list": ("ROUTE", {})}
    return [
        instruction(of[kind][0], **of[kind][1], **({} if kind == "list" else {"slot": slot, "skip": skip}))
        for kind, slot, skip in words
    ]


WALKS = [
    ([("first", 1, 0), ("second", 1, 0), ("sum", 1, 0), ("first", 2, 0), ("first", 1, 8), ("sum", 1, 8)], None),
    ([("first", 1, 8), ("second", 1, 0), ("second", 1, 0), ("list", 0, 0), ("first", 1, 0)], None),
    ([("sum", 1, 8), ("sum", 1, 4)], (1, "COMBINE.skip must be above 8, that of the unit's .* slot 1, not 4")),
    ([("first", 1, 8), ("sum", 1, 0), ("first", 1, 8)], (2, "LINEAR.skip must be above 8, that of .* slot 1, not 8")),
]


@pytest.mark.parametrize(("words", "refused"), WALKS)
def test_queues_are_walked_from_the_front(words, refused):
    made = walk(*words)
    if refused is None:
        assert decode_stream(encode_stream(made, ENGINE, 9), ENGINE).instructions == tuple(made)
        return
    place, text = refused
    with pytest.raises(ConfigError, match=f"^instruction {place}: {text}"):
        encode_stream(made, ENGINE, 9)
    with pytest.raises(IntegrityError, match=f"^byte {32 * (place + 1)}: {text}; compile the stream again"):
        decode_stream(stream_by_hand([*made, Instruction("END", {})], 9), ENGINE)


BEGINS, GOES_ON, ENDS = {"end": 0}, {"begin": 0, "end": 0}, {"begin": 0}
MEANS = [
    ([BEGINS, GOES_ON, ENDS, {}], None),
    ([GOES_ON], (0, "MEAN.begin must be 1, since sums are not open, not 0")),
    ([BEGINS, BEGINS], (1, "MEAN.begin must be 0, since sums are open, not 1")),
    ([BEGINS, ENDS | {"width": 9}], (1, "MEAN.width must be 2048, that of the sums it goes on with, not 9")),
    ([BEGINS, GOES_ON], (1, "MEAN.end must be 1 of the last one of a stream, not 0")),
    ([BEGINS, *[GOES_ON | {"rows": 2047}] * 2049], (2049, "MEAN.rows must add up to at most 4194304, not 4194352")),
]


@pytest.mark.parametrize(("means", "refused"), MEANS)
def test_sums_of_a_mean_begin_and_end_once(means, refused):
    made = [instruction("MEAN", **operands) for operands in means]
    if refused is None:
        assert decode_stream(encode_stream(made, ENGINE, 9), ENGINE).instructions == tuple(made)
        return
    place, text = refused
    with pytest.raises(ConfigError, match=f"^instruction {place}: {text}"):
        encode_stream(made, ENGINE, 9)
    with pytest.raises(IntegrityError, match=f"^byte {32 * (place + 1)}: {text}; compile the stream again"):
        decode_stream(stream_by_hand([*made, Instruction("END", {})], 9), ENGINE)


def test_heads_that_the_chains_do_not_divide_by():
    text = "SCORES.heads must be a divisor of the array's 8 chains, not 3"
    assert violation(instruction("SCORES"), read_spec("kv260").engine) == text


def in_word(made: Instruction, **operands: int) -> bytes:
    """The word of an instruction with some operands set, whatever they are."""
    value = int.from_bytes(check_instruction(made, ENGINE), "little")
    for name, number in operands.items():
        field, bit = made.operation.places[name]
        value = value & ~(((1 << field.bits) - 1) << bit) | number << bit
    return value.to_bytes(32, "little")


EVERY_CHOICE = [(name, field) for name, made in BY_NAME.items() for field in made.fields if field.allowed]


@pytest.mark.parametrize(("name", "field"), EVERY_CHOICE, ids=[f"{name}.{field.name}" for name, field in EVERY_CHOICE])
def test_operands_take_the_regions_and_formats_of_the_table_alone(name, field):
    from edgemtl.hw.encoding import decode

    for value in range(2**field.bits):
        if value in field.allowed:
            assert decode(in_word(instruction(name), **{field.name: value}))[field.name] == value
            continue
        with pytest.raises(ConfigError, match=rf"^{name}.{field.name} must be {field.allowed[0]}.*, not {value}$"):
            check_instruction(instruction(name, **{field.name: value}), ENGINE)
        with pytest.raises(IntegrityError, match=rf"^byte 64: {name}.{field.name} must be .*, not {value}; compile"):
            decode(in_word(instruction(name), **{field.name: value}), 64)


def test_every_address_names_the_regions_it_may_lie_in():
    tables = {f"{n}.{f.name}": f.allowed for n, made in BY_NAME.items() for f in made.fields if "_region" in f.name}
    assert all(tables.values())
    written = {REGIONS[number] for name, numbers in tables.items() if "dst" in name for number in numbers}
    assert written == {*REGIONS}


@given(st.integers(1, 2048), st.integers(5, 24), st.integers(0, 2**32 - 1))
def test_shifts_of_mix_hold_for_every_row(count, shift, seed):
    """Rows of weights of which one is 255, at the ends too."""
    low, high = rules.mix_shifts(shift, count)
    rng = np.random.default_rng(seed)
    sums = np.array([255, 255 * count, *(255 + int(rng.integers(0, 255 * (count - 1) + 1)) for _ in range(20))])
    whole = arith.reciprocal(sums)[1] + shift - 1
    assert (whole.min(), whole.max()) == (low, high)


@given(st.integers(1, 1024), st.integers(1, 2**48 - 1), st.integers(1, 20), st.integers(0, 2**32 - 1))
def test_shifts_of_norm_hold_for_every_row(width, epsilon, shift, seed):
    """Rows of one value but for one, of one value, of the two ends, and random ones."""
    low, high = rules.norm_shifts(shift, width, epsilon)
    rng = np.random.default_rng(seed)
    rows = np.stack(
        [
            7 + (np.arange(width) == 0),
            np.full(width, 7),
            np.where(np.arange(width) % 2, -(2**15), 2**15 - 1),
            rng.integers(-(2**15), 2**15, width),
            rng.integers(-5, 5, width),
        ]
    )
    spread = width * (rows * rows).sum(1) - rows.sum(1) ** 2
    whole = 16 + arith.reciprocal_sqrt(spread + epsilon)[1] + shift
    least = whole[0] if width > 1 else low
    assert least == low
    assert whole[spread > 0].min(initial=low) == low
    assert whole.max() <= high


def test_a_sum_of_the_most_keys_keeps_below_the_bound():
    assert 255 * 127 * rules.MOST_KEYS < rules.MOST_SUM == 2**26
    assert 128 * 127 * rules.MOST_HEAD_BYTES < rules.MOST_SUM <= 128 * 127 * (rules.MOST_HEAD_BYTES + 1)
