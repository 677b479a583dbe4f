"""Streams as text, and vectors: whole without the bundle, since the simulator needs their files alone."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from edgemtl.cli.app import main
from edgemtl.hw.encoding import decode_stream
from edgemtl.hw.isa import LINE_BYTES
from edgemtl.hw.sim.functional import Windows, execute
from edgemtl.hw.spec import read_spec
from tests.cli.test_errors import assert_fails
from tests.cli.test_verbs import run_json
from tests.support.boards import export, needs_linker

pytestmark = needs_linker


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    model = export(tmp_path_factory.mktemp("model"))
    path, images = model.parent / "board.edgemtl", model.parent / "images"
    how = ["--target", "zcu104", "--precision", "int8", "--calibration", str(images), "--min-sqnr", "-200"]
    assert main(["-q", "compile", str(model), *how, "-o", str(path)]) == 0
    return path


def test_vectors_run_without_the_bundle(bundle: Path, capsys: pytest.CaptureFixture[str], in_folder: Path) -> None:
    files = run_json(capsys, "export-vectors", bundle, "-o", "vectors", "--task", "depth")["files"]
    folder = Path("vectors")
    assert sorted(map(Path, files)) == sorted(folder.iterdir())
    document, spec = json.loads((folder / "vectors.json").read_text()), read_spec("zcu104")
    assert document["engine"]["array_rows"] == spec.engine.array_rows
    (segment,) = document["segments"]
    stream, image = (bytearray((folder / segment[name]).read_bytes()) for name in ("stream", "input"))
    expected = np.frombuffer((folder / segment["output"]).read_bytes(), np.uint8)
    sizes = segment["windows"]
    assert (len(image), len(expected)) == (sizes["input"], sizes["output"])
    parameters = np.frombuffer((folder / document["parameters"]).read_bytes(), np.uint8)
    output, scratch = (np.zeros(sizes[name], np.uint8) for name in ("output", "scratch"))
    execute(bytes(stream), spec, Windows(parameters, np.frombuffer(image, np.uint8), output, scratch))
    for rows in segment["output_rows"]:
        first = rows["line"] * LINE_BYTES
        actual, wanted = (
            each[first : first + rows["rows"] * rows["pitch"]].reshape(rows["rows"], -1) for each in (output, expected)
        )
        width = rows["width"] * {"int8": 1, "uint8": 1, "int16": 2}[rows["dtype"]]
        np.testing.assert_array_equal(actual[:, :width], wanted[:, :width])
        assert actual[:, :width].any()


def test_listing_has_every_instruction(bundle: Path, capsys: pytest.CaptureFixture[str], in_folder: Path) -> None:
    segments = run_json(capsys, "disassemble", bundle)["segments"]
    assert [segment["task"] for segment in segments] == ["semseg", "depth"]
    assert main(["-q", "export-vectors", str(bundle), "-o", "vectors", "--task", "semseg"]) == 0
    stream = decode_stream(Path("vectors/semseg.0.stream.bin").read_bytes(), read_spec("zcu104").engine)
    assert [line.split()[0] for line in segments[0]["lines"]] == [i.name for i in stream.instructions]
    assert Path("vectors/semseg.0.txt").read_text().splitlines() == segments[0]["lines"]
    capsys.readouterr()
    assert main(["disassemble", str(bundle), "--task", "depth"]) == 0
    printed = capsys.readouterr().out
    assert printed.startswith("depth, segment 0\n")
    assert all(line in printed for line in segments[1]["lines"])


def test_what_is_refused(bundle: Path, bundle_file: Path, capsys: pytest.CaptureFixture[str], in_folder: Path) -> None:
    text = "the bundle must be a board's, with instruction streams; compile it with --target zcu104"
    assert_fails(capsys, 2, text, "disassemble", bundle_file)
    assert_fails(capsys, 2, text, "export-vectors", bundle_file, "-o", "vectors")
    assert not Path("vectors").exists()
    Path("vectors").mkdir()
    Path("vectors/vectors.json").touch()
    assert_fails(capsys, 2, "--force", "export-vectors", bundle, "-o", "vectors")
