"""The resize filter and the notes on pictures, through every verb that reads a picture."""

import json
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from PIL import Image

from edgemtl.cli.app import main
from tests.cli.test_errors import assert_fails
from tests.cli.test_verbs import run_json
from tests.support.models import small_config

TORCH = ("--resize-filter", "torch-bilinear")
RESIZED = "resized to 24x16 by torch-bilinear"


@pytest.fixture
def pictures(in_folder: Path) -> Path:
    """Twelve noisy pictures, four times as large as the input: filters differ there."""
    rng = np.random.default_rng(6)
    Path("images").mkdir()
    for index in range(12):
        Image.fromarray(rng.integers(0, 256, (64, 96, 3), np.uint8)).save(f"images/{index:02}.png")
    return Path("images")


def as_torch_sees(path: Path) -> np.ndarray:
    config = small_config()
    pixels = torch.from_numpy(np.array(Image.open(path, formats=("PNG",)))).permute(2, 0, 1)[None] / 255
    small = torch.nn.functional.interpolate(pixels, (16, 24), mode="bilinear", align_corners=False)
    mean, std = (torch.tensor(values)[:, None, None] for values in (config.mean, config.std))
    return ((small - mean) / std).numpy()


def depth_of(model_file: Path, image: np.ndarray) -> np.ndarray:
    return onnxruntime.InferenceSession(str(model_file)).run(["depth"], {"image": image})[0]


def test_run_resizes_by_the_filter_that_the_bundle_was_compiled_with(capsys, model_file, pictures):
    run_json(capsys, "compile", model_file, *TORCH, "-o", "a.edgemtl")
    manifest = run_json(capsys, "bundle", "info", "a.edgemtl")["manifest"]
    assert manifest["inputs"][0]["resize_filter"] == "torch-bilinear"
    (written, *_) = run_json(capsys, "run", "a.edgemtl", "--task", "depth", "--input", pictures, "-o", "out")["written"]
    expected = depth_of(model_file, as_torch_sees(pictures / "00.png"))
    np.testing.assert_allclose(np.load(written["array"]), expected, atol=1e-4)
    assert written["notes"] == [RESIZED]
    run_json(capsys, "compile", model_file, "-o", "b.edgemtl")
    (other, *_) = run_json(capsys, "run", "b.edgemtl", "--task", "depth", "--input", pictures, "-o", "out2")["written"]
    assert np.abs(np.load(other["array"]) - expected).max() > 1e-2


def test_the_filter_of_the_model_reaches_every_verb(capsys, model_file, pictures):
    described = onnx.load(model_file)
    text = described.metadata_props[0].value.replace("pillow-bilinear", "torch-bilinear")
    onnx.helper.set_model_props(described, {"edgemtl": text})
    onnx.save(described, "own.onnx")
    inputs = ("--input", "images/00.png")
    found = run_json(capsys, "compare", "onnx", "fp32", "--model", "own.onnx", "--task", "depth", *inputs)
    assert found["notes"] == [f"images/00.png: {RESIZED}"]
    calibration = f"calibration: 00.png, 01.png, 02.png and 9 more: {RESIZED}"
    document = run_json(
        capsys,
        "compile",
        "own.onnx",
        "--precision",
        "int8",
        "--calibration",
        pictures,
        "--min-sqnr",
        "5",
        "--keep-float",
        "*Resize*",
        "-o",
        "own.edgemtl",
    )
    assert calibration in document["notes"]
    report = run_json(capsys, "profile", "own.edgemtl", "--device", "cpu", *inputs, "--runs", "1", "-o", "report")
    assert f"images/00.png: {RESIZED}" in json.loads(Path(report["files"][1]).read_text())["notes"]
    Path("data/depth").mkdir(parents=True)
    pictures.rename("data/images")
    for path in Path("data/images").iterdir():
        np.save(f"data/depth/{path.stem}.npy", np.ones((16, 24), np.float32))
    assert run_json(capsys, "eval", "own.edgemtl", "--data", "data", "--task", "depth")["notes"] == [
        f"00.png, 01.png, 02.png and 9 more: {RESIZED}"
    ]


def test_calibration_reads_pictures_as_run_does(capsys, model_file, pictures):
    """Parameters from pictures are those from the arrays that torch makes of them."""
    Path("arrays").mkdir()
    for path in sorted(pictures.iterdir()):
        np.save(f"arrays/{path.stem}.npy", as_torch_sees(path))
    for name in ("images", "arrays"):
        options = ("--task", "depth", "--min-sqnr", "0", "--keep-float", "*Resize*", *TORCH)
        run_json(capsys, "quantize", model_file, "--calibration", name, *options, "-o", f"{name}.onnx")
    one, other = (
        json.loads(Path(f"{name}.json").read_text())["tasks"]["depth"]["ranges"] for name in ("images", "arrays")
    )
    for name, ends in one.items():
        np.testing.assert_allclose(ends, other[name], rtol=1e-3, atol=1e-5)


def test_export_records_the_filter(capsys, in_folder):
    assert main(["-q", "export", "--preset", "demo", "--seed", "1", *TORCH, "--task", "depth", "-o", "demo.onnx"]) == 0
    capsys.readouterr()
    described = json.loads(onnx.load("demo.onnx").metadata_props[0].value)
    assert described["input"]["resize_filter"] == "torch-bilinear"


@pytest.mark.parametrize("verb", ["compile", "check", "quantize", "compare", "export"])
def test_unknown_filters_are_refused(capsys, model_file, in_folder, verb):
    arguments = {
        "compile": [model_file, "-o", "a.edgemtl"],
        "check": [model_file],
        "quantize": [model_file, "--calibration", ".", "-o", "a.onnx"],
        "compare": ["onnx", "fp32", "--model", model_file, "--task", "depth", "--input", "a.png"],
        "export": ["--preset", "demo", "--seed", "1", "-o", "a.onnx"],
    }[verb]
    text = "--resize-filter must be one of pillow-bilinear, pillow-bicubic, torch-bilinear, not 'area'"
    assert_fails(capsys, 2, text, verb, *arguments, "--resize-filter", "area")


def test_notes_say_what_was_done_to_pictures(capsys, bundle_file, in_folder):
    Path("mixed").mkdir()
    Image.new("RGBA", (24, 16), (0, 0, 0, 0)).save("mixed/clear.png")
    Image.new("L", (24, 16)).save("mixed/grey.png")
    Image.new("CMYK", (24, 16)).save("mixed/print.jpg")
    assert main(["run", str(bundle_file), "--input", "mixed", "-o", "out"]) == 0
    said = " ".join(capsys.readouterr().err.split())
    for text in (
        "note: mixed/clear.png: transparent pixels laid on white",
        "note: mixed/grey.png: grey, the same in all three channels",
        "note: mixed/print.jpg: CMYK made RGB without a colour profile",
    ):
        assert text in said


def test_copies_of_few_images_are_refused(capsys, model_file, pictures):
    for path in sorted(pictures.iterdir())[7:]:
        path.write_bytes((pictures / "00.png").read_bytes())
    copies = len({path.read_bytes() for path in pictures.iterdir()})
    text = (
        f"int8 must be calibrated on at least 8 different images, not {copies} and copies of them; add typical images"
    )
    assert_fails(capsys, 2, text, "quantize", model_file, "--calibration", pictures, "-o", "a.onnx")
