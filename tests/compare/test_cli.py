"""The verb from the outside: figures, exit codes, the page, and every refusal in its words."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest

from edgemtl.cli.app import main
from tests.compare.conftest import Lab


@pytest.fixture
def folder(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(lab.folder)
    return lab.folder


BASE = ["--model", "model.onnx", "--task", "depth", "--input", "images/0.npy"]


def refused(capsys, *arguments: str) -> tuple[int, str]:
    code = main(["-q", "compare", *arguments])
    return code, capsys.readouterr().err.replace("\n", " ")


def test_json_page_and_exit_code(folder, capsys, tmp_path):
    page = tmp_path / "page.html"
    limits = ["--fail-below", "25dB", "--fail-agreement-below", "97%"]
    integers = ["--calibration", "images", "--method", "percentile", "--report", str(page)]
    arguments = ["onnx", "functional", *BASE, "--input", "images", *limits, *integers]
    code = main(["-q", "compare", *arguments, "--json"])
    out, err = capsys.readouterr()
    document = json.loads(out)
    assert document["schema_version"] == 1
    assert (document["a"], document["b"], document["task"], document["images"]) == ("onnx", "functional", "depth", 8)
    below = [layer["name"] for layer in document["layers"] if layer["sqnr_db"] < 25]
    assert document["first_below"] == (below[0] if below else None)
    assert code == (1 if document["failed"] else 0)
    assert ("must reach 25 dB" in err) == bool(below)
    assert page.read_text().startswith("<!DOCTYPE html>")


def test_fail_below_names_the_layer_and_exits_with_1(folder, capsys):
    code = main(
        ["-q", "compare", "torch", "onnx", *BASE, "--checkpoint", "model.safetensors", "--fail-below", "500 dB"]
    )
    out, err = capsys.readouterr()
    assert code == 1
    assert "backbone.blocks.0.norm1/LayerNormalization" in out
    assert "FIRST BELOW" in out
    assert "backbone.patch_embed.proj/Conv must reach 500 dB, not 1" in err
    assert (
        main(["-q", "compare", "torch", "onnx", *BASE, "--checkpoint", "model.safetensors", "--fail-below=90dB"]) == 0
    )
    assert "worst 3" in capsys.readouterr().out


REFUSALS = [
    (["onnx", "tvm"], "A and B of compare must be one of torch, onnx, fp32, int8, functional, not 'tvm'"),
    (
        ["onnx", "onnx"],
        "compare must be given two different ones of torch, onnx, fp32, int8, functional, not onnx twice",
    ),
    (["onnx", "int8"], "int8 and functional must come with --calibration FOLDER, from whose images scales are taken"),
    (["functional", "fp32"], "or with --parameters FILE from `edgemtl quantize`"),
    (["torch", "onnx"], "--checkpoint FILE must be given with torch, and with torch alone"),
    (["fp32", "onnx", "--checkpoint", "model.safetensors"], "--checkpoint FILE must be given with torch"),
    (["fp32", "onnx", "--calibration", "images"], "must come with int8 or functional, not with fp32 and onnx"),
    (["fp32", "onnx", "--keep-float", "*"], "must come with int8 or functional, not with fp32 and onnx"),
    (
        ["fp32", "int8", "--calibration", "images", "--parameters", "p.json"],
        "must not both be given: each says the scales",
    ),
    (["fp32", "int8", "--parameters", "p.json", "--method", "entropy"], "must come without --method and --keep-float"),
    (["fp32", "onnx", "--pathway", "calibrated"], "--pathway calibrated must come with --calibration FOLDER"),
    (["fp32", "onnx", "--pathway", "all"], "--pathway must be one of exact, window, calibrated, not 'all'"),
    (["fp32", "onnx", "--fail-below", "20%"], "--fail-below must be a number in dB such as 20dB, not '20%'"),
    (["fp32", "onnx", "--fail-agreement-below", "0.97"], "--fail-agreement-below must be a number in % such as 97%"),
    (["fp32", "onnx", "--fail-agreement-below", "970%"], "--fail-agreement-below must be from 0% to 100%, not '970%'"),
    (["fp32", "onnx", "--mean", "a,b"], "--mean must be comma-separated numbers, one per channel, not 'a,b'"),
    (["fp32", "onnx", "--mean", "1,2,3"], "--mean and --std must be given together"),
    (["fp32", "onnx", "--task", "normals"], "--task must be one of semseg, depth, not 'normals'"),
    (["fp32", "onnx", "--target", "cpu-x"], "--target must be one of cpu, "),
    (["fp32", "onnx", "--report", "nowhere/page.html"], "the folder of --report nowhere/page.html must exist"),
    (
        ["torch", "onnx", "--task", "normals", "--checkpoint", "model.safetensors"],
        "--task must be one of semseg, depth, not 'normals'",
    ),
]


@pytest.mark.parametrize(("arguments", "message"), REFUSALS, ids=[" ".join(a) for a, _ in REFUSALS])
def test_what_would_have_to_be_guessed_is_refused(folder, capsys, arguments, message):
    code, said = refused(capsys, *BASE, *arguments)
    assert message in said
    assert code == 2


@pytest.mark.parametrize("flag", ["--model", "--task", "--input"])
def test_what_is_compared_must_be_said(folder, capsys, flag):
    at = BASE.index(flag)
    code, said = refused(capsys, "fp32", "onnx", *BASE[:at], *BASE[at + 2 :])
    assert code == 2
    assert flag in said


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (np.zeros((1, 3, 4, 4), np.float32), "must be float32 (1, 3, 16, 24), not float32 (1, 3, 4, 4)"),
        (np.zeros((1, 3, 16, 24)), "must be float32 (1, 3, 16, 24), not float64"),
        (np.full((1, 3, 16, 24), np.nan, np.float32), "must be finite; it holds infinities or NaN"),
    ],
)
def test_images_the_model_cannot_take_are_refused(folder, capsys, tmp_path, image, message):
    np.save(tmp_path / "odd.npy", image)
    arguments = ["fp32", "onnx", "--model", "model.onnx", "--task", "depth", "--input", str(tmp_path / "odd.npy")]
    code, said = refused(capsys, *arguments)
    assert (code, message in said) == (1, True)


def test_too_few_calibration_images_are_refused(folder, capsys, tmp_path, lab):
    np.save(tmp_path / "one.npy", lab.images["0.npy"]["image"])
    code, said = refused(capsys, "fp32", "functional", *BASE, "--calibration", str(tmp_path))
    assert (code, "int8 must be calibrated on at least 8 images, not 1" in said) == (2, True)


def test_a_page_without_its_libraries_is_refused(folder, capsys, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "jinja2" else name)
    code, said = refused(capsys, "fp32", "onnx", *BASE, "--report", "page.html")
    assert code == 3
    assert "--report: it needs jinja2, and this is not installed; pip install 'edgemtl[report]'" in said
