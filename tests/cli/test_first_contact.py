"""What a person meets first: help with examples, mistakes that cost a moment, failures as JSON, shell completion."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from edgemtl.cli.app import main
from edgemtl.cli.console import VERBOSITY
from edgemtl.cli.examples import EXAMPLES
from edgemtl.cli.verbs import make_app
from tests.cli.test_errors import assert_fails
from tests.cli.test_verbs import run_json

HEAVY = ("torch", "tvm", "onnxruntime", "onnx", "tvm_ffi", "onnx_ir", "sympy")
QUICK = (
    "import sys; from edgemtl.cli.app import main; code = main(sys.argv[1:]); "
    "print(code, *sorted({name.split('.')[0] for name in sys.modules}), file=sys.stderr)"
)


def heavy_after(*arguments: object, cwd: Path) -> tuple[int, list[str]]:
    """The exit code of a command, and which of the heavy libraries it has imported."""
    command = [sys.executable, "-c", QUICK, *map(str, arguments)]
    ended = subprocess.run(command, capture_output=True, text=True, cwd=cwd, check=True)
    code, *modules = ended.stderr.splitlines()[-1].split()
    return int(code), [name for name in HEAVY if name in modules]


@pytest.fixture(scope="module")
def place(model_file: Path, bundle_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a model, a bundle, images and a text."""
    folder = tmp_path_factory.mktemp("place")
    shutil.copy(model_file, folder / "model.onnx")
    shutil.copy(bundle_file, folder / "app.edgemtl")
    (folder / "images").mkdir()
    (folder / "empty").mkdir()
    Image.fromarray(np.full((16, 24, 3), 99, np.uint8)).save(folder / "images/a.png")
    (folder / "note.txt").write_text("hello")
    return folder


COMMANDS = [
    *((0, f"{verb} --help") for verb in EXAMPLES),
    *((0, words) for words in ("--help", "--version", "-h", "targets list", "targets show zcu104")),
    *((0, words) for words in ("bundle info app.edgemtl", "bundle verify app.edgemtl", "export --print-config demo")),
    *((2, words) for words in ("compil model.onnx", "compile", "compile --tagret cpu", "bundle", "targets lst")),
    (2, "compile model.onnx -o a.edgemtl --threads many"),
    (2, "compile model.onnx -o a.edgemtl --threads 0"),
    (2, "compile model.onnx -o a.edgemtl --seed -1"),
    (2, "compile model.onnx -o a.edgemtl --target zuc104"),
    (2, "compile model.onnx -o a.edgemtl --target mine.toml"),
    (2, "compile model.onnx -o a.edgemtl --std 0,1,1 --mean 0,0,0"),
    (2, "compile model.onnx -o a.edgemtl --std 1,1,1 --mean nan,0,0"),
    (2, "compile model.onnx -o a.edgemtl --memory-budget ''"),
    (2, "compile model.onnx -o a.edgemtl --calibration empty --pathway calibrated"),
    (2, "compile modle.onnx -o a.edgemtl"),
    (2, "compile images -o a.edgemtl"),
    (2, "compile app.edgemtl -o a.edgemtl"),
    (2, "compile note.txt -o a.edgemtl"),
    (2, "quantize model.onnx --calibration images -o a.bin"),
    (2, "inspect app.edgemtl"),
    (2, "merge model.onnx -o all.onnx"),
    (2, "merge model.onnx app.edgemtl -o all.onnx"),
    (2, "merge model.onnx --task b=model.onnx --deltas 5 -o all.onnx"),
    (2, "check images/a.png"),
    (2, "export -o a.onnx --seed 0 --preset dmo"),
    (2, "export -o a.onnx --seed 0 --preset demo --task dept"),
    (2, "export -o a.onnx --checkpoint model.onnx"),
    (2, "export -o a.onnx --seed 0 --preset demo --resize-filter area"),
    (2, "compile model.onnx -o a.edgemtl --resize-filter area"),
    (2, "export -o a.onnx --checkpoint images"),
    (2, "compare onnx fp32 --model app.edgemtl --task depth --input images"),
    (2, "compare onnx fp23 --model model.onnx --task depth --input images"),
    (3, "compare onnx fp32 --model model.onnx --task depth --input images --target zcu104"),
    (2, "run app.edgemtl --input images -o out --task dept"),
    (2, "run app.edgemtl --input note.txt -o out"),
    (2, "run app.edgemtl --input empty -o out"),
    (2, "run app.edgemtl --input images -o note.txt"),
    (2, "run model.onnx --input images -o out"),
    (3, "run app.edgemtl --input images -o out --device sim"),
    (2, "run app.edgemtl --input images -o out --device cup"),
    (2, "run app.edgemtl --input images -o out --keys no.pub"),
    (2, "run app.edgemtl --input images -o out --min-version 1"),
    (2, "bundle verify app.edgemtl --key no.pub"),
    (2, "bundle sign app.edgemtl --key no --counter 1 -o signed.edgemtl"),
    (2, "bundle sign model.onnx --key note.txt --counter 1 -o signed.edgemtl"),
    (5, "selftest note.txt"),
    (2, "bench app.edgemtl --runs 0"),
    (2, "bench app.edgemtl --seed -1"),
    (2, "eval app.edgemtl --data empty"),
    (2, "profile app.edgemtl --input images -o out --task ''"),
]


@pytest.mark.parametrize(("code", "words"), COMMANDS, ids=[words for _, words in COMMANDS])
def test_what_a_command_does_not_need_is_not_imported(code: int, words: str, place: Path) -> None:
    before = sorted(place.rglob("*"))
    assert heavy_after(*shlex.split(words), cwd=place) == (code, [])
    assert sorted(place.rglob("*")) == before


@pytest.mark.parametrize("words", ["compile model.onnx -o a.edgemtl --task dept", "inspect model.onnx --rename a=b"])
def test_a_task_is_looked_up_with_onnx_alone(words: str, place: Path) -> None:
    assert heavy_after(*words.split(), cwd=place) == (2, ["onnx"])


@pytest.mark.parametrize("words", ["doctor", "selftest app.edgemtl", "run app.edgemtl --input images -o {out}"])
def test_a_device_needs_tvm_ffi_alone(words: str, place: Path, tmp_path: Path) -> None:
    code, heavy = heavy_after(*words.format(out=tmp_path).split(), cwd=place)
    assert (code, heavy) == (0, ["tvm_ffi"])


def test_inspecting_needs_no_compiler(place: Path) -> None:
    code, heavy = heavy_after("inspect", "model.onnx", cwd=place)
    assert code == 0
    assert not {"torch", "tvm", "tvm_ffi"} & set(heavy)


def commands_of(command: Any, path: tuple[str, ...] = ()) -> dict[str, Any]:
    """Every verb of the program by its words."""
    inner = getattr(command, "commands", None)
    if not inner:
        return {" ".join(path): command}
    return {name: found for word, part in inner.items() for name, found in commands_of(part, (*path, word)).items()}


def all_commands() -> dict[str, Any]:
    from typer.main import get_command

    return commands_of(get_command(make_app()))


def test_every_verb_has_examples_and_each_parses() -> None:
    commands = all_commands()
    assert set(commands) == set(EXAMPLES)
    for path, lines in EXAMPLES.items():
        for line in lines:
            assert_parses(commands, path, line)


def assert_parses(commands: dict[str, Any], path: str, line: str) -> None:
    program, *words = shlex.split(line.partition(" > ")[0])
    verb = path.split()
    assert (program, words[: len(verb)]) == ("edgemtl", verb)
    commands[path].make_context(path, words[len(verb) :])


def test_every_command_of_the_documents_parses() -> None:
    root = Path(__file__).parents[2]
    text = "\n".join(path.read_text() for path in (root / "README.md", *(root / "docs").glob("*.md")))
    whole = text.replace("\\\n", " ").splitlines()
    lines = [line.partition(" #")[0].strip() for line in whole if line.startswith("edgemtl ")]
    assert len(lines) >= 20
    commands = all_commands()
    for line in lines:
        path = next(name for name in sorted(commands, reverse=True) if f"{line} ".startswith(f"edgemtl {name} "))
        assert_parses(commands, path, line)


@pytest.mark.parametrize("verb", EXAMPLES)
def test_help_shows_the_examples(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*verb.split(), "--help"]) == 0
    shown = capsys.readouterr().out
    for line in EXAMPLES[verb]:
        assert f"  {line}\n" in shown


def test_labels_of_eval_are_explained(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["eval", "--help"]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "DATA/images/NAME.png" in shown
    assert "class ids (segmentation) or a mask of 0 and 255 (edges, saliency)" in shown


@pytest.mark.parametrize(
    ("words", "level", "debug"),
    [
        ("bundle info app.edgemtl", 1, False),
        ("-q bundle info app.edgemtl", 0, False),
        ("bundle -q info app.edgemtl", 0, False),
        ("bundle info app.edgemtl -q", 0, False),
        ("bundle info -v app.edgemtl", 2, False),
        ("-v bundle info -v app.edgemtl", 3, False),
        ("bundle info app.edgemtl -vv --debug", 3, True),
        ("--debug bundle info app.edgemtl", 1, True),
    ],
)
def test_how_much_is_said_is_said_anywhere(
    words: str, level: int, debug: bool, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(place)
    assert main(words.split()) == 0
    assert (VERBOSITY.level, VERBOSITY.debug) == (level, debug)


def test_debug_behind_the_verb_shows_where(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from edgemtl.errors import UsageError

    monkeypatch.chdir(place)
    with pytest.raises(UsageError, match="there is no file no"):
        main(["inspect", "no.onnx", "--debug"])


@pytest.mark.parametrize(
    ("words", "kind", "code", "text"),
    [
        ("compil --json", "usage", 2, "'compil' is not a verb of edgemtl; did you mean 'compile'?"),
        ("compile --json", "usage", 2, "MODEL.onnx must be given; see `edgemtl compile --help`"),
        ("bench app.edgemtl --json --runs 0", "usage", 2, "--runs must be at least 1; see `edgemtl bench --help`"),
        ("bench app.edgemtl --json --runs x", "usage", 2, "--runs must be a whole number; see `edgemtl bench --help`"),
        ("selftest note.txt --json", "integrity", 5, "note.txt: the file must end with a zip directory;"),
        ("selftest app.edgemtl --device sim --json", "unsupported", 3, "--device sim: app.edgemtl is compiled for a"),
        ("compile model.onnx -o x --memory-budget 1KiB --json", "budget", 4, "the budget is 1024 bytes"),
    ],
)
def test_failures_are_documents(
    words: str,
    kind: str,
    code: int,
    text: str,
    place: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(place)
    assert main(["-q", *words.split()]) == code
    captured = capsys.readouterr()
    document = json.loads(captured.out)
    assert document["schema_version"] == 1
    assert (document["error"]["kind"], document["error"]["exit_code"]) == (kind, code)
    assert text in document["error"]["message"]
    assert captured.err == f"error: {document['error']['message']}\n"


def test_files_in_the_wrong_place_are_told(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(place)
    for text, *words in [
        ("but model.onnx is an ONNX model; compile it first: edgemtl compile model.onnx", "selftest", "model.onnx"),
        ("but app.edgemtl is a bundle; name the .onnx file that it was compiled from", "inspect", "app.edgemtl"),
        ("but images/a.png is a picture; give it to --input", "bundle", "info", "images/a.png"),
        ("there is no file app.edgmtl; did you mean 'app.edgemtl'?", "bench", "app.edgmtl"),
        ("but images is a folder; name a file in it", "check", "images"),
        ("but note.txt is not one; name a file that", "check", "note.txt"),
        ("there is no folder imges; did you mean 'images'?", "eval", "app.edgemtl", "--data", "imges"),
        ("but note.txt is a file; name its folder", "eval", "app.edgemtl", "--data", "note.txt"),
        ("there is no folder nowhere either; check the path", "inspect", "nowhere/model.onnx"),
        (
            "--checkpoint must be a folder with a .pth file for each rank, but images has none; name the file itself",
            *("export", "-o", "x.onnx", "--checkpoint", "images"),
        ),
        ("but note.txt ends in none of .safetensors, .pth", "export", "-o", "x.onnx", "--checkpoint", "note.txt"),
        ("--output must be given: the ONNX file to write", "export", "--seed", "0", "--preset", "demo"),
        ("--print-config must be one of demo, ", "export", "--print-config", "dmeo"),
    ]:
        assert_fails(capsys, 2, text, *words)


def test_an_array_is_no_bundle_and_a_checkpoint_no_model(in_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import torch

    np.save("a.npy", np.zeros(3))
    torch.save({"w": torch.zeros(3)}, "m.pth")
    assert_fails(capsys, 2, "but a.npy is an array; give it to --input", "selftest", "a.npy")
    assert_fails(capsys, 2, "but m.pth is a checkpoint; export it first: edgemtl export", "inspect", "m.pth")


def test_results_are_not_overwritten_unasked(bundle_file: Path, in_folder: Path, capsys: pytest.CaptureFixture) -> None:
    np.save("a.npy", np.zeros((1, 3, 16, 24), np.float32))
    run = ("run", bundle_file, "--input", "a.npy", "-o", "out", "--task", "depth")
    profile = ("profile", bundle_file, "--input", "a.npy", "-o", "report", "--task", "depth", "--runs", "1")
    for words, file in ((run, "out/a_depth.npy"), (profile, "report/report.html")):
        run_json(capsys, *words)
        before = Path(file).stat().st_mtime_ns
        text = f"-o must not overwrite {file}, which is there already; name another, or add --force"
        assert_fails(capsys, 2, text, *words)
        assert Path(file).stat().st_mtime_ns == before
        run_json(capsys, *words, "--force")
        assert Path(file).stat().st_mtime_ns > before


def test_a_report_of_a_comparison_is_not_overwritten(
    model_file: Path, in_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    np.save("a.npy", np.zeros((1, 3, 16, 24), np.float32))
    Path("page.html").write_text("mine")
    words = ("compare", "onnx", "fp32", "--model", model_file, "--task", "depth", "--input", "a.npy")
    assert_fails(capsys, 2, "--report must not overwrite page.html", *words, "--report", "page.html")
    assert Path("page.html").read_text() == "mine"


def test_a_whole_config_is_printed_and_defaults_are_left_out(
    in_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["export", "--print-config", "demo"]) == 0
    whole = json.loads(capsys.readouterr().out)
    assert (whole["image"], whole["experts"]) == ([96, 128], 8)
    tasks = [{"name": "depth", "channels": 1, "kind": "depth"}]
    short = {"image": [16, 24], "patch": 8, "dim": 24, "depth": 2, "heads": 3, "mlp_hidden": 40, "tasks": tasks}
    Path("c.json").write_text(json.dumps(short))
    assert main(["-q", "export", "--config", "c.json", "--seed", "0", "-o", "m.onnx"]) == 0
    del short["heads"]
    Path("c.json").write_text(json.dumps(short))
    text = "--config c.json: model config must have the fields image, patch, dim, depth, heads, mlp_hidden, tasks, and"
    assert_fails(capsys, 1, text, "export", "--config", "c.json", "--seed", "0", "-o", "x.onnx")
    Path("c.json").write_text(json.dumps({**short, "heads": 3, "expert": 4}))
    text = "model config must not have a field 'expert', which there is not; did you mean 'experts'?"
    assert_fails(capsys, 1, text, "export", "--config", "c.json", "--seed", "0", "-o", "x.onnx")


SHELLS = {
    "bash": ("complete_bash", {"COMP_WORDS": "edgemtl comp", "COMP_CWORD": "1"}, ["compile", "compare"]),
    "zsh": ("complete_zsh", {"_TYPER_COMPLETE_ARGS": "edgemtl bundle "}, ["info", "verify", "keygen", "sign"]),
    "fish": (
        "complete_fish",
        {"_TYPER_COMPLETE_ARGS": "edgemtl run --dev", "_TYPER_COMPLETE_FISH_ACTION": "get-args"},
        ["--device"],
    ),
}


@pytest.mark.parametrize("shell", SHELLS)
def test_shells_are_given_verbs_and_options(shell: str) -> None:
    instruction, variables, names = SHELLS[shell]
    environment = {**os.environ, **variables, "_EDGEMTL_COMPLETE": instruction}
    command = [sys.executable, "-m", "edgemtl"]
    ended = subprocess.run(command, capture_output=True, text=True, env=environment, check=True)
    assert all(name in ended.stdout for name in names)
    assert ended.stderr == ""


def test_completion_is_installed_for_the_shell(tmp_path: Path) -> None:
    environment = {**os.environ, "HOME": str(tmp_path), "SHELL": "/bin/bash"}
    command = f"{sys.executable} -m edgemtl --install-completion; exit $?"
    ended = subprocess.run(["bash", "-c", command], capture_output=True, text=True, env=environment, check=False)
    assert ended.returncode == 0, ended.stderr
    script = tmp_path / ".bash_completions" / "edgemtl.sh"
    assert "_EDGEMTL_COMPLETE" in script.read_text()
    assert str(script) in (tmp_path / ".bashrc").read_text()
