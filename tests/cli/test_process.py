"""The program as a process: streams that are closed or full, Ctrl-C, and what is refused at once."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

PROGRAM = (sys.executable, "-m", "edgemtl")
QUICK = "import sys; from edgemtl.cli.app import main; code = main(sys.argv[1:]); print(code, 'tvm' in sys.modules)"


def run(*arguments: object, shell: str = "", **options: object) -> subprocess.CompletedProcess[str]:
    command = " ".join(f"'{word}'" for word in (*PROGRAM, *arguments))
    return subprocess.run(["sh", "-c", f"{command} {shell}"], capture_output=True, text=True, check=False, **options)  # type: ignore[call-overload,no-any-return]


def test_a_full_disk_behind_stdout(bundle_file):
    for more in ((), ("--json",)):
        ended = run("bundle", "info", bundle_file, *more, shell="> /dev/full")
        assert ended.returncode == 1
        assert (
            ended.stderr
            == "error: standard output must accept the result, but writing failed: No space left on device\n"
        )


def test_a_closed_stdout_is_told_before_any_work(tmp_path):
    ended = run("compile", tmp_path / "nothing.onnx", "-o", tmp_path / "a.edgemtl", shell=">&-")
    assert ended.returncode == 1
    assert ended.stderr.startswith("error: standard output must be open, but it is closed; redirect it")


def test_a_reader_that_is_gone_is_no_error_to_speak_of(bundle_file):
    for more in ((), ("--json",)):
        reader, writer = os.pipe()
        os.close(reader)
        with os.fdopen(writer, "w") as gone:
            command = [*PROGRAM, "bundle", "info", str(bundle_file), *more]
            ended = subprocess.run(command, stdout=gone, stderr=subprocess.PIPE, text=True, check=False)
        assert (ended.returncode, ended.stderr) == (1, "")


@pytest.mark.parametrize("where", ["2> /dev/full", "2>&-"])
def test_nobody_need_listen_to_stderr(bundle_file, where):
    ended = run("bundle", "info", bundle_file, "--json", shell=where)
    assert (ended.returncode, ended.stdout[:1]) == (0, "{")
    assert run("inspect", "nothing.onnx", shell=where).returncode == 2


@pytest.mark.parametrize("after", [0.3, 1.0, 4.0])
def test_ctrl_c_is_one_line_and_leaves_nothing(model_file, tmp_path, after):
    """Early and late: while libraries are imported, while it compiles, while it writes."""
    command = [*PROGRAM, "compile", str(model_file), "-o", str(tmp_path / "a.edgemtl"), "--precision", "fp32"]
    started = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    time.sleep(after)
    started.send_signal(signal.SIGINT)
    _, said = started.communicate(timeout=120)
    if started.returncode == 0:
        pytest.skip(f"it was done within {after} s")
    assert started.returncode == 130
    assert said.splitlines()[-1] == "interrupted"
    assert "Traceback" not in said
    assert not list(tmp_path.iterdir())


def test_ctrl_c_is_a_document_too(model_file, tmp_path):
    command = [*PROGRAM, "compile", str(model_file), "-o", str(tmp_path / "a.edgemtl"), "--json"]
    started = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    time.sleep(1.5)
    started.send_signal(signal.SIGINT)
    printed, said = started.communicate(timeout=120)
    if started.returncode == 0:
        pytest.skip("it was done before")
    assert (started.returncode, said.splitlines()[-1]) == (130, "interrupted")
    document = {"kind": "interrupted", "message": "interrupted", "exit_code": 130}
    assert json.loads(printed) == {"schema_version": 1, "error": document}


def quick(*arguments: object, cwd: Path) -> tuple[str, list[str]]:
    """What a command says, and its exit code and whether it has loaded the compiler."""
    command = [sys.executable, "-c", QUICK, *map(str, arguments)]
    ended = subprocess.run(command, capture_output=True, text=True, cwd=cwd, check=True)
    return ended.stderr, ended.stdout.split()


def test_places_and_options_are_checked_before_the_compiler_is_loaded(model_file, bundle_file, tmp_path):
    np.save(tmp_path / "a.npy", np.zeros(3))
    (tmp_path / "file").write_text("mine")
    images = tmp_path / "images"
    images.mkdir()
    integer = ("--precision", "int8", "--parameters", "p.json")
    exported = ("--preset", "m3vit_tiny", "--seed", "0", "-o", "nowhere/m.onnx")
    for code, text, *arguments in [
        (2, "the folder of -o nowhere/a.edgemtl must exist", "compile", model_file, "-o", "nowhere/a.edgemtl"),
        (2, "-o must not overwrite what is read", "compile", model_file, "-o", model_file),
        (
            2,
            "MODEL.onnx must be an ONNX model, but there is no file nothing.onnx",
            "compile",
            "nothing.onnx",
            "-o",
            "a.edgemtl",
        ),
        (2, "--target must be one of cpu", "compile", model_file, "-o", "a.edgemtl", "--target", "z80"),
        (
            2,
            "--calibration must be a folder of images, but",
            "quantize",
            model_file,
            "-o",
            "a.onnx",
            "--calibration",
            images,
        ),
        (
            2,
            "--parameters must be a file of integer parameters, which `edgemtl quantize` writes, but",
            "check",
            model_file,
            *integer,
        ),
        (2, "--rename must be OLD=NEW, not 'a'", "inspect", model_file, "--rename", "a"),
        (2, "--rename must give OLD=NEW once per name", "inspect", model_file, "--rename", "a=b", "--rename", "a=c"),
        (2, "must be a folder, and file is a file", "run", bundle_file, "--input", "a.npy", "-o", "file"),
        (2, "must be a folder, and file is a file", "profile", bundle_file, "--input", "a.npy", "-o", "file"),
        (2, "the folder of -o nowhere/m.onnx must exist", "export", *exported),
    ]:
        said, result = quick(*arguments, cwd=tmp_path)
        assert text in said, said
        assert result == [str(code), "False"]
    assert (tmp_path / "file").read_text() == "mine"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.npy", "file", "images"]
