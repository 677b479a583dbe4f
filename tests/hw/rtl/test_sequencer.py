"""Decoder and sequencer: words against the decoder in Python, order, credits and streams against their rules."""

from __future__ import annotations

import random
import zlib
from collections import Counter, deque
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pytest

from edgemtl.errors import IntegrityError
from edgemtl.hw.checker import check_credits
from edgemtl.hw.encoding import decode, encode
from edgemtl.hw.isa import FAULTS, MAGIC, OPERATIONS, SEQUENCER, UNITS, VERSION, Instruction
from edgemtl.hw.rules import MOST_EXPERTS
from edgemtl.hw.sim.rtl.build import SOURCES, Design
from edgemtl.hw.sim.rtl.circuit import Circuit

ENGINE = 0x0123456789ABCDEF
PARTS = ("decoder", "stream_crc", "fifo", "credits", "sequencer")
OF_UNIT = {unit: [made for made in OPERATIONS if made.unit == unit] for unit in UNITS}


def any_word(rng: random.Random) -> bytes:
    """An instruction of random operands, and half of the time a bit of it turned."""
    made = rng.choice(OPERATIONS)
    operands = {field.name: rng.choice(field.allowed or [rng.randint(field.low, field.high)]) for field in made.fields}
    for name in operands.keys() & {"slot", "cache", "cached"}:
        operands[name] = rng.choice([0, rng.choice([operands[name], MOST_EXPERTS if name == "slot" else 0])])
    masks = () if made.unit == SEQUENCER else (frozenset(rng.sample(UNITS, 2)), frozenset(rng.sample(UNITS, 1)))
    word = int.from_bytes(encode(Instruction(made.name, operands, *masks)), "little")
    return (word ^ (rng.getrandbits(1) << rng.randrange(256))).to_bytes(32, "little")


def verdict(word: bytes) -> tuple[bool, int]:
    """What the decoder must say: whether a unit may be given the word, and which."""
    try:
        made = decode(word)
    except IntegrityError:
        return False, 0
    legal = not any(made.operands.get(name) for name in ("cache", "cached"))
    legal = legal and made.operands.get("slot", 0) <= MOST_EXPERTS
    return legal, 0 if made.unit == SEQUENCER else UNITS.index(made.unit)


def test_the_decoder_takes_what_the_table_takes() -> None:
    rng = random.Random(1)
    words = [any_word(rng) for _ in range(20_000)] + [bytes([code]) + bytes(31) for code in range(64)]
    verdicts = [verdict(word) for word in words]
    assert 6_000 < sum(legal for legal, _ in verdicts) < 18_000
    given = np.frombuffer(b"".join(words) + bytes(64), np.uint8).reshape(-1, 32)
    with Circuit(Design("decoder", {}, (SOURCES / "decoder.sv",))) as circuit:
        out = circuit.run({"word": given, "enable": 1})
    assert out["legal"][2:].tolist() == [legal for legal, _ in verdicts]
    owners = [(mine, told) for (legal, mine), told in zip(verdicts, out["owner"][2:].tolist(), strict=True) if legal]
    assert all(mine == told for mine, told in owners)
    np.testing.assert_array_equal(out["decoded"][2:], given[:-2])


def plain(unit: str, rng: random.Random, waits: Sequence[str] = (), signals: Sequence[str] = ()) -> Instruction:
    made = rng.choice(OF_UNIT[unit])
    operands = {field.name: field.allowed[0] if field.allowed else 0 for field in made.fields}
    # A number of its own, so that no two instructions are the same.
    largest = max((field for field in made.fields if not field.allowed and not field.signed), key=lambda f: f.bits)
    operands[largest.name] = rng.randrange(2**largest.bits) if largest.name != "slot" else 0
    return Instruction(made.name, operands, frozenset(waits), frozenset(signals))


def any_stream(rng: random.Random, count: int) -> list[Instruction]:
    """Instructions that the checker accepts: credits are posted before they are consumed, and all of them are."""
    there: Counter[tuple[str, str]] = Counter()
    stream, ahead = [], True
    for _ in range(count):
        unit = rng.choice(UNITS)
        waits = [poster for poster in UNITS if there[poster, unit] and rng.random() < 0.7]
        ahead = ahead and not (unit == "weights" and waits)
        may_signal = unit != "weights" or not ahead
        signals = [taker for taker in UNITS if may_signal and there[unit, taker] < 5 and rng.random() < 0.3]
        there.subtract((poster, unit) for poster in waits)
        there.update((unit, taker) for taker in signals)
        stream.append(plain(unit, rng, waits, signals))
    for unit in UNITS:
        while waits := [poster for poster in UNITS if there[poster, unit]]:
            there.subtract((poster, unit) for poster in waits)
            stream.append(plain(unit, rng, waits))
    check_credits(stream)
    return stream


def words_of(stream: Sequence[Instruction], ring: int = 64, **changed: int) -> list[bytes]:
    """HEAD, the instructions and END; ``changed``: other operands of HEAD."""
    body = [*(encode(made) for made in stream), encode(Instruction("END", {}))]
    head = {"magic": MAGIC, "version": VERSION, "words": len(body) + 1, "crc": 0, "ring": ring, "engine": ENGINE}
    head |= {name: value for name, value in changed.items() if name != "crc"}
    crc = zlib.crc32(encode(Instruction("HEAD", head)) + b"".join(body)) ^ changed.get("crc", 0)
    return [encode(Instruction("HEAD", head | {"crc": crc})), *body]


class Bench:
    """The sequencer with units that take any time, and what it may never do."""

    def __init__(self, circuit: Circuit, streams: Sequence[Sequence[Instruction]], rng: random.Random) -> None:
        self.circuit, self.rng = circuit, rng
        self.words = deque(word for stream in streams for word in words_of(stream))
        numbered = [(place, made) for place, stream in enumerate(streams) for made in stream]
        self.expected = {unit: deque((s, made) for s, made in numbered if made.unit == unit) for unit in UNITS}
        self.running: dict[str, deque[Instruction]] = {unit: deque() for unit in UNITS}
        self.credits: Counter[tuple[str, str]] = Counter()
        self.streams_done = 0
        circuit.run({"reset": 1}, 2)

    def cycle(self, speed: float) -> Mapping[str, Any]:
        """One cycle in which each unit is ready, and each running instruction ends, with probability ``speed``."""
        rng, masks = self.rng, (np.arange(6), 2 ** np.arange(6))
        ready = sum(2**u for u in range(6) if rng.random() < speed)
        ending = [unit for unit in UNITS if self.running[unit] and rng.random() < speed]
        given = {
            **{"engine": ENGINE, "start_ready": ready, "done": sum(2 ** UNITS.index(unit) for unit in ending)},
            "word_valid": int(bool(self.words) and rng.random() < 0.5 + speed / 2),
        }
        if self.words:
            given["word"] = np.frombuffer(self.words[0], np.uint8)[None]
        out = self.circuit.run(given, 1)
        if given["word_valid"] and out["word_ready"][0]:
            self.words.popleft()
        for u in masks[0][(int(out["start_valid"][0]) & ready & masks[1]) > 0]:
            self._start(UNITS[u], out["start_word"][0][32 * u : 32 * u + 32].tobytes())
        for unit in ending:
            self.credits.update((unit, taker) for taker in self.running[unit].popleft().signals)
        if out["stream_done"][0]:
            assert not any(queue and queue[0][0] == self.streams_done for queue in self.expected.values())
            assert not any(self.running[unit] for unit in UNITS if unit != "weights")
            self.streams_done += 1
        return {name: int(value[0]) for name, value in out.items() if value.ndim == 1}

    def _start(self, unit: str, word: bytes) -> None:
        stream, made = self.expected[unit].popleft()
        assert word == encode(made), f"{unit} must start its instructions in order"
        assert stream == self.streams_done or unit == "weights", f"{unit} started before its stream"
        taken = [(poster, unit) for poster in made.waits]
        assert all(self.credits[pair] > 0 for pair in taken), f"{unit} started without its credits"
        self.credits.subtract(taken)
        self.running[unit].append(made)


@pytest.fixture(scope="module")
def circuit() -> Iterator[Circuit]:
    with Circuit(Design("sequencer", {"QUEUE": 8, "STARTED": 3}, tuple(SOURCES / f"{n}.sv" for n in PARTS))) as built:
        yield built


@pytest.mark.parametrize("speed", [0.1, 0.5, 1.0])
def test_streams_run_in_order_and_with_their_credits(circuit: Circuit, speed: float) -> None:
    rng = random.Random(f"streams {speed}")
    streams = [any_stream(rng, rng.choice([0, 1, 30, 120])) for _ in range(8)]
    bench = Bench(circuit, streams, rng)
    for _ in range(8000):
        state = bench.cycle(speed)
        assert state["fault"] == FAULTS.index("none")
        if bench.streams_done == len(streams):
            break
    assert bench.streams_done == len(streams)
    assert not any(bench.expected.values())
    assert not +bench.credits
    assert bench.cycle(speed)["idle"]


def test_an_instruction_a_cycle(circuit: Circuit) -> None:
    """Without waits the words of a stream take a cycle each, and the queues two more."""
    rng = random.Random(3)
    stream = [plain(UNITS[place % 6], rng) for place in range(60)]
    words = words_of(stream)
    circuit.run({"reset": 1}, 2)
    given = np.frombuffer(b"".join(words), np.uint8).reshape(-1, 32)
    out = circuit.run({"engine": ENGINE, "word": given, "word_valid": 1, "start_ready": 63})
    assert out["word_ready"].all()
    assert sum(int(value).bit_count() for value in out["start_valid"]) == 3 * 6  # STARTED of each unit


def faults_of(circuit: Circuit, words: Sequence[bytes], **given: int) -> tuple[str, int, bool]:
    """The fault after the words, its place, and whether a stream was done; units end what they start at once."""
    circuit.run({"reset": 1}, 2)
    rest, running, done = deque(words), [0] * 6, False
    for _ in range(len(words) + 40):
        ending = [u for u in range(6) if running[u]]
        inputs: dict[str, Any] = {"engine": ENGINE, "start_ready": 63, "done": sum(2**u for u in ending), **given}
        if rest:
            inputs |= {"word_valid": 1, "word": np.frombuffer(rest[0], np.uint8)[None]}
        out = circuit.run(inputs, 1)
        if rest and out["word_ready"][0]:
            rest.popleft()
        running = [n - (u in ending) + (int(out["start_valid"][0]) >> u & 1) for u, n in enumerate(running)]
        done = done or bool(out["stream_done"][0])
    return FAULTS[int(out["fault"][0])], int(out["fault_number"][0]), done


@pytest.mark.parametrize("step", [11, pytest.param(1, marks=pytest.mark.slow)])
def test_a_turned_bit_of_a_stream_stops_it(circuit: Circuit, step: int) -> None:
    """Of every word every bit, or one in ``step``, turned by itself: no stream ends as if it were right."""
    rng = random.Random(4)
    words = words_of([plain("vector", rng), plain("matrix", rng)])
    assert faults_of(circuit, words) == ("none", 0, True)
    for place in range(len(words)):
        for bit in range(place % step, 256, step):
            turned = list(words)
            turned[place] = (int.from_bytes(words[place], "little") ^ 1 << bit).to_bytes(32, "little")
            fault, number, done = faults_of(circuit, turned)
            assert fault in ("instruction", "stream", "crc", "none"), (place, bit, fault)
            assert not done, (place, bit)
            if fault == "instruction":
                assert number == place
            if fault == "none":  # a credit that never comes: what the watchdog is for
                assert faults_of(circuit, turned, watchdog=20)[0] == "watchdog", (place, bit)


@pytest.mark.parametrize(
    ("changed", "fault"),
    [
        ({"magic": 1}, "stream"),
        ({"version": VERSION + 1}, "stream"),
        ({"engine": ENGINE ^ 1 << 63}, "stream"),
        ({"words": 3}, "stream"),
        ({"words": 5}, "stream"),
        ({"crc": 1 << 31}, "crc"),
    ],
)
def test_heads_that_are_refused(circuit: Circuit, changed: dict[str, int], fault: str) -> None:
    rng = random.Random(5)
    stream = [plain("vector", rng), plain("data", rng)]
    assert faults_of(circuit, words_of(stream)) == ("none", 0, True)
    assert faults_of(circuit, words_of(stream, **changed))[0] == fault
    assert faults_of(circuit, words_of(stream)) == ("none", 0, True), "a reset must recover it"


def test_a_head_inside_and_a_stream_without_one(circuit: Circuit) -> None:
    rng = random.Random(6)
    words = words_of([plain("vector", rng), plain("data", rng)])
    assert faults_of(circuit, [words[0], words[1], words[0]])[:2] == ("stream", 2)
    assert faults_of(circuit, words[1:])[0] == "stream"


@pytest.mark.parametrize(("port", "fault"), [("access_error", "access"), ("memory_error", "memory")])
def test_a_unit_that_fails_names_its_instruction(circuit: Circuit, port: str, fault: str) -> None:
    """Four instructions of the vector unit; it starts three, ends one and fails in the second."""
    rng = random.Random(7)
    words = words_of([plain("vector", rng) for _ in range(4)])
    circuit.run({"reset": 1}, 2)
    given = {"engine": ENGINE, "start_ready": 63, "word_valid": 1}
    circuit.run(given | {"word": np.frombuffer(b"".join(words), np.uint8).reshape(-1, 32)})
    circuit.run({"engine": ENGINE, "start_ready": 63}, 8)
    vector = 1 << UNITS.index("vector")
    circuit.run({"engine": ENGINE, "done": vector}, 1)
    out = circuit.run({"engine": ENGINE, "start_ready": 63, port: [vector, 0, 0]})
    assert FAULTS[int(out["fault"][-1])] == fault
    assert out["fault_number"][-1] == 2
    assert out["start_valid"][-1] == 0
    assert out["word_ready"][-1] == 0


def test_too_many_credits_stop_the_core(circuit: Circuit) -> None:
    rng = random.Random(8)
    words = words_of([plain("router", rng, signals=["matrix"]) for _ in range(64)])
    assert faults_of(circuit, words)[0] == "credits"
