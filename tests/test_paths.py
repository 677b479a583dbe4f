"""Where results go: what is refused before any work, and what a failed or killed write leaves."""

import os
import signal
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgemtl.errors import ModelError, OutputError, UsageError
from edgemtl.paths import (
    check_apart,
    check_model_file,
    check_output_file,
    check_output_folder,
    folder_aside,
    output_folder,
    put_in_place,
    write_aside,
)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "model.onnx"
    path.write_text("a model")
    return path


def test_a_new_name_in_a_folder_is_fine(tmp_path, model):
    check_output_file("-o", tmp_path / "app.edgemtl", (model, None))
    (tmp_path / "old.edgemtl").write_text("an older one")
    check_output_file("-o", tmp_path / "old.edgemtl", (model,))


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("nowhere/app.edgemtl", "must exist; create it first"),
        (".", "must be the name of a file, and .* is a folder"),
        ("model.onnx/app.edgemtl", "must exist; create it first"),
        ("/dev/null", "must be a file, not the device /dev/null"),
        ("a" * 256, "must be a name for a file, and .* is none: File name too long"),
    ],
)
def test_no_place_for_a_file(tmp_path, model, name, text):
    with pytest.raises(UsageError, match=text):
        check_output_file("-o", tmp_path / name, (model,))


@pytest.mark.parametrize("link", [os.symlink, os.link])
def test_an_output_that_is_an_input_by_another_name(tmp_path, model, link):
    link(model, tmp_path / "other.onnx")
    for output in (model, tmp_path / "other.onnx", tmp_path / "." / "model.onnx"):
        with pytest.raises(UsageError, match=r"must not overwrite what is read: .* is .*model.onnx; name another file"):
            check_output_file("-o", output, (model,))


def test_an_output_that_is_a_file_of_an_input_folder(tmp_path):
    (tmp_path / "images").mkdir()
    image = tmp_path / "images" / "a.npy"
    image.write_text("an image")
    with pytest.raises(UsageError, match=r"must not overwrite what is read: .*a\.npy"):
        check_apart("-o", (image,), (tmp_path / "images",))


def test_no_place_for_a_folder(tmp_path, model):
    check_output_folder("-o", tmp_path / "a" / "b")
    with pytest.raises(UsageError, match=r"must be a folder, and .*model.onnx is a file"):
        check_output_folder("-o", model)
    with pytest.raises(UsageError, match=r"must be a folder, and .*model.onnx above .* is a file"):
        check_output_folder("-o", model / "a")
    with pytest.raises(UsageError, match=r"must be a name for a folder, and .* is none: File name too long"):
        check_output_folder("-o", tmp_path / ("a" * 256))


@pytest.fixture
def closed_folder() -> Iterator[Path]:
    """A folder that others may read, not write; above it they may read as well, which they may not in tmp_path."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        place = Path(folder, "closed")
        place.mkdir(mode=0o555)
        yield place


def test_a_folder_without_permission(closed_folder):
    """Asked by a user who is not root, whom permissions do not bind."""
    code = textwrap.dedent(f"""
        import os, sys
        sys.path.insert(0, {str(Path(__file__).parents[1])!r})
        from pathlib import Path
        from edgemtl.errors import UsageError
        from edgemtl.paths import check_output_file, check_output_folder
        os.chdir({str(closed_folder)!r})
        if not os.geteuid():
            os.setuid(65534)
        for check in (check_output_file, check_output_folder):
            try:
                check("-o", Path("a"))
            except UsageError as error:
                print(error)
    """)
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert said.count("the folder of -o must be one you may write to, and") == 2


def test_a_model_that_is_not_there(tmp_path):
    with pytest.raises(ModelError, match="must be an ONNX file, not a missing one or a folder; check the path"):
        check_model_file(tmp_path)


def test_a_write_is_there_whole_or_not_at_all(tmp_path):
    target = tmp_path / "result"
    with write_aside(target) as aside:
        aside.write_text("first")
        assert not target.exists()
    with pytest.raises(TypeError), write_aside(target) as aside:
        aside.write_text(aside.write_text("half"))  # type: ignore[arg-type]  # a number is no text
    assert [(p.name, p.read_text()) for p in tmp_path.iterdir()] == [("result", "first")]


def test_no_room(tmp_path):
    """The system refuses to let a file grow, as it does on a full disk."""
    code = textwrap.dedent(f"""
        import resource, signal, sys
        sys.path.insert(0, {str(Path(__file__).parents[1])!r})
        from pathlib import Path
        from edgemtl.errors import OutputError
        from edgemtl.paths import write_aside
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
        try:
            with write_aside(Path("result")) as aside:
                aside.write_bytes(bytes(2000))
        except OutputError as error:
            print(error)
    """)
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=tmp_path).stdout
    assert said == "result must be written, and that failed: File too large; what was there is left alone\n"
    assert not list(tmp_path.iterdir())


def _writer(folder: Path, kind: str) -> subprocess.Popen[str]:
    """A process that has begun to write, and waits."""
    code = textwrap.dedent(f"""
        import sys
        sys.path.insert(0, {str(Path(__file__).parents[1])!r})
        from pathlib import Path
        from edgemtl.paths import folder_aside, write_aside
        place = write_aside(Path("theirs")) if {kind!r} == "file" else folder_aside(Path("."), Path("theirs"))
        with place as aside:
            (aside if {kind!r} == "file" else aside / "part").write_text("theirs")
            print("begun", flush=True)
            sys.stdin.read()
    """)
    writer = subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=folder
    )
    assert writer.stdout is not None
    assert writer.stdout.readline() == "begun\n"
    return writer


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_the_next_writer_removes_what_killed_ones_left_and_nothing_else(tmp_path, kind):
    foreign = tmp_path / ".edgemtl-notes.part"
    foreign.write_text("mine")
    dead, alive = _writer(tmp_path, kind), _writer(tmp_path, kind)
    assert len(list(tmp_path.iterdir())) == 3
    dead.send_signal(signal.SIGKILL)
    dead.communicate()
    with write_aside(tmp_path / "ours") as aside:
        aside.write_text("ours")
    assert len(list(tmp_path.iterdir())) == 3  # ours, what is being written, and the foreign file
    alive.communicate("")
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {foreign.name, "ours"} | ({"theirs"} if kind == "file" else set())


@pytest.mark.parametrize("before", [{}, {"a": "old a"}, {"a": "old a", "b": "old b"}])
def test_files_are_put_in_place_together_or_not_at_all(tmp_path, before):
    for name, text in before.items():
        (tmp_path / name).write_text(text)

    def write(*names):
        with folder_aside(tmp_path, tmp_path / "m") as aside:
            for name in "ab":
                (aside / name).write_text(f"new {name}")
            put_in_place(aside, tmp_path, names)

    with pytest.raises(OutputError, match="m must be written, and that failed: No such file"):
        write("a", "b", "missing")
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == before
    write("a", "b")
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"a": "new a", "b": "new b"}


def test_a_folder_made_for_nothing_goes_again(tmp_path):
    with pytest.raises(OutputError, match="must be written, and that failed: No such"), output_folder(tmp_path / "a/b"):
        (tmp_path / "a/b/c/d").write_text("nowhere")
    assert not list(tmp_path.iterdir())
    with output_folder(tmp_path / "a/b"), folder_aside(tmp_path / "a/b", tmp_path / "a/b/c") as aside:
        (aside / "c").write_text("c")
        os.replace(aside / "c", tmp_path / "a/b/c")
    assert [path.name for path in (tmp_path / "a/b").iterdir()] == ["c"]
