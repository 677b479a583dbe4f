"""The runner without Python gives the same bits as a session."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edgemtl.bundle import extract_program, open_bundle
from tests.runtime import native
from tests.runtime.programs import WEIGHTS, expected, picture


@pytest.fixture(scope="module")
def runner(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    return [str(native.build(tmp_path_factory.mktemp("build") / "edgemtl_run"))]


def test_extracted_files(bundle: Path, tmp_path: Path) -> None:
    with open_bundle(bundle) as opened:
        extract_program(opened, tmp_path / "a" / "b")
        assert (tmp_path / "a" / "b" / "cpu.so").read_bytes() == opened.member("program/cpu.so")
        assert (tmp_path / "a" / "b" / "weights.bin").read_bytes() == opened.weights().tobytes()
    assert (tmp_path / "a" / "b" / "program.txt").read_text().splitlines() == [
        "arena 18432",
        "prepared 192",
        "weights 256",
        "inputs 6144",
        "prefix 2",
        "input 0 6144 <f4 image",
        *(f"task {task} run_{task} prepare_{task} 4 <f4 4 1 3 16 32 1 0" for task in WEIGHTS),
    ]


def test_same_bits(runner: list[str], bundle: Path, tmp_path: Path) -> None:
    program = native.extract(bundle, tmp_path / "program")
    for seed, tasks in enumerate((["depth"], ["normals", "semseg"], list(WEIGHTS))):
        found = native.run(runner, program, picture(seed), tmp_path, tasks, repeat=seed + 1)
        for task in tasks:
            np.testing.assert_array_equal(found[task], expected(task, picture(seed)))


def test_refusals(runner: list[str], bundle: Path, tmp_path: Path) -> None:
    program = native.extract(bundle, tmp_path / "program")
    with pytest.raises(RuntimeError, match=r"there is no task 'edges' in program.txt"):
        native.run(runner, program, picture(0), tmp_path, ["edges"])
    for wrong in (picture(0)[:, :2], picture(0).astype(np.float64), np.asfortranarray(picture(0))):
        with pytest.raises(
            RuntimeError, match=r"must be an .npy file of type <f4 with 6144 bytes of data, for input image"
        ):
            native.run(runner, program, wrong, tmp_path, ["depth"])
    (program / "weights.bin").write_bytes(b"short")
    with pytest.raises(RuntimeError, match=r"weights.bin must be a file of 256 bytes; extract the bundle again"):
        native.run(runner, program, picture(0), tmp_path, ["depth"])
    with pytest.raises(RuntimeError, match=r"program.txt must be there; extract the bundle again"):
        native.run(runner, tmp_path, picture(0), tmp_path, ["depth"])
    with pytest.raises(RuntimeError, match="usage: "):
        native.run(runner, program, picture(0), tmp_path, [])
