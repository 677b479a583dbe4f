"""edgemtl quantize: two files that other tools and the compiler take, and what it refuses."""

import json
import re
import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest
from PIL import Image

from edgemtl import partition, quantize
from edgemtl.cli.app import main
from edgemtl.errors import ConfigError, EdgemtlError, UsageError
from edgemtl.frontend import read_model
from edgemtl.options import QuantiseOptions
from edgemtl.processor import resolve
from edgemtl.quantize.quantised_model import from_parameters, quantise
from edgemtl.runtime import Session
from examples.smooth_images import smooth_images
from tests.cli.test_errors import assert_fails
from tests.cli.test_verbs import run_json
from tests.support.models import build_and_export, small_config
from tests.support.run import run_onnx

SHAPE = (1, 3, 16, 24)
CONFIG = small_config(head_channels=(12, 8, 6), depth=1, moe_blocks=(0,))


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_and_export(CONFIG, 0, tmp_path_factory.mktemp("model"))[1]


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pictures")
    for number, image in enumerate(smooth_images(SHAPE, 12)):
        rgb = np.clip(128 + 60 * image[0].transpose(1, 2, 0), 0, 255).astype(np.uint8)
        Image.fromarray(rgb).save(folder / f"{number:02}.png")
    return folder


@pytest.fixture(scope="module")
def quantised(model: Path, pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The QDQ model, made by the verb; its parameters lie beside it."""
    output = tmp_path_factory.mktemp("quantised") / "m.int8.onnx"
    assert main(["-q", "quantize", str(model), "--calibration", str(pictures), "-o", str(output)]) == 0
    return output


def arrays(folder: Path, images: list[np.ndarray]) -> Path:
    folder.mkdir()
    for number, image in enumerate(images):
        np.save(folder / f"{number}.npy", image)
    return folder


def test_it_writes_both_files_and_says_how_far_they_are(capsys, model, pictures, in_folder):
    arguments = ("--calibration", pictures, "--method", "percentile", "--task", "depth", "-o", "m.int8.onnx")
    document = run_json(capsys, "quantize", model, *arguments)
    assert sorted(path.name for path in Path().iterdir()) == ["m.int8.json", "m.int8.onnx"]
    assert (document["model"], document["parameters"]) == ("m.int8.onnx", "m.int8.json")
    assert document["model_bytes"] == Path("m.int8.onnx").stat().st_size
    assert document["parameters_bytes"] == Path("m.int8.json").stat().st_size
    (task,) = document["tasks"]
    assert task["task"] == "depth"
    assert task["qdq_to_law_db"] > 25
    assert any("percentile on 12 images" in text for text in document["notes"])
    assert json.loads(Path("m.int8.json").read_text())["method"] == "percentile"


def test_the_table_says_measured(capsys, model, pictures, in_folder):
    assert main(["quantize", str(model), "--calibration", str(pictures), "-o", "m.onnx"]) == 0
    captured = capsys.readouterr()
    assert "signal to noise, measured" in " ".join(captured.out.split())
    assert "QDQ to int8, dB" in captured.out
    assert "calibrating on 12 images" in captured.err


def test_onnxruntime_runs_every_task(quantised):
    onnx.checker.check_model(onnx.load(quantised), full_check=True)
    found = run_onnx(quantised, {"image": smooth_images(SHAPE, 1)[0]})
    assert {name: array.shape for name, array in found.items()} == {"semseg": (1, 5, 16, 24), "depth": (1, 1, 16, 24)}


def test_parameters_stand_for_the_integers_calibration_made(model, tmp_path):
    held = read_model(model)
    images = {str(i): {"image": image} for i, image in enumerate(smooth_images(SHAPE, 12))}
    tasks = partition.partition(held, ["semseg", "depth"], "exact")
    made = quantise(held, tasks, resolve("cpu-avx2"), images, QuantiseOptions(least_sqnr_db=5))
    assert any(len(task.corrections) for task in made.parameters.tasks.values())
    quantize.write_parameters(tmp_path / "m.json", made.parameters, made.floats)
    found = from_parameters(held, tasks, resolve("cpu-avx2"), tmp_path / "m.json")
    for name, task in made.integers.items():
        assert found.integers[name].steps == task.steps
        assert found.integers[name].sources == task.sources


def test_one_task_of_a_file_gives_the_bits_it_gives_beside_the_others(capsys, model, quantised, in_folder):
    """Its scales were chosen together with the others', so they are made together and the rest is left out."""
    arguments = ("--precision", "int8", "--parameters", quantised.with_suffix(".json"))
    run_json(capsys, "compile", model, *arguments, "-o", "all.edgemtl")
    run_json(capsys, "compile", model, *arguments, "--task", "depth", "-o", "one.edgemtl")
    image = smooth_images(SHAPE, 1, seed=4)[0]
    with Session.open("all.edgemtl") as both, Session.open("one.edgemtl") as alone:
        assert alone.tasks == ("depth",)
        np.testing.assert_array_equal(alone.run("depth", image), both.run("depth", image))


def test_a_task_the_file_does_not_hold_is_refused(capsys, model, pictures, in_folder):
    run_json(capsys, "quantize", model, "--calibration", pictures, "--task", "depth", "-o", "m.int8.onnx")
    text = "--task must be one of depth in m.int8.json, not 'semseg'"
    arguments = ("--precision", "int8", "--parameters", "m.int8.json", "-o", "a.edgemtl")
    assert_fails(capsys, 2, text, "compile", model, *arguments)
    assert not Path("a.edgemtl").exists()


def test_a_failed_check_leaves_a_good_model_alone(capsys, model, pictures, quantised, in_folder):
    for suffix in (".onnx", ".json"):
        shutil.copy(quantised.with_suffix(suffix), f"good{suffix}")
    before = {path.name: path.read_bytes() for path in Path().iterdir()}
    arguments = ("--calibration", pictures, "--min-sqnr", "200")
    text = "semseg must keep a signal-to-noise ratio of 200 dB in int8, not"
    assert_fails(capsys, 1, text, "quantize", model, *arguments, "-o", "good.onnx")
    assert_fails(capsys, 1, text, "quantize", model, *arguments, "-o", "new.onnx")
    assert {path.name: path.read_bytes() for path in Path().iterdir()} == before


NOT_FINITE = [*smooth_images(SHAPE, 8), np.full(SHAPE, np.nan, np.float32)]
CONSTANT = [*smooth_images(SHAPE, 8), np.ones(SHAPE, np.float32)]
SMALLER = [*smooth_images(SHAPE, 8), np.ones((1, 3, 8, 8), np.float32)]


@pytest.mark.parametrize(
    ("images", "code", "text"),
    [
        (smooth_images(SHAPE, 7), 2, "int8 must be calibrated on at least 8 images, not 7; add typical images"),
        (SMALLER, 1, "calibration image 8.npy must be float32 (1, 3, 16, 24), not float32 (1, 3, 8, 8); resize"),
        (CONSTANT, 1, "calibration image 8.npy must show something, not one value everywhere; leave it out"),
        (NOT_FINITE, 1, "calibration image 8.npy must be finite; it holds infinities or NaN"),
    ],
    ids=["too few", "another size", "constant", "not finite"],
)
def test_images_it_refuses(capsys, model, in_folder, images, code, text):
    folder = arrays(Path("images"), images)
    assert_fails(capsys, code, text, "quantize", model, "--calibration", folder, "-o", "m.onnx")
    assert [path.name for path in Path().iterdir()] == ["images"]


def test_weights_in_4_bits_on_a_cpu_and_for_a_board(capsys, model, pictures, in_folder):
    """The bundle computes the integers of the file, which its QDQ model holds expanded."""
    rules = "--weights", "experts=4", "--weights", "linear=4"
    printed = run_json(capsys, "quantize", model, "--calibration", pictures, *rules, "--min-sqnr", "5", "-o", "m.onnx")
    assert any("weights in 4 bits, " in note for note in printed["notes"])
    assert min(task["qdq_to_law_db"] for task in printed["tasks"]) > 20
    int8 = "--precision", "int8", "--parameters", "m.json"
    compiled = run_json(capsys, "compile", model, *int8, "-o", "m.edgemtl")
    assert any("weights in 4 bits, " in note for note in compiled["notes"])
    plain = run_json(capsys, "compile", model, "--precision", "int8", "--calibration", pictures, "-o", "n.edgemtl")
    assert all(a["weight_bytes"] < b["weight_bytes"] for a, b in zip(compiled["tasks"], plain["tasks"], strict=True))
    assert compiled["weights_bytes"] < plain["weights_bytes"]
    assert run_json(capsys, "check", model, *rules)["supported"]
    board = "--target", "zcu104", "--parameters", "m.json"
    compiled = run_json(capsys, "compile", model, *board, "--precision", "int8", "-o", "b.edgemtl")
    assert any("weights in 4 bits, " in note for note in compiled["notes"])
    assert run_json(capsys, "check", model, *board)["supported"]


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (["--method", "guess"], "--method must be one of minmax, percentile, entropy, not 'guess'"),
        (["--keep-float", "nothing*"], "--keep-float must match a layer, 'nothing*' matches none; see `edgemtl check`"),
        (["--task", "edges"], "--task must be one of semseg, depth, not 'edges'"),
        (["--pathway", "fast"], "--pathway must be one of exact, window, calibrated, not 'fast'"),
        (["--weights", "experts=3"], "--weights experts must have 4 or 8 bits, not '3'"),
        (["--weights", "experts"], "--weights must be LAYERS=BITS, not 'experts'"),
        (["--weights", "nothing*=4"], "--weights must name linear layers or experts, 'nothing*' fits none"),
        (["--weights", "experts=4", "--sqnr-target", "30"], "--sqnr-target must come without --weights"),
        (["--mean", "1,2,x", "--std", "1,1,1"], "--mean must be comma-separated numbers"),
        (["--kind", "semseg"], "--kind must be TASK=KIND, not 'semseg'"),
        (["-o", "m.int8"], "-o must end in .onnx, since the parameters go to .json beside it, not m.int8"),
        (["-o", "nowhere/m.onnx"], "the folder of -o nowhere/m.onnx must exist; create it first"),
    ],
)
def test_options_it_refuses(capsys, model, pictures, in_folder, options, text):
    assert_fails(capsys, 2, text, "quantize", model, "--calibration", pictures, "-o", "m.onnx", *options)
    assert list(Path().iterdir()) == []


def test_it_needs_images_and_a_place(capsys, model, pictures, in_folder):
    assert_fails(capsys, 2, "--calibration must be given", "quantize", model, "-o", "m.onnx")
    assert_fails(capsys, 2, "--output must be given", "quantize", model, "--calibration", pictures)
    text = "-o must not overwrite what is read"
    assert_fails(capsys, 2, text, "quantize", model, "--calibration", pictures, "-o", model)
    text = "--calibration must be a folder of images, but there is no folder nowhere; check the path"
    assert_fails(capsys, 2, text, "quantize", model, "--calibration", "nowhere", "-o", "m.onnx")


def change(document: dict, path: str, value: object) -> None:
    *way, last = path.split("/")
    for key in way:
        document = document[key]
    document[last] = value


@pytest.mark.parametrize(
    ("path", "value", "error", "text"),
    [
        ("schema_version", 1, ConfigError, "schema_version must be 3, not 1"),
        ("schema_version", None, ConfigError, "schema_version must be 3, not None"),
        ("model", "0" * 64, UsageError, "must be of this model"),
        ("tasks/depth/layers", ["other"], UsageError, "must hold task depth with these layers"),
        (
            "tasks/depth/ranges/image",
            [1.0, 2.0],
            ConfigError,
            "ranges.image must be two numbers, a finite range that holds 0",
        ),
        ("tasks/depth/ranges/image", [0.0], ConfigError, "must be a file of integer parameters"),
        ("tasks/depth/ranges", {}, ConfigError, "must say what was observed of every layer of task depth"),
        ("tasks/depth/channels", {}, ConfigError, "must say what was observed of every layer of task depth"),
        ("tasks/depth/channels/1", [1.0], ConfigError, "must say what was observed of every layer of task depth"),
        ("tasks/depth/corrections", {"1": [1]}, ConfigError, "parameters of depth must correct biases it has"),
        ("tasks/depth/corrections", {"900": [1]}, ConfigError, "parameters of depth must correct biases it has"),
        ("tasks/depth/corrections", {"1": [10**30]}, ConfigError, "must be a file of integer parameters"),
        ("tasks/depth/corrections/1", [2**31] * 24, ConfigError, "parameters of depth must correct biases it has"),
        ("tasks/depth/channels/1", [float("nan")] * 24, ConfigError, "must say what was observed of every layer"),
        ("sqnr_db", {}, ConfigError, "must say what was observed of every layer of task semseg"),
        ("tasks", [], ConfigError, "must be a file of integer parameters"),
        ("tasks", {}, UsageError, "must hold tasks semseg, depth, not"),
        ("keep_float", 3, ConfigError, "must be a file of integer parameters"),
        ("keep_float", ["gone*"], UsageError, "--keep-float must match a layer"),
    ],
)
def test_parameters_that_were_changed_are_refused(model, quantised, tmp_path, path, value, error, text):
    document = json.loads(quantised.with_suffix(".json").read_text())
    change(document, path, value)
    (tmp_path / "m.json").write_text(json.dumps(document))
    _refused(model, tmp_path / "m.json", error, text)


@pytest.mark.parametrize("content", ["", "{", "[]", "3", '{"schema_version": 3}', "\x00\xff"])
def test_files_that_are_no_parameters_are_refused(model, tmp_path, content):
    (tmp_path / "m.json").write_bytes(content.encode("latin-1"))
    _refused(model, tmp_path / "m.json", ConfigError, "must be a file of integer parameters")
    _refused(model, tmp_path / "missing.json", ConfigError, "must be a file of integer parameters")


def _refused(model: Path, parameters: Path, error: type[EdgemtlError], text: str) -> None:
    held = read_model(model)
    tasks = partition.partition(held, ["semseg", "depth"], "exact")
    with pytest.raises(error, match=re.escape(text)):
        from_parameters(held, tasks, resolve("cpu-avx2"), parameters)
