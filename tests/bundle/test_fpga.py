"""The program of an FPGA in a bundle: written, read back, and refused where it says what cannot be."""

from __future__ import annotations

import copy
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgemtl.bundle import FpgaProgram, open_bundle, parse_manifest, write_bundle
from edgemtl.bundle.checks_host import check_padding
from edgemtl.bundle.reader import read_layer_index
from edgemtl.errors import ConfigError, EdgemtlError, IntegrityError
from edgemtl.hw.law_weightless import Windows
from edgemtl.operators import Conv2d, Pool
from tests.bundle import fpga_samples, samples
from tests.bundle.test_manifest import JSON

HOST, TASK = "program.hosts.0", "program.tasks.depth"
SEGMENT, STEP = f"{TASK}.segments.0", f"{TASK}.host.0"
REGION, ROWS = f"{SEGMENT}.regions.0", f"{SEGMENT}.inputs.0"
CASES = [
    ("program.precision", "fp32", r"program.precision must be one of int8, not 'fp32'"),
    (
        "program.instruction_set",
        1,
        r"program.instruction_set must be 2, not 1; compile this bundle for the board again",
    ),
    ("program.board", [], r"manifest.program.board must be an object, not \[\]"),
    ("program.board.name", 3, r"program.board: name must be a line of 1 to 40 printable characters, not 3"),
    ("program.board.engine.array_rows", 7, r"program.board: engine.array_rows must be one of 8, 16, 32, 64, 96, not 7"),
    ("program.board.engine.clock_mhz", 2000, r"program.board: engine.clock_mhz must be at most board.ports"),
    ("program.engine", "0" * 16, r"program.engine must be [0-9a-f]{16}, the digest of the board's engine, not 0000"),
    ("program.engine", "XYZ", r"program.engine must be 16 lower-case hexadecimal digits, not 'XYZ'"),
    ("program.board.engine.routing_entries", 100, r"program.engine must be [0-9a-f]{16}, the digest of the board's"),
    ("program.share", 2, r"program.share must be a number from 0 to 1, not 2"),
    ("program.on_chip.cellar", 1, r"program.on_chip.cellar must be one of residual, .*, routing, not 'cellar'"),
    ("program.hosts", [], r"program.hosts must be the hosts a53, x86 in this order, not \[\]"),
    (f"{HOST}.name", "z80", r"program.hosts\[0\].name must be one of a53, x86, not 'z80'"),
    (f"{HOST}.cpu.device", "fpga", r"hosts\[0\].cpu.device must be one of cpu, not 'fpga'"),
    (f"{HOST}.cpu.library", "program/cpu.so", r"library must be one of program/host_a53.so, not 'program/cpu.so'"),
    (f"{HOST}.weights", "weights.bin", r"weights must be one of program/host_a53.bin, not 'weights.bin'"),
    (f"{HOST}.tensors.0.offset", 64, r"hosts\[0\].tensors must be inside the section of 64 bytes, not 80 bytes long"),
    (f"{HOST}.cpu.tasks.depth.output.shape", [1, 1, 4, 5], r"depth.output must be those of the task, Output"),
    (f"{HOST}.handovers", {}, r"hosts\[0\].handovers must be the tasks \['depth'\], not \[\]"),
    (f"{HOST}.handovers.depth", [], r"handovers.depth must be one for each of 1 segments, not 0"),
    (f"{HOST}.handovers.depth.0.step", 2, r"handovers.depth must be at steps of their own below 2, not \[2\]"),
    (f"{HOST}.handovers.depth.0.inputs", [], r"depth\[0\].inputs must be one for each of 1 of the segment, not 0"),
    (f"{HOST}.handovers.depth.0.inputs", [225], r"depth\[0\].inputs must be inside the arena of 256 bytes, not 225"),
    (f"{HOST}.handovers.depth.0.outputs", [-1], r"outputs\[0\] must be an integer from 0"),
    (f"{TASK}.steps", 3, r"cpu.tasks.depth.steps must be those of the task, 3, not 2"),
    (f"{TASK}.host", [], r"program.tasks.depth.host must be 2 steps, not 0"),
    (f"{STEP}.operator", "Dream", r"host\[0\].operator must be one of segment, .*, QuantiseImage, .*, not 'Dream'"),
    (
        f"{STEP}.operator",
        "segment",
        r"host\[0\].operator must be segment with the number of one, native, or another operator",
    ),
    (f"{STEP}.segment", 0, r"host\[0\].operator must be segment with the number of one, native, or another operator"),
    (f"{STEP}.sizes.size", 1.5, r"host\[0\].sizes.size must be an integer from -4611686018427387904 to"),
    (f"{STEP}.sizes.size", 33, r"host\[0\].sizes.size must be from 0 to 32, the largest of its operands, not 33"),
    (f"{STEP}.sizes.size", -1, r"host\[0\].sizes.size must be from 0 to 32, the largest of its operands, not -1"),
    (f"{STEP}.sizes.dtype", "int64", r"host\[0\].sizes.dtype must be one of int8, int16, not 'int64'"),
    (f"{STEP}.constants", [1], r"host\[0\].constants must be below 1, of the program's, not \[1\]"),
    (f"{STEP}.constants", [0], r"host\[0\]: the number of constants must be 0, not 1"),
    (f"{STEP}.inputs.0.shape", [31], r"host\[0\]: x must be float32\[32\], not float32\[31\]"),
    (f"{STEP}.inputs.0.strides", [8, 1], r"inputs\[0\].strides must be 1 steps, one a dimension, not \[8, 1\]"),
    (f"{STEP}.inputs.0.offset", 41, r"host\[0\]: input/image must be inside its 288 bytes, not 292 long"),
    (f"{STEP}.inputs.0.dtype", "int32", r"host\[0\]: input/image must be float32 in all steps, not int32"),
    (f"{STEP}.outputs.0.offset", 225, r"host\[0\]: patches must be inside its 256 bytes, not 257 long"),
    (f"{STEP}.outputs.0.dtype", "int16", r"host\[0\]: y must be int8\[32\], not int16\[32\]"),
    (f"{TASK}.host.1.segment", 1, r"depth.host must be segments at the steps \[1\] of a53, not \[1\]"),
    (f"{TASK}.host.1.inputs.0.strides", [9, 1], r"inputs must be dense values \[\(32, 'int8'\)\], those of the"),
    (f"{TASK}.host.1.outputs.0.shape", [4, 7], r"outputs must be dense values \[\(32, 'int16'\)\], those of the"),
    ("program.constants.0.offset", 64, r"program.constants must be inside the section of 64 bytes, not 80 bytes"),
    (f"{SEGMENT}.stream", "weights.bin", r"stream must be one of streams/depth/0.stream, not 'weights.bin'"),
    (f"{SEGMENT}.layers", [], r"segments\[0\].layers must be at least one layer, not none"),
    (f"{SEGMENT}.early", [], r"segments\[0\].early must be one list for each of 1 routers, not 0"),
    (f"{SEGMENT}.early.0", [1, 1], r"early\[0\] must be different ones of 2 experts, not \[1, 1\]"),
    (f"{SEGMENT}.early.0", [2], r"early\[0\] must be different ones of 2 experts, not \[2\]"),
    (f"{SEGMENT}.windows.input", 255, r"inputs\[0\] must be inside its window of 255 bytes, not 256 bytes long"),
    (f"{ROWS}.line", 1, r"inputs\[0\] must be inside its window of 256 bytes, not 320 bytes long"),
    (f"{ROWS}.pitch", 7, r"inputs\[0\].pitch must be at least the 8 bytes of a row, not 7"),
    (f"{ROWS}.dtype", "float32", r"dtype must be one of int8, uint8, int16, not 'float32'"),
    (f"{REGION}.name", "cellar", r"regions\[0\].name must be one of residual, hidden, .*, not 'cellar'"),
    (f"{REGION}.arena_bytes", 32, r"regions: residual must be from 64, its lower bound, to the \d+ bytes there are"),
    (f"{REGION}.arena_bytes", 1 << 30, r"regions: residual must be from 64, its lower bound, to the \d+ bytes there"),
    (f"{REGION}.buffers.0.offset", 32, r"regions: residual must be made of buffers in its 64 bytes, with a first"),
    (f"{REGION}.buffers.0.first", 1, r"regions: residual must be made of buffers in its 64 bytes, with a first use"),
    (
        "weights",
        [{"name": "a", "offset": 0, "bytes": 4, "shape": [1], "dtype": "int32", "role": "values", "range": [0, 9]}],
        r"weights must be empty",
    ),
]


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return fpga_samples.write(tmp_path_factory.mktemp("bundle") / "a.edgemtl")


def test_it_comes_back(path: Path) -> None:
    with open_bundle(path) as bundle:
        program = bundle.manifest.program
        assert isinstance(program, FpgaProgram)
        assert program.board == fpga_samples.SPEC
        assert program.host("x86").cpu.target.vector_bits == 256
        (segment,) = program.tasks["depth"].segments
        assert bundle.member(segment.stream) == fpga_samples.STREAM
        assert read_layer_index(segment, bundle.section(segment.layer_index)).tolist() == [1]
        assert (segment.macs, segment.outputs[0].row_bytes) == (10, 16)
        np.testing.assert_array_equal(bundle.weights(), np.frombuffer(fpga_samples.PARAMETERS, np.uint8))
        assert parse_manifest(bundle.manifest.to_json()) == bundle.manifest


@pytest.mark.parametrize(("place", "value", "message"), CASES)
def test_refused(place: str, value: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        parse_manifest(samples.changed(place, value, fpga_samples.document()))


def _objects(document: Any, way: str = "program") -> list[str]:
    """Every object of the program with fixed fields; the board has rules of its own."""
    found = [way] if isinstance(document, dict) else []
    items = document.items() if isinstance(document, dict) else enumerate(document)
    deeper = [(f"{way}.{key}", value) for key, value in items if isinstance(value, dict | list) and key != "board"]
    return found + [place for inner, value in deeper for place in _objects(value, inner)]


NAMED = ("on_chip", "tasks", "handovers")
OBJECTS = [p for p in _objects(fpga_samples.document()["program"]) if p.rpartition(".")[2] not in NAMED]


@pytest.mark.parametrize("place", OBJECTS)
def test_fields_are_all_there_and_no_more(place: str) -> None:
    document = fpga_samples.document()
    with pytest.raises(ConfigError, match="must not have the field 'surprise'"):
        parse_manifest(samples.changed(f"{place}.surprise", 1, document))
    inner: Any = document
    for step in place.split("."):
        inner = inner[int(step) if step.isdigit() else step]
    for key in list(inner):
        less = copy.deepcopy(document)
        target: Any = less
        for step in place.split("."):
            target = target[int(step) if step.isdigit() else step]
        del target[key]
        with pytest.raises(ConfigError, match=f"must have the field '{key}'|must not have the field"):
            parse_manifest(less)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("program/host_a53.bin", b"x", r"program/host_a53.bin must be 64 bytes, not 1 bytes"),
        ("weights.bin", b"x", r"weights.bin must be 128 bytes, not 1 bytes"),
        ("program/host_constants.bin", b"x", r"program/host_constants.bin must be 64 bytes, not 1 bytes"),
        ("streams/depth/0.stream", b"x" * 65, r"0.stream must be two or more instructions of 32 bytes, not 65 bytes"),
        ("streams/depth/0.stream", b"x" * 32, r"0.stream must be two or more instructions of 32 bytes, not 32 bytes"),
        ("streams/depth/0.layers", b"\0\0\0\0", r"0.layers must be 2 bytes, 2 an instruction, not 4 bytes"),
    ],
)
def test_members_of_other_sizes(name: str, content: bytes, message: str, tmp_path: Path) -> None:
    files = fpga_samples.sections() | {name: content}
    with pytest.raises(ConfigError, match=message):
        write_bundle(tmp_path / "a", fpga_samples.manifest(), files)
    with pytest.raises(ConfigError, match=message):
        open_bundle(samples.pack(tmp_path / "b", samples.members(fpga_samples.document(), files)))


def test_layers_that_are_none(tmp_path: Path) -> None:
    files = fpga_samples.sections() | {"streams/depth/0.layers": b"\2\0"}
    with pytest.raises(IntegrityError, match=r"0.layers must hold layers from 0 to 1, not 2; copy or compile"):
        open_bundle(samples.pack(tmp_path / "b", samples.members(fpga_samples.document(), files)))


def test_every_byte_matters(path: Path, tmp_path: Path) -> None:
    """Bytes all over the file changed in turn: all are refused with a typed error."""
    good = path.read_bytes()
    target = tmp_path / "a.edgemtl"
    target.write_bytes(good)
    passed = []
    with open(target, "r+b", buffering=0) as file:
        for place in range(0, len(good), 7):
            os.pwrite(file.fileno(), bytes([good[place] ^ (place % 255 + 1)]), place)
            try:
                open_bundle(target).close()
                passed.append(place)
            except IntegrityError:
                pass
            os.pwrite(file.fileno(), good[place : place + 1], place)
    assert passed == []


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_any_value_anywhere(data: st.DataObject) -> None:
    """Any JSON in any place of the program: a manifest, or a typed error."""
    document = fpga_samples.document()
    inner: Any = document["program"]
    while True:
        key = data.draw(st.sampled_from(list(inner) if isinstance(inner, dict) else range(len(inner))))
        deeper = inner[key]
        if not (isinstance(deeper, dict | list) and deeper and data.draw(st.booleans())):
            break
        inner = deeper
    inner[key] = data.draw(JSON)
    try:
        manifest = parse_manifest(document)
    except EdgemtlError:
        return
    assert parse_manifest(manifest.to_json()) == manifest


POOL = Pool("max", 4, Windows(8, 8, 8, 8, (3, 3), (1, 1), (1, 1)))
PADDINGS = {
    "a kernel that reaches far beyond the image": replace(POOL, windows=replace(POOL.windows, kernel=(250, 250))),
    "pads larger than memory": Conv2d(8, 8, 4, 4, (200, 200), pad=(199, 199, 199, 199)),
}


@pytest.mark.parametrize("name", PADDINGS)
def test_no_image_grows_by_its_padding_beyond_what_the_bundle_shows(name: str) -> None:
    check_padding(POOL, 256, "sizes")
    check_padding(Conv2d(8, 8, 4, 4, (3, 3), pad=(1, 1, 1, 1)), 256, "sizes")
    with pytest.raises(
        ConfigError, match=r"sizes must be those of an image that has at most 16384 values with its pad"
    ):
        check_padding(PADDINGS[name], 256, "sizes")
