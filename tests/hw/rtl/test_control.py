"""The host's registers over AXI4-Lite, with masters that pause at random."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pytest

from edgemtl.hw.isa import FAULTS, MAGIC, VERSION, WINDOWS
from edgemtl.hw.registers import REGISTERS
from edgemtl.hw.sim.rtl.build import SOURCES, Design
from edgemtl.hw.sim.rtl.circuit import Circuit

ENGINE = 0xFEDCBA9876543210
OFFSET = {register.name: register.offset for register in REGISTERS}
OKAY, SLVERR = 0, 2
WHOLE = 15


class Host:
    """An AXI4-Lite master: addresses and data come, and answers are taken, whenever it likes."""

    def __init__(self, circuit: Circuit, seed: int) -> None:
        self.circuit, self.rng = circuit, random.Random(seed)
        self.core: dict[str, int] = {"idle": 1}
        circuit.run({"reset": 1}, 2)

    def cycle(self, given: Mapping[str, Any]) -> dict[str, Any]:
        return {name: value[0] for name, value in self.circuit.run(self.core | given, 1).items()}

    def write(self, name: str | int, value: int, strobes: int = WHOLE) -> int:
        """The answer."""
        address = {"awaddr": OFFSET[name] if isinstance(name, str) else name}
        data = {"wdata": value, "wstrb": strobes}
        offered = {"awvalid": 0, "wvalid": 0}
        accepted = False
        for _ in range(100):
            for channel in offered:
                offered[channel] = offered[channel] or int(not accepted and self.rng.random() < 0.4)
            bready = int(self.rng.random() < 0.4)
            out = self.cycle({**offered, **address, **data, "bready": bready})
            assert out["awready"] == out["wready"] <= offered["awvalid"] & offered["wvalid"]
            if out["awready"]:
                accepted, offered = True, {"awvalid": 0, "wvalid": 0}
            if out["bvalid"] and bready:
                return int(out["bresp"])
        raise AssertionError("no answer to a write")

    def read(self, name: str | int) -> tuple[int, int]:
        """The value and the answer."""
        address = OFFSET[name] if isinstance(name, str) else name
        asked, accepted = 0, False
        for _ in range(100):
            asked = asked or int(not accepted and self.rng.random() < 0.4)
            rready = int(self.rng.random() < 0.4)
            out = self.cycle({"arvalid": asked, "araddr": address, "rready": rready})
            if out["arready"] and asked:
                accepted, asked = True, 0
            if out["rvalid"] and rready:
                return int(out["rdata"]), int(out["rresp"])
        raise AssertionError("no answer to a read")

    def value(self, name: str) -> int:
        value, answer = self.read(name)
        assert answer == OKAY
        return value


@pytest.fixture(scope="module")
def circuit() -> Iterator[Circuit]:
    with Circuit(Design("control", {"ENGINE": ENGINE}, (SOURCES / "fifo.sv", SOURCES / "control.sv"))) as built:
        yield built


def test_what_it_is(circuit: Circuit) -> None:
    host = Host(circuit, 1)
    assert (host.value("IDENTITY"), host.value("VERSION")) == (MAGIC, VERSION)
    assert host.value("ENGINE_LOW") | host.value("ENGINE_HIGH") << 32 == ENGINE
    assert host.cycle({})["engine"] == ENGINE


def test_writable_registers_keep_what_is_written_and_others_refuse_it(circuit: Circuit) -> None:
    host, rng = Host(circuit, 2), random.Random(2)
    numbers = {r.name: rng.getrandbits(32) for r in REGISTERS if r.writable and r.name not in ("CONTROL", "INTERRUPT")}
    numbers["STREAM_WORDS"] &= 2**24 - 1
    for name in rng.sample(sorted(numbers), len(numbers)):
        assert host.write(name, numbers[name]) == OKAY
    for register in REGISTERS:
        if not register.writable:
            before = host.read(register.name)[0]
            assert host.write(register.name, ~before & 0xFFFFFFFF) == SLVERR
    for name, value in numbers.items():
        assert host.value(name) == value


@pytest.mark.parametrize("strobes", [0, 1, 7, 14])
def test_a_part_of_a_register_is_refused(circuit: Circuit, strobes: int) -> None:
    host = Host(circuit, 3)
    assert host.write("WATCHDOG", 0x01020304) == OKAY
    assert host.write("WATCHDOG", 0xFFFFFFFF, strobes) == SLVERR
    assert host.value("WATCHDOG") == 0x01020304


def test_addresses_without_a_register_are_refused(circuit: Circuit) -> None:
    host = Host(circuit, 4)
    for address in {*range(256)} - {*OFFSET.values()}:
        assert host.write(address, 1) == SLVERR
        assert host.read(address) == (0, SLVERR)


def test_streams_are_queued_with_their_windows(circuit: Circuit) -> None:
    """Two fit; the third is refused and changes nothing; they come out as they were when they were queued."""
    host, rng = Host(circuit, 5), random.Random(5)
    expected = []
    for place in range(3):
        words, line = rng.getrandbits(24), rng.getrandbits(32)
        windows = [rng.getrandbits(32) for _ in range(2 * len(WINDOWS))]
        for name, value in zip(
            (f"{w.upper()}_{end}" for w in WINDOWS for end in ("LINE", "LINES")), windows, strict=True
        ):
            assert host.write(name, value) == OKAY
        assert host.write("STREAM_LINE", line) == OKAY
        assert host.value("STATUS") >> 2 & 1 == (place == 2)
        assert host.write("STREAM_WORDS", words) == (SLVERR if place == 2 else OKAY)
        whole = words << 288 | line << 256 | sum(value << 32 * at for at, value in enumerate(windows))
        expected.append(whole.to_bytes(39, "little"))
    taken = [host.cycle({"stream_ready": 1}) for _ in range(3)]
    assert [int(out["stream_valid"]) for out in taken] == [1, 1, 0]
    assert [out["stream"].tobytes() for out in taken[:2]] == expected[:2]
    assert host.value("STATUS") == 1


def test_ends_and_faults_are_told(circuit: Circuit) -> None:
    host = Host(circuit, 6)
    host.core = {"idle": 0}
    assert host.write("CONTROL", 2) == OKAY
    assert not host.cycle({})["irq"]
    host.cycle({"stream_done": 1})
    assert host.cycle({})["irq"]
    assert (host.value("STREAMS_DONE"), host.value("INTERRUPT")) == (1, 1)
    assert host.value("DONE_CYCLE_LOW") < host.value("CYCLES_LOW") < 1000
    assert host.write("INTERRUPT", 1) == OKAY
    assert not host.cycle({})["irq"]
    host.core |= {"fault": FAULTS.index("access"), "fault_number": 77}
    assert (host.value("STATUS"), host.value("INTERRUPT")) == (2, 2)
    assert (host.value("FAULT"), host.value("FAULT_INSTRUCTION")) == (FAULTS.index("access"), 77)


def test_reset_empties_the_queue_and_begins_to_count_again(circuit: Circuit) -> None:
    host = Host(circuit, 7)
    assert host.write("STREAM_WORDS", 5) == OKAY
    host.cycle({"stream_done": 1})
    assert host.write("CONTROL", 1) == OKAY
    assert host.cycle({})["reset_core"]
    assert host.write("STREAM_WORDS", 5) == SLVERR
    assert host.write("CONTROL", 0) == OKAY
    out = host.cycle({})
    assert not out["reset_core"]
    assert not out["stream_valid"]
    assert (host.value("STREAMS_DONE"), host.value("INTERRUPT")) == (0, 0)
    assert host.value("CYCLES_LOW") < 300


def test_both_halves_of_the_cycles_are_of_one_moment(circuit: Circuit) -> None:
    host = Host(circuit, 8)
    low = host.value("CYCLES_LOW")
    circuit.run({"idle": 1}, 2**20)
    assert host.value("CYCLES_HIGH") == 0
    assert host.value("CYCLES_LOW") >= low + 2**20


def test_the_port_takes_one_access_of_each_kind_at_once(circuit: Circuit) -> None:
    """A read beside a write: neither waits for the other."""
    host = Host(circuit, 9)
    given = {"awvalid": 1, "awaddr": OFFSET["WATCHDOG"], "wvalid": 1, "wdata": 9, "wstrb": WHOLE}
    out = host.cycle({**given, "arvalid": 1, "araddr": OFFSET["VERSION"]})
    assert (out["awready"], out["arready"]) == (1, 1)
    out = host.cycle({"bready": 1, "rready": 1})
    assert (out["bvalid"], out["rvalid"], out["rdata"]) == (1, 1, VERSION)
    np.testing.assert_array_equal(host.value("WATCHDOG"), 9)
