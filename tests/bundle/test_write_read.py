"""What is written is what is read, byte for byte the same each time, by other zip programs too."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from edgemtl.bundle import Section, open_bundle, read_manifest, write_bundle
from edgemtl.errors import ConfigError, InputError, IntegrityError, UsageError
from tests.bundle import samples


def test_manifest_survives(tmp_path: Path) -> None:
    with open_bundle(samples.write(tmp_path / "a.edgemtl")) as bundle:
        found = bundle.manifest
        assert replace(found, sections=()) == samples.manifest()
        assert [s.name for s in found.sections] == list(samples.SECTIONS)
        assert json.loads(json.dumps(found.to_json())) == samples.listed(samples.document())
        assert found.task("depth").channels == 1


def test_the_manifest_alone(tmp_path: Path) -> None:
    path = samples.write(tmp_path / "a.edgemtl")
    with open_bundle(path) as bundle:
        assert read_manifest(path) == bundle.manifest
    data = path.read_bytes()
    path.write_bytes(
        data.replace(b'"name": "depth"', b'"name": "depht"', 1).replace(b'"name":"depth"', b'"name":"depht"', 1)
    )
    with pytest.raises(IntegrityError, match=r"a\.edgemtl: .*manifest\.json"):
        read_manifest(path)
    with pytest.raises(InputError, match=r"nothing\.edgemtl: must be a readable bundle"):
        read_manifest(tmp_path / "nothing.edgemtl")


def test_sections_survive(tmp_path: Path) -> None:
    with open_bundle(samples.write(tmp_path / "a.edgemtl")) as bundle:
        assert {name: bytes(bundle.section(name)) for name in samples.SECTIONS} == samples.sections()
        assert bundle.member("program/cpu.so") == samples.LIBRARY
        np.testing.assert_array_equal(bundle.weights(), samples.weights())
        golden = bundle.golden("semseg")
        np.testing.assert_array_equal(golden.inputs["image"], samples.image())
        np.testing.assert_array_equal(golden.output, samples.output("semseg").reshape(-1))
        assert (golden.output_stride, golden.tolerance) == (1, 1e-4)


def test_same_content_gives_same_bytes(tmp_path: Path) -> None:
    first, second = samples.write(tmp_path / "a.edgemtl"), tmp_path / "b.edgemtl"
    shuffled = dict(reversed(samples.sections().items()))
    size = write_bundle(second, samples.manifest(), {k: memoryview(v) for k, v in shuffled.items()})
    assert first.read_bytes() == second.read_bytes()
    assert size == second.stat().st_size


def test_other_zip_programs_read_it(tmp_path: Path) -> None:
    with zipfile.ZipFile(samples.write(tmp_path / "a.edgemtl")) as file:
        assert file.testzip() is None
        assert [info.filename for info in file.infolist()] == [
            "manifest.json",
            "manifest.sha256",
            *samples.SECTIONS,
        ]
        assert {info.date_time for info in file.infolist()} == {(1980, 1, 1, 0, 0, 0)}
        assert {info.compress_type for info in file.infolist()} == {zipfile.ZIP_STORED}
        assert file.read("weights.bin") == samples.sections()["weights.bin"]


def test_members_are_aligned(tmp_path: Path) -> None:
    path = samples.write(tmp_path / "a.edgemtl")
    data = path.read_bytes()
    for name, content in samples.sections().items():
        with zipfile.ZipFile(path) as file:
            header = file.getinfo(name).header_offset
        lengths = (
            int.from_bytes(data[header + 26 : header + 28], "little"),
            int.from_bytes(data[header + 28 : header + 30], "little"),
        )
        start = header + 30 + sum(lengths)
        assert data[start : start + len(content)] == content
        assert start % (4096 if name in ("weights.bin", "program/cpu.so") else 64) == 0
    with open_bundle(path) as bundle:
        assert bundle.weights().ctypes.data % 4096 == 0


def test_views_are_writable_and_private(tmp_path: Path) -> None:
    path = samples.write(tmp_path / "a.edgemtl")
    before = path.read_bytes()
    with open_bundle(path) as bundle:
        view = bundle.weights()
        view[:] = 7
        assert bytes(bundle.section("weights.bin")) == bytes([7]) * 192
    assert path.read_bytes() == before
    assert view[0] == 7, "a view outlives its bundle"


def test_library_is_hashed_again_after_the_copy(tmp_path: Path) -> None:
    with open_bundle(samples.write(tmp_path / "a.edgemtl")) as bundle:
        bundle.section("program/cpu.so")[5] ^= 1
        with pytest.raises(IntegrityError, match=r"program/cpu.so must have the SHA-256 [0-9a-f]{64}, not"):
            bundle.member("program/cpu.so")


def test_use_after_close(tmp_path: Path) -> None:
    bundle = open_bundle(samples.write(tmp_path / "a.edgemtl"))
    bundle.close()
    bundle.close()
    with pytest.raises(UsageError, match=r"the bundle must be open and hold 'weights.bin'"):
        bundle.weights()


def test_unknown_names(tmp_path: Path) -> None:
    with open_bundle(samples.write(tmp_path / "a.edgemtl")) as bundle:
        with pytest.raises(UsageError, match="must be open and hold 'nothing'"):
            bundle.section("nothing")
        with pytest.raises(UsageError, match="task must be one of semseg, depth, not 'edges'"):
            bundle.golden("edges")


def test_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="must be a readable bundle; No such file"):
        open_bundle(tmp_path / "none.edgemtl")
    with pytest.raises(InputError, match="must be a readable bundle; embedded null"):
        open_bundle("a\0b")


def test_file_that_is_not_a_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", tmp_path):
        with pytest.raises(IntegrityError, match="must be a regular file that is not empty"):
            open_bundle(path)
    (tmp_path / "empty").touch()
    with pytest.raises(IntegrityError, match="must be a regular file that is not empty"):
        open_bundle(tmp_path / "empty")


def test_sections_must_be_the_expected_ones(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"the sections must be golden/depth/input_0.npy, .*, not weights.bin$"):
        write_bundle(tmp_path / "a.edgemtl", samples.manifest(), {"weights.bin": b""})


def test_section_too_large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgemtl.bundle.writer.MAX_BYTES", 200)
    with pytest.raises(ConfigError, match=r"golden/depth/input_0.npy must be at most 200 bytes, not 416"):
        samples.write(tmp_path / "a.edgemtl")


def test_failed_write_leaves_the_old_file(tmp_path: Path) -> None:
    path = samples.write(tmp_path / "a.edgemtl")
    before = path.read_bytes()
    wrong = samples.sections() | {"weights.bin": b"short"}
    with pytest.raises(ConfigError, match=r"sections: weights.bin must be 192 bytes, not 5 bytes"):
        write_bundle(path, samples.manifest(), wrong)
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["a.edgemtl"]


def test_failed_verification_leaves_no_file(tmp_path: Path) -> None:
    files = samples.sections()
    name = "golden/depth/output.npy"
    wrong = files | {name: files[name].replace(b"<f4", b">f4")}
    with pytest.raises(ConfigError, match=f"{name} must be a float32 .npy file of shape"):
        write_bundle(tmp_path / "a.edgemtl", samples.manifest(), wrong)
    assert os.listdir(tmp_path) == []


def test_manifest_is_checked_when_written(tmp_path: Path) -> None:
    wrong = replace(samples.manifest(), schema_version=0)
    with pytest.raises(ConfigError, match="schema_version must be 3, not 0; compile this older bundle again"):
        write_bundle(tmp_path / "a.edgemtl", wrong, samples.sections())


def test_stale_sections_are_replaced(tmp_path: Path) -> None:
    stale = replace(samples.manifest(), sections=(Section("weights.bin", 1, "0" * 64),))
    write_bundle(tmp_path / "a.edgemtl", stale, samples.sections())
    with open_bundle(tmp_path / "a.edgemtl") as bundle:
        found = {section.name: section.bytes for section in bundle.manifest.sections}
    assert found == {name: len(data) for name, data in samples.sections().items()}


def test_needs_standard_library_and_numpy_only() -> None:
    code = (
        "import sys, edgemtl.bundle; "
        "found = {m.split('.')[0] for m in sys.modules} - set(sys.stdlib_module_names); "
        "print(*sorted(m for m in found if not m.startswith(('_', 'numpy', 'edgemtl'))))"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    allowed = {"charset_normalizer", "cython_runtime", "sitecustomize", "mypyc"}
    assert set(result.stdout.split()) <= allowed
