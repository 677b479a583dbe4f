"""The instruction set: words and streams there and back, every refusal, and places of bits written by hand."""

import random
import zlib
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from edgemtl.errors import ConfigError, IntegrityError, UsageError
from edgemtl.hw import encoding, isa, rules
from edgemtl.hw.encoding import decode, decode_stream, encode, encode_stream
from edgemtl.hw.isa import OPERATIONS, REGIONS, UNITS, Instruction
from edgemtl.hw.spec import read_spec

ENGINE = read_spec("zcu104").engine
EVERY_FIELD = [(made, field) for made in OPERATIONS for field in made.fields]
IDS = [f"{made.name}.{field.name}" for made, field in EVERY_FIELD]
HARD = 10_000
PLAIN = [made for made in OPERATIONS if made.unit != isa.SEQUENCER and made.name not in rules.RULES]
"""Operations of which an engine takes any operands."""


def zeros(operation: isa.Operation) -> dict:
    """Every operand 0, or the first value it may have."""
    return {field.name: field.allowed[0] if field.allowed else 0 for field in operation.fields}


def units(operation: isa.Operation) -> st.SearchStrategy:
    return st.just(frozenset()) if operation.unit == isa.SEQUENCER else st.frozensets(st.sampled_from(UNITS))


def instructions(operation: isa.Operation) -> st.SearchStrategy:
    """Any instruction of one operation; ends of ranges as often as what lies between."""
    values = {
        field.name: st.sampled_from(field.allowed or [field.low, field.high])
        | (st.sampled_from(field.allowed) if field.allowed else st.integers(field.low, field.high))
        for field in operation.fields
    }
    name = st.just(operation.name)
    return st.builds(Instruction, name, st.fixed_dictionaries(values), units(operation), units(operation))


def random_instruction(rng: random.Random) -> Instruction:
    made = rng.choice(OPERATIONS)
    operands = {f.name: rng.choice(f.allowed or [rng.randint(f.low, f.high)]) for f in made.fields}
    if made.unit == isa.SEQUENCER:
        return Instruction(made.name, operands)
    masks = (frozenset(unit for unit in UNITS if rng.random() < 0.5) for _ in range(2))
    return Instruction(made.name, operands, *masks)


def any_stream(count: int = 6) -> list[Instruction]:
    return [
        Instruction(made.name, zeros(made), frozenset({"matrix"}), frozenset({made.unit})) for made in PLAIN[:count]
    ]


def by_hand(word: bytes) -> dict:
    """A second decoder: places read off the page by eye, for one operation of each of three units."""
    bits = "".join(f"{byte:08b}" for byte in reversed(word))[::-1]  # bits[0] is the lowest

    def part(first: int, last: int) -> int:
        return int(bits[first : last + 1][::-1], 2)

    masks = {"waits": part(6, 11), "signals": part(12, 17)}
    code = part(0, 5)
    if code == 3:
        named = {"address": part(18, 49), "lines": part(50, 69), "slot": part(70, 83), "stride": part(84, 103)}
        return {"name": "STREAM", **masks, **named, "cached": part(104, 104), "format": part(105, 106)}
    if code == 10:
        named = {"src_region": part(18, 20), "src": part(21, 37), "stride": part(38, 49), "rows": part(50, 62)}
        return {"name": "SOFTMAX", **masks, **named, "count": part(63, 76)}
    assert code == 7
    signed = {"pad": part(158, 165), "zero": part(202, 209), "low": part(210, 217)}
    named = {
        **{"src_region": part(18, 20), "src": part(21, 37), "wrap": part(38, 48), "width": part(49, 59)},
        **{
            "height": part(60, 70),
            "first": part(71, 81),
            "rows": part(82, 87),
            "k": part(88, 100),
            "n": part(101, 113),
        },
        **{"src_stride": part(114, 125), "dst_region": part(126, 128), "dst": part(129, 145)},
        **{"dst_stride": part(146, 157), "offset": part(166, 182), "release": part(183, 199)},
        **{"wide": part(200, 200), "table": part(201, 201)},
        **{"kernel_height": part(218, 220), "kernel_width": part(221, 223), "stride": part(224, 226)},
        **{"dilation": part(227, 232), "top": part(233, 238), "left": part(239, 244), "out_width": part(245, 255)},
    }
    return {"name": "CONV", **masks, **named, **{name: (value ^ 128) - 128 for name, value in signed.items()}}


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda made: made.name)
@given(st.data())
def test_words_come_back_as_they_went(operation, data):
    made = data.draw(instructions(operation))
    word = encode(made)
    assert len(word) == 32
    assert decode(word) == made


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda made: made.name)
def test_a_word_holds_each_operation_with_names_and_codes_of_its_own(operation):
    assert operation.bits <= 256
    assert len(operation.places) == len(operation.fields)
    assert 0 < operation.code < 64
    assert operation.unit in (*UNITS, isa.SEQUENCER)
    assert len(isa.BY_CODE) == len(isa.BY_NAME) == len(OPERATIONS)
    places = [field.name for field in operation.fields if field.what.startswith("first granule of")]
    assert {f"{name}_region" for name in places} == {name for name in operation.places if name.endswith("_region")}


def test_region_and_window_numbers_fit_their_operands():
    load = isa.BY_NAME["LOAD"].places
    assert load["dst_region"][0].high >= len(REGIONS) - 1
    assert load["window"][0].high == len(isa.WINDOWS) - 1


@given(instructions(isa.BY_NAME["STREAM"]) | instructions(isa.BY_NAME["SOFTMAX"]) | instructions(isa.BY_NAME["CONV"]))
def test_words_say_the_same_to_a_decoder_written_by_hand(made):
    read = by_hand(encode(made))
    assert read.pop("name") == made.name
    assert read.pop("waits") == sum(1 << UNITS.index(unit) for unit in made.waits)
    assert read.pop("signals") == sum(1 << UNITS.index(unit) for unit in made.signals)
    assert read == made.operands


def test_a_word_written_by_hand():
    # SOFTMAX of 138 rows of 1,025 at granule 66 of scores1; waits for matrix, signals matrix and vector.
    value = 10 | 0b000100 << 6 | 0b010100 << 12 | 4 << 18 | 66 << 21 | 66 << 38 | 138 << 50 | 1025 << 63
    operands = {"src_region": 4, "src": 66, "stride": 66, "rows": 138, "count": 1025}
    made = Instruction("SOFTMAX", operands, frozenset({"matrix"}), frozenset({"matrix", "vector"}))
    assert encode(made) == value.to_bytes(32, "little")
    assert decode(value.to_bytes(32, "little")) == made
    assert (made.unit, made["rows"]) == ("softmax", 138)


@pytest.mark.parametrize(("operation", "field"), EVERY_FIELD, ids=IDS)
def test_operands_outside_their_range_are_refused_by_name(operation, field):
    signed = field.signed
    low, high = (-(2 ** (field.bits - 1)), 2 ** (field.bits - 1) - 1) if signed else (0, 2**field.bits - 1)
    for value in (low - 1, high + 1, -(10**30), 10**30):
        with pytest.raises(ConfigError) as caught:
            encode(Instruction(operation.name, zeros(operation) | {field.name: value}))
        assert str(caught.value) == f"{operation.name}.{field.name} must be in {low}..{high}, not {value}"
    for value in field.allowed or (low, high):
        assert decode(encode(Instruction(operation.name, zeros(operation) | {field.name: value})))[field.name] == value


@pytest.mark.parametrize("name", ["zero", "low"])
def test_the_byte_of_a_signed_operand_is_twos_complement(name):
    field, bit = isa.BY_NAME["LINEAR"].places[name]
    word = encode(Instruction("LINEAR", zeros(isa.BY_NAME["LINEAR"]) | {name: -3}))
    assert int.from_bytes(word, "little") >> bit & 255 == 253
    assert field.signed


def test_integers_of_numpy_do_not_wrap():
    given = {name: np.int64(2**31 - 1) if name == "address" else np.int64(5) for name in zeros(isa.BY_NAME["LOAD"])}
    given |= {"window": np.int64(3), "dst_region": np.int64(6)}
    assert encode(Instruction("LOAD", given)) == encode(Instruction("LOAD", {k: int(v) for k, v in given.items()}))


@pytest.mark.parametrize(
    ("made", "text"),
    [
        (Instruction("JUMP", {}), "an instruction must be one of HEAD, END, STREAM, .*, ROUTE, not 'JUMP'"),
        (Instruction("END", {"words": 1}), "END must have the operands none, not words"),
        (Instruction("SOFTMAX", {}), "SOFTMAX must have the operands src_region, src, stride, rows, count, not none"),
        (Instruction("SOFTMAX", {"src": 0, "rows": 1}), "SOFTMAX must have the operands .*, not src, rows"),
        (
            Instruction("SOFTMAX", zeros(isa.BY_NAME["SOFTMAX"]) | {"colour": 1}),
            "must have the operands .*, count, not src_region, src, stride, rows, count, colour",
        ),
        (
            Instruction("SOFTMAX", zeros(isa.BY_NAME["SOFTMAX"]), frozenset({"fpu", "abc", "data"})),
            "SOFTMAX must wait for and signal weights, data, matrix, softmax, vector, router, not abc, fpu",
        ),
        (
            Instruction("SOFTMAX", zeros(isa.BY_NAME["SOFTMAX"]), frozenset(), frozenset({"sequencer"})),
            "SOFTMAX must wait for and signal .*, not sequencer",
        ),
        (Instruction("END", {}, frozenset({"data"})), "END must neither wait nor signal: the sequencer takes it"),
        (
            Instruction("HEAD", zeros(isa.HEAD), frozenset(), frozenset({"data"})),
            "HEAD must neither wait nor signal: the sequencer takes it",
        ),
    ],
)
def test_instructions_that_cannot_be_are_not_encoded(made, text):
    with pytest.raises(ConfigError, match=text):
        encode(made)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "byte 64: code 0 must be that of an instruction, and is none"),
        (22, "byte 64: code 22 must be"),
        (2 | 1 << 18, "byte 64: bits from 18 on of END must be 0, and are not"),
        (10 | 1 << 77, "byte 64: bits from 77 on of SOFTMAX must be 0, and are not"),
        (10 | 1 << 255, "byte 64: bits from 77 on of SOFTMAX must be 0"),
        (2 | 1 << 6, "byte 64: END must neither wait nor signal"),
        (1 | 1 << 17, "byte 64: HEAD must neither wait nor signal"),
    ],
)
def test_words_that_are_none_are_refused_with_their_place(value, text):
    with pytest.raises(IntegrityError, match=text):
        decode(value.to_bytes(32, "little"), 64)


@pytest.mark.parametrize("size", [0, 31, 33])
def test_words_of_another_length_are_refused(size):
    with pytest.raises(IntegrityError, match=f"byte 0: an instruction must have 32 bytes, not {size}"):
        decode(bytes(size))


def is_read_whole_or_refused(word: bytes) -> bool:
    try:
        made = decode(word)
    except IntegrityError:
        return False
    assert encode(made) == word
    return True


def test_random_words_are_refused_or_mean_what_they_say():
    rng = random.Random(1)
    # The upper bits are zeros in as many words as not, else nearly all would be refused for them.
    words = [rng.getrandbits(rng.choice((256, rng.randint(1, 256)))).to_bytes(32, "little") for _ in range(HARD)]
    read = sum(map(is_read_whole_or_refused, words))
    assert 0 < read < HARD


def test_words_with_flipped_bits_are_refused_or_mean_what_they_say():
    rng = random.Random(2)
    read = 0
    for _ in range(HARD):
        value = int.from_bytes(encode(random_instruction(rng)), "little")
        for bit in rng.sample(range(256), rng.randint(1, 3)):
            value ^= 1 << bit
        read += is_read_whole_or_refused(value.to_bytes(32, "little"))
    assert 0 < read < HARD


@given(st.data())
def test_streams_come_back_as_they_went(data):
    body = data.draw(st.lists(st.sampled_from(PLAIN).flatmap(instructions), max_size=8))
    assume(rules.order_violation(body) is None)
    ring = data.draw(st.sampled_from([1, 16_384]) | st.integers(1, 16_384))
    stream = encode_stream(body, ENGINE, ring)
    assert len(stream) == 32 * (len(body) + 2)
    assert decode_stream(stream, ENGINE) == encoding.Stream(ring, tuple(body))


# The weight memory of the default board is 1 MiB: 16,384 lines of 64 bytes.
@pytest.mark.parametrize("ring", [0, 16_385, 2**17 - 1])
def test_rings_that_the_weight_memory_does_not_hold_are_refused(ring):
    text = f"HEAD.ring must be in 1..16384, lines of the weight memory, not {ring}"
    with pytest.raises(ConfigError) as refused:
        encode_stream(any_stream(2), ENGINE, ring)
    assert str(refused.value) == text
    text = f"byte 0: ring of the stream must be in 1..16384, lines of the weight memory, not {ring}; compile it again"
    with pytest.raises(IntegrityError) as found:
        decode_stream(stream_by_hand([*any_stream(2), END], ring), ENGINE)
    assert str(found.value) == text


@pytest.mark.parametrize("ring", [-1, 2**17])
def test_rings_beyond_the_operand_are_not_encoded(ring):
    with pytest.raises(ConfigError, match=rf"HEAD\.ring must be in 1\.\.16384, .*, not {ring}"):
        encode_stream([], ENGINE, ring)


def test_a_ring_of_a_smaller_weight_memory():
    small = replace(ENGINE, weight_ring_bytes=8192)
    assert decode_stream(encode_stream([], small, 128), small).ring_lines == 128
    with pytest.raises(ConfigError, match=r"HEAD\.ring must be in 1\.\.128, .*, not 129"):
        encode_stream([], small, 129)


def test_every_changed_byte_of_a_stream_is_found():
    stream = encode_stream(any_stream(3), ENGINE, 12_000)
    for at in range(len(stream)):
        for change in (1, 0x80, 0xFF):
            bad = bytearray(stream)
            bad[at] ^= change
            with pytest.raises(IntegrityError, match=r"^byte \d+: "):
                decode_stream(bytes(bad), ENGINE)


def test_cut_and_longer_streams_are_refused():
    stream = encode_stream(any_stream(3), ENGINE, 12_000)
    for size in range(len(stream)):
        with pytest.raises(IntegrityError):
            decode_stream(stream[:size], ENGINE)
    for more in (bytes(1), bytes(32), stream[-32:], stream):
        with pytest.raises(IntegrityError):
            decode_stream(stream + more, ENGINE)


def test_messages_of_streams_that_are_not_whole():
    stream = encode_stream(any_stream(3), ENGINE, 12_000)
    crc = int.from_bytes(stream[:32], "little") >> 82 & 0xFFFFFFFF
    for bad, text in (
        (stream[:-32], "byte 0: words of the stream must be 4, not 5; compile it again"),
        (stream[:-1], "byte 128: an instruction must have 32 bytes, not 31"),
        (stream[32:], "byte 0: a stream must begin with HEAD, not STREAM"),
        (with_head(stream, magic=5), f"byte 0: magic of the stream must be {0x4C544D45}, not 5; compile it again"),
        (with_head(stream, version=1), "byte 0: version of the stream must be 2, not 1; compile it again"),
        (with_head(stream, version=9), "byte 0: version of the stream must be 2, not 9; compile it again"),
        (with_head(stream, crc=crc ^ 1), f"byte 0: crc of the stream must be {crc}, not {crc ^ 1}; compile it again"),
    ):
        with pytest.raises(IntegrityError) as caught:
            decode_stream(bad, ENGINE)
        assert str(caught.value) == text


def with_head(stream: bytes, **changes: int) -> bytes:
    """The stream with other operands in its HEAD."""
    head = {**decode(stream[:32]).operands, **changes}
    return encode(Instruction("HEAD", head)) + stream[32:]


def stream_by_hand(words: list[Instruction], ring: int = 100) -> bytes:
    """A stream of any words behind a HEAD that is right, whatever they are; its CRC is made here a second time."""
    body = b"".join(map(encode, words))
    head = (1 | 0x4C544D45 << 18 | 2 << 50 | (len(words) + 1) << 58 | ring << 114) | encoding.engine_digest(
        ENGINE
    ) << 131
    crc = zlib.crc32(head.to_bytes(32, "little") + body)
    return (head | crc << 82).to_bytes(32, "little") + body


END = Instruction("END", {})


def test_a_head_written_by_hand_is_what_the_encoder_writes():
    body = any_stream(4)
    assert stream_by_hand([*body, END]) == encode_stream(body, ENGINE, 100)


@pytest.mark.parametrize(
    ("words", "text"),
    [
        ([], "byte 0: a stream must end with END"),
        ([*any_stream(2)], "byte 64: a stream must end with END"),
        ([END, *any_stream(1), END], "byte 32: END must stand at an end of the stream, not inside"),
        (
            [*any_stream(1), Instruction("HEAD", zeros(isa.HEAD)), END],
            "byte 64: HEAD must stand at an end of the stream",
        ),
        ([Instruction("HEAD", zeros(isa.HEAD))], "byte 32: a stream must end with END"),
    ],
)
def test_heads_and_ends_in_wrong_places_are_refused(words, text):
    with pytest.raises(IntegrityError, match=text):
        decode_stream(stream_by_hand(words), ENGINE)


def test_a_stream_of_another_engine_is_refused():
    stream = encode_stream(any_stream(), ENGINE, 100)
    other = replace(ENGINE, softmax_lanes=32)
    digests = f"{encoding.engine_digest(other):016x}, not {encoding.engine_digest(ENGINE):016x}"
    text = f"the stream must be for this engine, {digests}; compile it for this board"
    with pytest.raises(UsageError, match=text):
        decode_stream(stream, other)
    assert decode_stream(stream, replace(ENGINE, clock_mhz=100)).ring_lines == 100


def test_digests_differ_with_every_parameter_but_the_clock():
    buffers = replace(ENGINE.buffers, queries=replace(ENGINE.buffers.queries, bytes=64))
    engines = [ENGINE, replace(ENGINE, routing_entries=64), replace(ENGINE, buffers=buffers)]
    digests = {encoding.engine_digest(engine) for engine in engines}
    assert len(digests) == 3
    assert max(digests) < 2**64
    # ZCU104 and ZCU102 differ in the memories their buffers are made of.
    assert encoding.engine_digest(read_spec("zcu102").engine) not in digests


def test_the_ratio_of_clocks_is_in_the_digest_of_engines_with_two_alone():
    # The digest that streams for the ZCU104 had before there was a ratio.
    assert encoding.engine_digest(ENGINE) == 0x88ADAA91D7106B96
    assert encoding.engine_digest(replace(ENGINE, dsp_clock_ratio=2)) != encoding.engine_digest(ENGINE)


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda made: made.name)
def test_every_operation_is_printed_with_every_operand(operation):
    line = encoding.disassemble(Instruction(operation.name, zeros(operation)))
    assert line.split()[0] == operation.name
    names = [field.name for field in operation.fields if not field.name.endswith("_region")]
    assert [item.split("=")[0] for item in line.split()[1:]] == names


@pytest.mark.parametrize(
    ("made", "line"),
    [
        (
            Instruction(
                "SOFTMAX",
                {"src_region": 4, "src": 66, "stride": 66, "rows": 138, "count": 1025},
                frozenset({"matrix"}),
                frozenset({"vector", "matrix"}),
            ),
            "SOFTMAX src=scores1:66 stride=66 rows=138 count=1025 <matrix >matrix >vector",
        ),
        (
            Instruction(
                "STREAM",
                {"address": 40, "lines": 1152, "slot": 3, "stride": 2304, "cached": 0},
                frozenset({"router"}),
            ),
            "STREAM  address=40 lines=1152 slot=3 stride=2304 cached=0 <router",
        ),
        (END, "END"),
    ],
)
def test_lines_of_the_disassembler(made, line):
    assert encoding.disassemble(made) == line


def test_a_region_that_has_no_name_is_printed_as_a_number():
    made = Instruction("SOFTMAX", zeros(isa.BY_NAME["SOFTMAX"]) | {"src_region": 7})
    assert encoding.disassemble(made) == "SOFTMAX src=0 stride=0 rows=0 count=0"
