"""Mistakes: the message says what must be, what is and what to do, and the exit code says of what kind it is."""

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from PIL import Image

from edgemtl.cli.app import main
from edgemtl.hw import spec


def assert_fails(capsys: pytest.CaptureFixture[str], code: int, text: str, *arguments: object) -> None:
    assert main(["-q", *map(str, arguments)]) == code
    captured = capsys.readouterr()
    assert text in " ".join(captured.err.split()), captured.err
    assert "Traceback" not in captured.err


def test_unknown_verb(capsys):
    assert_fails(capsys, 2, "'frobnicate' is not a verb of edgemtl; the verbs are export, inspect,", "frobnicate")
    assert_fails(capsys, 2, "'cmpile' is not a verb of edgemtl; did you mean 'compile'?", "cmpile")
    assert_fails(
        capsys, 2, "No such command 'vrify'. Did you mean 'verify'?; see `edgemtl bundle --help`", "bundle", "vrify"
    )


def test_without_arguments_it_prints_help(capsys, monkeypatch):
    monkeypatch.setattr("sys.argv", ["edgemtl"])
    assert main() == 0
    assert "compile" in capsys.readouterr().out


def test_missing_model(capsys, in_folder):
    text = "MODEL.onnx must be an ONNX model, but there is no file nothing.onnx; check the path"
    assert_fails(capsys, 2, text, "inspect", "nothing.onnx")


def test_missing_task(capsys, model_file, in_folder):
    text = "--task must be one of semseg, depth, not 'edges'"
    assert_fails(capsys, 2, text, "compile", model_file, "--task", "edges", "-o", "x.edgemtl")
    assert not Path("x.edgemtl").exists()


def test_budget_too_small(capsys, model_file, in_folder):
    assert_fails(
        capsys, 4, "the budget is 1024 bytes", "compile", model_file, "--memory-budget", "1KiB", "-o", "x.edgemtl"
    )
    assert list(Path().iterdir()) == []


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (["--target", "z80"], "--target must be one of cpu, cpu-avx512-vnni, cpu-avx512, cpu-avx2, cpu-a53, zcu104,"),
        (["--pathway", "fast"], "--pathway must be one of exact, window, calibrated, not 'fast'"),
        (["--precision", "int3"], "--precision must be one of fp32, int8, not 'int3'"),
        (["--precision", "int8"], "--precision int8 must come with --calibration FOLDER, from whose images scales are"),
        (
            ["--parameters", "p.json"],
            "--parameters, --method, --keep-float, --bit-exact, --min-sqnr, --sqnr-target and --weights must come with",
        ),
        (
            ["--method", "entropy"],
            "--parameters, --method, --keep-float, --bit-exact, --min-sqnr, --sqnr-target and --weights must come with",
        ),
        (["--method", "best"], "--method must be one of minmax, percentile, entropy, not 'best'"),
        (
            ["--precision", "int8", "--parameters", "p.json", "--keep-float", "*"],
            "--parameters must come without --method, --keep-float, --min-sqnr, --sqnr-target and --weights: the file",
        ),
        (["--threads", "0"], "--threads must be between 1 and 64, not 0"),
        (["--pathway", "calibrated"], "--pathway calibrated must come with --calibration FOLDER"),
        (["--pathway", "window"], "--pathway window must have a layer that fixes its experts per task"),
        (["--memory-budget", "lots"], "a size must be a number and a unit such as 8MiB, not 'lots'"),
        (["--mean", "1,2,3"], "--mean and --std must be given together"),
        (["--mean", "a", "--std", "b"], "--mean must be comma-separated numbers"),
        (["--mean", "1", "--std", "1"], "--mean and --std must have 3 numbers"),
        (["--kind", "semseg"], "--kind must be TASK=KIND, not 'semseg'"),
        (["--kind", "semseg=depht"], "KIND of --kind TASK=KIND must be one of segmentation, depth"),
        (["--kind", "semseg=depht"], "not 'depht'; did you mean 'depth'?"),
        (["--kind", "edges=depth"], "TASK of --kind TASK=KIND must be one of semseg, depth, not 'edges'"),
        (["--rename", "edges=depth"], "OLD of --rename OLD=NEW must be one of semseg, depth, not 'edges'"),
    ],
)
def test_options_that_do_not_fit(capsys, model_file, in_folder, options, text):
    assert_fails(capsys, 2, text, "compile", model_file, "-o", "x.edgemtl", *options)


def test_boards_that_cannot_be(capsys, in_folder):
    missing = "NAME must be a target, a board, or a board's TOML file, but there is no file no.toml; check the path"
    assert_fails(capsys, 2, missing, "targets", "show", "no.toml")
    Path("no.toml").write_text("[")
    assert_fails(capsys, 1, "no.toml: a board must be a readable TOML file", "targets", "show", "no.toml")
    text = (spec.FOLDER / "zcu104.toml").read_text()
    Path("wide.toml").write_text(text.replace("vector_lanes = 32", "vector_lanes = 128"))
    sums = "dsp array 1,568 + vector 264 + attention 1 + crossbar 12 + router 2 = 1,847, XCZU7EV has 1,728"
    assert_fails(capsys, 4, sums, "targets", "show", "wide.toml")
    Path("odd.toml").write_text(text.replace("softmax_lanes = 64", "softmax_lanes = 0"))
    wrong = "odd.toml: engine.softmax_lanes must be a whole number from 1 to 4096, not 0"
    assert_fails(capsys, 1, wrong, "targets", "show", "odd.toml")


def test_export_needs_one_source_of_weights(capsys, in_folder):
    assert_fails(capsys, 2, "exactly one of --checkpoint FILE and --seed N", "export", "-o", "x.onnx")
    assert_fails(
        capsys, 2, "--seed must come with --preset NAME or --config FILE", "export", "--seed", "1", "-o", "x.onnx"
    )
    Path("x.json").write_text("{}")
    both = ("--preset", "demo", "--config", "x.json")
    assert_fails(
        capsys, 2, "one description of the model, not --preset", "export", "--seed", "1", *both, "-o", "x.onnx"
    )
    Path("x.json").unlink()
    from_file = ("export", "--seed", "1", "--config", "x.json", "-o", "x")
    assert_fails(capsys, 2, "--config must be a JSON file; `edgemtl export --print-config PRESET` prints", *from_file)
    Path("x.json").write_text("{")
    assert_fails(capsys, 2, "--config must be a readable JSON file", *from_file)


@pytest.mark.parametrize("cut", [10, 4000])
def test_truncated_bundle(capsys, bundle_file, in_folder, cut):
    Path("cut.edgemtl").write_bytes(bundle_file.read_bytes()[:-cut])
    assert_fails(capsys, 5, "cut.edgemtl", "selftest", "cut.edgemtl")


def test_flipped_bit(capsys, bundle_file, in_folder):
    data = bytearray(bundle_file.read_bytes())
    data[len(data) // 2] ^= 1
    Path("flip.edgemtl").write_bytes(data)
    assert_fails(capsys, 5, "flip.edgemtl", "bundle", "verify", "flip.edgemtl")


def test_unreadable_picture(capsys, bundle_file, in_folder):
    Path("bad.png").write_bytes(b"\x89PNG\r\n\x1a\nrubbish")
    assert_fails(
        capsys, 1, "must be a readable PNG or JPEG picture", "run", bundle_file, "--input", "bad.png", "-o", "out"
    )
    text = "--input must be a PNG, JPEG, .npy or .npz file or a folder of them, but there is no file no.png"
    assert_fails(capsys, 2, text, "run", bundle_file, "--input", "no.png", "-o", "out")


def test_array_of_another_shape(capsys, bundle_file, in_folder):
    np.save("small.npy", np.zeros((1, 3, 8, 8), np.float32))
    text = "small.npy: image must have the shape [B, 3, 16, 24], not [1, 3, 8, 8]; resize it"
    assert_fails(capsys, 1, text, "run", bundle_file, "--input", "small.npy", "-o", "out")


def test_eval_folder_without_labels(capsys, bundle_file, in_folder):
    layout = "images/NAME.png and, for each task, labels: TASK/NAME.png, TASK/NAME.npy or TASK/labels.csv"
    text = f"--data must be a folder with {layout}, but there is no folder nowhere"
    assert_fails(capsys, 2, text, "eval", bundle_file, "--data", "nowhere")
    Path("data/images").mkdir(parents=True)
    text = "data/images has no .png, .jpg, .jpeg, .npy, .npz file"
    assert_fails(capsys, 2, text, "eval", bundle_file, "--data", "data")
    Image.fromarray(np.zeros((16, 24, 3), np.uint8)).save("data/images/a.png")
    text = f"--data must be a folder with {layout}, but data has no labels of semseg; create data/semseg, or choose"
    assert_fails(capsys, 2, text, "eval", bundle_file, "--data", "data")
    Path("data/semseg").mkdir()
    text = "must hold a label a.png or a.npy"
    assert_fails(capsys, 1, text, "eval", bundle_file, "--data", "data", "--task", "semseg")
    Image.fromarray(np.zeros((8, 8), np.uint8)).save("data/semseg/a.png")
    assert_fails(capsys, 1, "must be 16x24 like the output", "eval", bundle_file, "--data", "data", "--task", "semseg")
    Image.fromarray(np.zeros((16, 24, 3), np.uint8)).save("data/semseg/a.png")
    assert_fails(capsys, 1, "a label must have one channel", "eval", bundle_file, "--data", "data", "--task", "semseg")


def test_results_that_would_overwrite_inputs_or_each_other(capsys, bundle_file, in_folder):
    for name in ("a.npy", "a_depth.npy"):
        np.save(name, np.zeros((1, 3, 16, 24), np.float32))
    Path("other").mkdir()
    np.save("other/a.npy", np.zeros((1, 3, 16, 24), np.float32))
    text = "-o must not overwrite what is read: a_depth.npy is a_depth.npy"
    assert_fails(capsys, 2, text, "run", bundle_file, "--input", "a.npy", "--input", "a_depth.npy", "-o", ".")
    text = "--input other/a.npy must have another name: its result out/a_semseg.npy is that of a.npy"
    assert_fails(capsys, 2, text, "run", bundle_file, "--input", "a.npy", "--input", "other/a.npy", "-o", "out")
    assert not Path("out").exists()


def test_external_weights_are_no_place_for_a_bundle(capsys, model_file, in_folder):
    model = onnx.load(model_file)
    onnx.save(model, "m.onnx", save_as_external_data=True, location="weights.bin", size_threshold=0)
    before = Path("weights.bin").read_bytes()
    assert_fails(capsys, 2, "must not overwrite what is read: weights.bin", "compile", "m.onnx", "-o", "weights.bin")
    assert Path("weights.bin").read_bytes() == before


def test_check_knows_the_options_of_compile(capsys, model_file, in_folder):
    for options, code, text in [
        (["--memory-budget", "1KiB"], 4, "the budget is 1024 bytes"),
        (["--pathway", "window"], 2, "--pathway window must have a layer that fixes its experts per task"),
        (["--pathway", "calibrated"], 2, "--pathway calibrated must come with --calibration FOLDER"),
        (["--kind", "semseg=sound"], 2, "KIND of --kind TASK=KIND must be one of segmentation, depth"),
        (["--threads", "0"], 2, "--threads must be between 1 and 64, not 0"),
        (["--precision", "int3"], 2, "--precision must be one of fp32, int8, not 'int3'"),
    ]:
        assert_fails(capsys, code, text, "check", model_file, *options)
        assert_fails(capsys, code, text, "compile", model_file, "-o", "a.edgemtl", *options)


def test_check_and_compile_agree_on_what_has_no_integers(capsys, model_file, in_folder):
    """A sine has no integer form: it runs in float32, or is refused with --require-int8, by both."""
    model = onnx.load(model_file)
    (last,) = (node for node in model.graph.node if "semseg" in node.output)
    last.output[:] = ["angle"]
    model.graph.node.append(onnx.helper.make_node("Sin", ["angle"], ["semseg"], "sine"))
    model_file = Path("sine.onnx")
    onnx.save(model, model_file)
    Path("images").mkdir()
    for seed in range(8):
        np.save(f"images/{seed}.npy", np.random.default_rng(seed).standard_normal((1, 3, 16, 24), np.float32))
    reason = "it has no integer form"
    check, whole = ("-q", "check", str(model_file), "--precision", "int8"), ("--require-int8",)
    assert main([*check]) == 0
    assert reason in " ".join(capsys.readouterr().out.split())
    assert main([*check, *whole]) == 3
    assert reason in " ".join(capsys.readouterr().out.split())
    integer = ["--precision", "int8", "--calibration", "images", "--min-sqnr=-100"]
    assert_fails(capsys, 3, reason, "compile", model_file, "-o", "a.edgemtl", *integer, *whole)
    assert main(["-q", "compile", str(model_file), "-o", "a.edgemtl", *integer, "--json"]) == 0
    notes = json.loads(capsys.readouterr().out)["notes"]
    assert any(note.endswith(f"sine runs in float32: {reason}") for note in notes)
