"""Every damage is refused, and says what is wrong."""

from __future__ import annotations

import json
import mmap
import os
import struct
import tracemalloc
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgemtl.bundle import open_bundle
from edgemtl.bundle.archive import read_layout
from edgemtl.errors import ConfigError, EdgemtlError, InputError, IntegrityError
from tests.bundle import samples

END = struct.Struct("<4s4H2IH")


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return samples.write(tmp_path_factory.mktemp("bundle") / "a.edgemtl")


@pytest.fixture(scope="module")
def good(path: Path) -> bytes:
    return path.read_bytes()


def refused(path: Path, data: bytes) -> str:
    """The message with which the file is refused as damaged."""
    path.write_bytes(data)
    with pytest.raises(IntegrityError) as caught:
        open_bundle(path)
    return str(caught.value).removeprefix(f"{path}: ")


def directory_entries(data: bytes) -> Iterator[tuple[str, int, int]]:
    """Name, place in the directory and place of the local header of each member."""
    place = END.unpack(data[-22:])[6]
    while data[place : place + 4] == b"PK\1\2":
        length = int.from_bytes(data[place + 28 : place + 30], "little")
        header = int.from_bytes(data[place + 42 : place + 46], "little")
        yield data[place + 46 : place + 46 + length].decode(), place, header
        place += 46 + length


def patched(data: bytes, changes: dict[int, bytes]) -> bytes:
    """``data`` with some bytes replaced."""
    found = bytearray(data)
    for place, new in changes.items():
        found[place : place + len(new)] = new
    return bytes(found)


def in_both_headers(data: bytes, name: str, offset: int, new: bytes) -> bytes:
    """``data`` with a field of a member replaced in its local header and in the directory, 2 bytes further in."""
    place, header = next((p, h) for n, p, h in directory_entries(data) if n == name)
    return patched(data, {header + offset: new, place + offset + 2: new})


def test_every_byte_matters(good: bytes, tmp_path: Path) -> None:
    """Each byte of the file changed in turn: all are refused, none with anything but a typed error."""
    target = tmp_path / "a.edgemtl"
    target.write_bytes(good)
    passed = []
    with open(target, "r+b", buffering=0) as file:
        for place in range(len(good)):
            os.pwrite(file.fileno(), bytes([good[place] ^ (place % 255 + 1)]), place)
            try:
                open_bundle(target).close()
                passed.append(place)
            except IntegrityError:
                pass
            os.pwrite(file.fileno(), good[place : place + 1], place)
    assert passed == []
    open_bundle(target).close()


def test_every_truncation(good: bytes) -> None:
    for length in range(len(good)):
        with pytest.raises(IntegrityError):
            read_layout(memoryview(good)[:length])


@pytest.mark.parametrize("extra", [b"\0", b"\0" * 22, b"PK\5\6" + b"\0" * 18])
def test_trailing_bytes(good: bytes, tmp_path: Path, extra: bytes) -> None:
    message = refused(tmp_path / "a", good + extra)
    assert "zip directory" in message or "must add up to" in message


def test_truncated(good: bytes, tmp_path: Path) -> None:
    assert refused(tmp_path / "a", good[:-1]).startswith("the file must end with a zip directory; it is truncated")
    assert refused(tmp_path / "a", b"x").startswith("the file must end with a zip directory")


def test_leading_bytes(good: bytes, tmp_path: Path) -> None:
    assert refused(tmp_path / "a", b"\0" + good).startswith("the zip directory must end where the file ends")
    moved = b"\0" * 64 + good[:-22] + END.pack(*(*(e := END.unpack(good[-22:]))[:6], e[6] + 64, 0))
    assert refused(tmp_path / "a", moved).startswith("the members' sizes must add up to")


def test_comment(good: bytes, tmp_path: Path) -> None:
    commented = good[:-2] + struct.pack("<H", 22) + b"PK\5\6" + b"\0" * 18
    assert refused(tmp_path / "a", commented)


def test_other_zip_programs_files_are_refused(tmp_path: Path) -> None:
    data = samples.foreign_zip(tmp_path / "zip").read_bytes()
    assert refused(tmp_path / "a", data).startswith("the members' sizes must add up to")


def test_compressed(tmp_path: Path) -> None:
    data = samples.foreign_zip(tmp_path / "zip", zipfile.ZIP_DEFLATED).read_bytes()
    assert refused(tmp_path / "a", data).startswith(
        "manifest.json: a member must be stored, not compressed with method 8"
    )


def test_encrypted(good: bytes, tmp_path: Path) -> None:
    data = in_both_headers(good, "weights.bin", 6, b"\1\0")
    assert refused(tmp_path / "a", data).startswith("weights.bin: a member must not be encrypted")


@pytest.mark.parametrize("flag", [b"\x08\0", b"\0\x08"])
def test_other_flags(good: bytes, tmp_path: Path, flag: bytes) -> None:
    data = in_both_headers(good, "weights.bin", 6, flag)
    assert "weights.bin: its header must agree" in refused(tmp_path / "a", data)


def test_zip64_sizes(good: bytes, tmp_path: Path) -> None:
    data = in_both_headers(good, "weights.bin", 18, b"\xff" * 8)
    assert refused(tmp_path / "a", data).startswith("weights.bin: a member must have one size up to 4294967294")


def test_sizes_that_differ(good: bytes, tmp_path: Path) -> None:
    data = in_both_headers(good, "weights.bin", 18, b"\1\0\0\0\2\0\0\0")
    assert "must have one size up to 4294967294, not 1 and 2" in refused(tmp_path / "a", data)


@pytest.mark.parametrize("size", [0, 128, 256, 1 << 31])
def test_a_size_that_overlaps_or_leaves_the_file(good: bytes, tmp_path: Path, size: int) -> None:
    data = in_both_headers(good, "weights.bin", 18, struct.pack("<II", size, size))
    assert refused(tmp_path / "a", data).startswith("the members' sizes must add up to")


def test_an_offset_that_points_elsewhere(good: bytes, tmp_path: Path) -> None:
    entries = {name: (place, header) for name, place, header in directory_entries(good)}
    other = struct.pack("<I", entries["manifest.json"][1])
    data = patched(good, {entries["weights.bin"][0] + 42: other})
    assert refused(tmp_path / "a", data).startswith("the directory must be spelled as edgemtl writes it")


def test_more_members_than_there_are(good: bytes, tmp_path: Path) -> None:
    count = struct.pack("<HH", 9, 9)
    assert "must hold 9 members, and ends before the last" in refused(tmp_path / "a", good[:-14] + count + good[-10:])
    count = struct.pack("<HH", 65535, 65535)
    assert "hold at most 1024 members" in refused(tmp_path / "a", good[:-14] + count + good[-10:])


@pytest.mark.parametrize(
    "name",
    [
        "../weights",
        "/eights.bin",
        "a/../../b.b",
        "C:\\eights.b",
        "weights\0bin",
        "wéights.b",
        "a//eights.b",
        ".eights.bin",
        "./ights.bin",
        "weights.bi/",
    ],
)
def test_names_that_lead_elsewhere(good: bytes, tmp_path: Path, name: str) -> None:
    raw = name.encode().ljust(11, b"n")[:11]
    data = in_both_headers(good, "weights.bin", 30, raw)
    place = next(p for n, p, _ in directory_entries(good) if n == "weights.bin")
    data = patched(data, {place + 32: good[place + 32 : place + 46], place + 46: raw})
    message = refused(tmp_path / "a", data)
    assert message.startswith("a member's name must be a plain relative path, not ")


def test_a_wrong_checksum_in_both_headers(good: bytes, tmp_path: Path) -> None:
    data = in_both_headers(good, "program/cpu.so", 14, b"\1\2\3\4")
    assert refused(tmp_path / "a", data).startswith("program/cpu.so: its CRC-32 must be 04030201, not ")


def check_members(tmp_path: Path, content: list[tuple[str, bytes]]) -> str:
    path = samples.pack(tmp_path / "a.edgemtl", content)
    with pytest.raises(IntegrityError) as caught:
        open_bundle(path)
    return str(caught.value).removeprefix(f"{path}: ")


def test_packing_by_hand_gives_the_same_file(good: bytes, tmp_path: Path) -> None:
    """The other tests of this kind change one thing only."""
    content = samples.members(samples.manifest().to_bytes())
    text = samples.parse_manifest(samples.listed(samples.document())).to_bytes()
    content = samples.members(text)
    assert samples.pack(tmp_path / "a", content).read_bytes() == good


def test_swapped_members(tmp_path: Path) -> None:
    content = samples.members(samples.document())
    content[2], content[3] = content[3], content[2]
    assert check_members(tmp_path, content).startswith(
        "the members must be manifest.json, manifest.sha256, golden/depth/input"
    )


def test_swapped_contents(tmp_path: Path) -> None:
    content = samples.members(samples.document())
    content[2], content[4] = (content[2][0], content[3][1]), (content[4][0], content[2][1])
    assert check_members(tmp_path, content).startswith("golden/depth/input_0.npy must have 416 bytes, not")


def test_contents_of_the_same_size_swapped(tmp_path: Path) -> None:
    files = samples.sections()
    content = dict(samples.members(samples.document()))
    content["weights.bin"] = files["weights.bin"][::-1]
    assert check_members(tmp_path, list(content.items())).startswith("weights.bin must have the SHA-256 ")


def test_duplicate_members(tmp_path: Path) -> None:
    content = samples.members(samples.document())
    assert check_members(tmp_path, [*content, content[-1]]).startswith(
        "weights.bin: a member must be there once, not twice"
    )


def test_missing_members(tmp_path: Path) -> None:
    content = samples.members(samples.document())
    assert check_members(tmp_path, content[:-1]).startswith("the members must be manifest.json")
    assert check_members(tmp_path, content[1:]).startswith(
        "the first members must be manifest.json and manifest.sha256"
    )
    assert check_members(tmp_path, []).startswith("the first members must be manifest.json and manifest.sha256")


def test_unknown_members(tmp_path: Path) -> None:
    content = samples.members(samples.document())
    assert "not manifest.json, manifest.sha256, " in check_members(tmp_path, [*content, ("x.sh", b"rm")])


def test_manifest_that_does_not_match_its_hash(tmp_path: Path) -> None:
    content = samples.members(samples.document())
    text = content[0][1].replace(b"batch size 1", b"batch size 9")
    assert check_members(tmp_path, [(content[0][0], text), *content[1:]]).startswith(
        "manifest.json must have the SHA-256"
    )


def test_manifest_too_large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgemtl.bundle.reader.MAX_MANIFEST", 100)
    assert check_members(tmp_path, samples.members(samples.document())).startswith(
        "manifest.json must be at most 100 bytes, not"
    )


@pytest.mark.parametrize(
    "text",
    [b"", b"{", b"\xff", b"[" * 100_000, b"9" * 10_000, b'{"a": NaN}', b'{"a": 1e999}', b'{"a":1,"a":2}'],
)
def test_signed_nonsense(tmp_path: Path, text: bytes) -> None:
    path = samples.pack(tmp_path / "a.edgemtl", samples.members(text))
    with pytest.raises(ConfigError, match=r"a.edgemtl: manifest.json must be a JSON document; "):
        open_bundle(path)


def test_a_claimed_size_allocates_nothing(good: bytes, tmp_path: Path) -> None:
    data = in_both_headers(good, "weights.bin", 18, struct.pack("<II", 1 << 31, 1 << 31))
    tracemalloc.start()
    try:
        refused(tmp_path / "a", data)
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_random_damage(good: bytes, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    """Cut, repeated, moved and overwritten pieces: typed errors only, or the same file."""
    start = data.draw(st.integers(0, len(good)))
    stop = data.draw(st.integers(start, len(good)))
    piece = data.draw(st.one_of(st.binary(max_size=64), st.just(good[start:stop] * 2), st.just(b"")))
    path = tmp_path_factory.getbasetemp() / "damaged.edgemtl"
    path.write_bytes(changed := good[:start] + piece + good[stop:])
    try:
        open_bundle(path).close()
    except EdgemtlError:
        return
    assert changed == good


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-32", "utf-8-sig"])
def test_a_manifest_in_another_encoding(tmp_path: Path, encoding: str) -> None:
    text = json.dumps(samples.listed(samples.document())).encode(encoding)
    with pytest.raises(ConfigError, match=r"manifest.json must be a JSON document"):
        open_bundle(samples.pack(tmp_path / "a.edgemtl", samples.members(text)))


@pytest.mark.parametrize("dtype", ["int32", "int64"])
@pytest.mark.parametrize("change", [-1, 1])
def test_indices_outside_their_range(tmp_path: Path, dtype: str, change: int) -> None:
    """Integers may tell kernels where to read: each keeps the range that the manifest gives it."""
    values = samples.weights()[64:].view(dtype)
    low, high = int(values.min()), int(values.max())
    entry = {"name": "b", "offset": 64, "bytes": 128, "shape": [values.size], "dtype": dtype, "role": "indices"}
    entry["range"] = [low, high]
    good = samples.changed("weights.1", entry)
    open_bundle(samples.pack(tmp_path / "good.edgemtl", samples.members(good))).close()
    files = samples.sections()
    values[3] = high + 1 if change > 0 else low - 1
    files["weights.bin"] = files["weights.bin"][:64] + values.tobytes()
    message = (
        rf"weights.bin: b must hold integers from {low} to {high}, not from -?\d+ to \d+; compile the bundle again"
    )
    with pytest.raises(ConfigError, match=message):
        open_bundle(samples.pack(tmp_path / "bad.edgemtl", samples.members(good, files)))


@pytest.mark.parametrize("stray", [1, 15, 17, 32])
def test_offsets_that_are_no_tensor_s(tmp_path: Path, stray: int) -> None:
    """Offsets count words of four bytes, and each is where a tensor of the section starts."""
    entry = {"name": "b", "offset": 64, "bytes": 128, "shape": [32], "dtype": "int32", "role": "offsets"}
    entry["range"] = [0, 32]
    document, files = samples.changed("weights.1", entry), samples.sections()
    places = np.array([0, 16] * 16, np.int32)
    files["weights.bin"] = files["weights.bin"][:64] + places.tobytes()
    open_bundle(samples.pack(tmp_path / "good.edgemtl", samples.members(document, files))).close()
    places[7] = stray
    files["weights.bin"] = files["weights.bin"][:64] + places.tobytes()
    message = rf"weights.bin: b must hold the places of its tensors in words, not {stray}; compile the bundle again"
    with pytest.raises(ConfigError, match=message):
        open_bundle(samples.pack(tmp_path / "bad.edgemtl", samples.members(document, files)))


def test_a_copy_in_memory(tmp_path: Path) -> None:
    path = samples.write(tmp_path / "a.edgemtl")
    with open_bundle(path, copy=True) as bundle:
        os.truncate(path, 0)
        assert bundle.weights().tobytes() == samples.weights().tobytes()
        assert bundle.member("program/cpu.so") == samples.LIBRARY


def test_no_memory_to_map_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: object, **options: object) -> None:
        raise OSError(24, "Too many open files")

    path = samples.write(tmp_path / "a.edgemtl")
    monkeypatch.setattr(mmap, "mmap", refuse)
    with pytest.raises(InputError, match=r"a.edgemtl: must be a readable bundle; Too many open files"):
        open_bundle(path)
