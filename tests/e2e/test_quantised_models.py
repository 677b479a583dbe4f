"""Quantised files through the verbs: compiled and run as onnxruntime runs them, and what the verbs refuse."""

from pathlib import Path

import numpy as np
import pytest

from edgemtl.driver import check_model, compare_model, compile_model, quantize_model
from edgemtl.errors import UsageError
from edgemtl.options import CheckOptions, CompareOptions, CompileOptions, QuantiseOptions
from edgemtl.runtime import Session
from tests.support import pt2e
from tests.support.quantised import export_float, images, output_scales, quantise_file, run_literally


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("quantised")
    export_float("two tasks", folder / "float.onnx")
    for way in ("uint8 per channel", "asymmetric weights"):
        quantise_file(folder / "float.onnx", way, folder / f"{way}.onnx")
    (folder / "images").mkdir()
    for number, image in enumerate(images(8, 2)):
        np.save(folder / "images" / f"{number}.npy", image)
    return folder


@pytest.mark.parametrize("precision", ["int8", pytest.param("fp32", marks=pytest.mark.slow)])
def test_a_quantised_file_compiles_without_images(folder: Path, precision: str) -> None:
    path, bundle = folder / "uint8 per channel.onnx", folder / f"{precision}.edgemtl"
    result = compile_model(path, CompileOptions(precision=precision), bundle)
    assert any("the model is quantised: it rounds 6 values" in note for note in result.notes)
    assert any("by the scales of the model itself" in note for note in result.notes) == (precision == "int8")
    scales = output_scales(path)
    with Session.open(bundle) as session:
        for image in images(4, 9):
            for task, expected in run_literally(path, image).items():
                off = np.abs(np.asarray(session.run(task, image)).reshape(expected.shape) - expected) / scales[task]
                assert np.mean(off > 1.01) < 0.001


@pytest.mark.parametrize("how", [pt2e.HOWS[0], pytest.param(pt2e.HOWS[1], marks=pytest.mark.slow)])
def test_a_file_of_pytorch_s_own_flow_runs_as_in_onnxruntime(tmp_path: Path, how: str) -> None:
    path, bundle = tmp_path / "model.onnx", tmp_path / "model.edgemtl"
    pt2e.make(how, path)
    result = compile_model(path, CompileOptions(precision="int8"), bundle)
    assert not any("its weights" in note for note in result.notes)
    frames = images(8, 9)
    expected = np.stack([run_literally(path, image)["classes"] for image in frames])
    with Session.open(bundle) as session:
        actual = np.stack([session.run("classes", image) for image in frames]).reshape(expected.shape)
    assert np.abs(actual - expected).max() < np.ptp(expected) / 255


def test_check_says_what_compile_does(folder: Path) -> None:
    checked = check_model(folder / "uint8 per channel.onnx", CheckOptions(precision="int8"))
    assert not [node for node in checked.nodes if node.how == "unsupported" or node.reason]
    assert not [note for note in checked.notes if "random inputs" in note]
    path = folder / "asymmetric weights.onnx"
    strict = check_model(path, CheckOptions(precision="int8", require_int8=True))
    refused = [node for node in strict.nodes if node.how == "unsupported"]
    assert {"/classes/Conv"} <= {node.node for node in refused}
    assert all("from -128 to 127" in node.reason for node in refused)


def test_a_board_takes_the_scales_too(folder: Path) -> None:
    checked = check_model(folder / "uint8 per channel.onnx", CheckOptions(target="zcu104"))
    assert any("segment" in node.how for node in checked.nodes)
    assert any("by the scales of the model itself" in note for note in checked.notes)


def test_comparing_layer_by_layer(folder: Path) -> None:
    inputs = (folder / "images" / "0.npy",)
    options = CompareOptions("onnx", "functional", "classes", inputs)
    compared = compare_model(folder / "uint8 per channel.onnx", options)
    assert compared.layers
    assert compared.layers[-1].sqnr_db > 25


def test_a_quantised_file_is_not_quantised_again(folder: Path) -> None:
    options = CompileOptions(precision="int8", calibration=folder / "images")
    with pytest.raises(UsageError, match="quantize must be given a float model, not one that rounds 6 values"):
        quantize_model(folder / "uint8 per channel.onnx", options, folder / "again.onnx")
    assert not (folder / "again.onnx").exists()


def test_what_says_nothing_without_images_is_refused(folder: Path) -> None:
    for how in (QuantiseOptions(method="entropy"), QuantiseOptions(least_sqnr_db=30), QuantiseOptions(sqnr_target=30)):
        options = CompileOptions(precision="int8", quantise=how)
        must = "--method, --min-sqnr and --sqnr-target must come with --calibration FOLDER"
        with pytest.raises(UsageError, match=must):
            compile_model(folder / "uint8 per channel.onnx", options, folder / "no.edgemtl")


def test_a_target_is_refused_since_the_precisions_are_the_models_own(folder: Path) -> None:
    options = CompileOptions(precision="int8", calibration=folder / "images", quantise=QuantiseOptions(sqnr_target=30))
    with pytest.raises(
        UsageError, match="--sqnr-target must be given with a float model, not with one that is quantis"
    ):
        compile_model(folder / "uint8 per channel.onnx", options, folder / "no.edgemtl")
    assert not (folder / "no.edgemtl").exists()


def test_a_float_file_needs_images(folder: Path) -> None:
    with pytest.raises(UsageError, match="--precision int8 must come with --calibration FOLDER"):
        compile_model(folder / "float.onnx", CompileOptions(precision="int8"), folder / "no.edgemtl")
    assert not (folder / "no.edgemtl").exists()
