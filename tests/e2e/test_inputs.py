"""Models of several inputs of any rank and type, and outputs of any type, against onnxruntime."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from edgemtl.cli.app import main
from edgemtl.driver import compile_model
from edgemtl.errors import InputError, UsageError
from edgemtl.options import CompileOptions
from edgemtl.runtime import Session
from tests.runtime import native
from tests.support.run import run_onnx

TEXT = """
<ir_version: 10, opset_import: ["" : 21]>
g (float[1,3,8,8] rgb, float[1,1,8,8] depth, int64[1,6] ids, bool[6,5] mask, float temperature)
  => (float[1,4,8,8] map, int64[1,8,8] labels, float[6,5] text, float mean)
{
    a = Conv<pads = [1, 1, 1, 1]>(rgb, w)
    b = Conv<pads = [1, 1, 1, 1]>(depth, v)
    c = Add(a, b)
    map = Relu(c)
    labels = ArgMax<axis = 1, keepdims = 0>(map)
    words = Gather(table, ids)
    rows = Reshape(words, shape)
    kept = Where(mask, rows, zero)
    text = Div(kept, temperature)
    mean = ReduceMean<keepdims = 0>(map)
}
"""
INPUTS = {"rgb": (1, 3, 8, 8), "depth": (1, 1, 8, 8), "ids": (1, 6), "mask": (6, 5), "temperature": ()}
READS = {
    "map": ("rgb", "depth"),
    "labels": ("rgb", "depth"),
    "text": ("ids", "mask", "temperature"),
    "mean": ("rgb", "depth"),
}


def frame(seed: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    return {
        "rgb": rng.standard_normal(INPUTS["rgb"]).astype(np.float32),
        "depth": rng.standard_normal(INPUTS["depth"]).astype(np.float32),
        "ids": rng.integers(-9, 9, INPUTS["ids"]),
        "mask": rng.integers(0, 2, INPUTS["mask"]).astype(bool),
        "temperature": np.array(1.5 + seed, np.float32),
    }


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """model.onnx, app.edgemtl in float32, frames of eight inputs in frames/ as .npz."""
    folder = tmp_path_factory.mktemp("inputs")
    rng = np.random.default_rng(0)
    constants = {
        "w": rng.standard_normal((4, 3, 3, 3)).astype(np.float32) * 0.2,
        "v": rng.standard_normal((4, 1, 3, 3)).astype(np.float32) * 0.2,
        "table": rng.standard_normal((9, 5)).astype(np.float32),
        "shape": np.array([6, 5]),
        "zero": np.float32(0),
    }
    model = onnx.parser.parse_model(TEXT)
    model.graph.initializer.extend(numpy_helper.from_array(np.asarray(a), name) for name, a in constants.items())
    onnx.save(model, folder / "model.onnx")
    (folder / "frames").mkdir()
    for seed in range(8):
        np.savez(folder / "frames" / f"{seed}.npz", **frame(seed))
    compile_model(folder / "model.onnx", CompileOptions(threads=1), folder / "app.edgemtl")
    return folder


def assert_equal(session: Session, folder: Path, task: str, tolerance: float = 1e-5) -> None:
    for seed in (20, 21):
        expected = run_onnx(folder / "model.onnx", frame(seed))[task]
        actual = session.run(task, {name: frame(seed)[name] for name in READS[task]})
        assert (actual.dtype, actual.shape) == (expected.dtype, expected.shape)
        np.testing.assert_allclose(actual, expected, atol=tolerance, rtol=tolerance)


@pytest.mark.parametrize("task", READS)
def test_a_task_reads_its_own_inputs(folder: Path, task: str) -> None:
    with Session.open(folder / "app.edgemtl", threads=1, check_arena=True) as session:
        assert [(of.name, of.shape) for of in session.inputs] == list(INPUTS.items())
        assert session.task_info(task).inputs == READS[task]
        assert_equal(session, folder, task)
        np.testing.assert_array_equal(session.run(task, frame(3)), session.run([task], frame(3))[task])


def test_the_self_test_has_every_type(folder: Path) -> None:
    with Session.open(folder / "app.edgemtl", threads=1) as session:
        results = session.selftest()
    assert all(result.passed for result in results)
    assert {result.task for result in results} == set(READS)


MISTAKES = [
    (
        {"ids": None},
        InputError,
        r"the inputs must have ids, which is missing; expected are rgb float32\[1, 3, 8, 8\], ",
    ),
    ({"id": np.zeros(3)}, InputError, r"the inputs must be some of rgb float32\[1, 3, 8, 8\], .*, and 'id' is none of"),
    ({"ids": np.zeros((1, 6), np.int32)}, InputError, r"ids must be int64, not int32; convert it with ids.astype"),
    ({"ids": np.zeros((1, 7), np.int64)}, InputError, r"ids must have the shape \[1, 6\], not \[1, 7\]; reshape it"),
    (
        {"ids": np.full((1, 6), 9)},
        InputError,
        r"ids must hold numbers from -9 to 8, not 9 at \[0, 0\] \(6 such values\)",
    ),
    ({"temperature": np.float32(1)}, InputError, r"temperature must be a numpy array, not float32"),
    (
        {"temperature": np.array(np.nan, np.float32)},
        InputError,
        r"temperature must hold finite numbers, not nan at \[\]",
    ),
]


@pytest.mark.parametrize(("change", "kind", "text"), MISTAKES)
def test_mistakes_are_named(
    folder: Path, change: dict[str, np.ndarray | None], kind: type[Exception], text: str
) -> None:
    given = {name: array for name, array in (frame(0) | change).items() if array is not None}
    with Session.open(folder / "app.edgemtl", threads=1) as session:
        with pytest.raises(kind, match=text):
            session.run("text", given)
        assert_equal(session, folder, "text")


def test_one_array_is_not_enough(folder: Path) -> None:
    with Session.open(folder / "app.edgemtl", threads=1) as session:
        with pytest.raises(
            InputError, match=r"the inputs must be a dict of arrays by name \(rgb .*\), not one ndarray"
        ):
            session.run("map", frame(0)["rgb"])
        with pytest.raises(UsageError, match="the bundle must have one input to be asked for it, and has rgb, depth"):
            _ = session.input


def test_the_command_line_runs_named_files_and_npz(folder: Path, tmp_path: Path, capfd: pytest.CaptureFixture) -> None:
    words = ["run", str(folder / "app.edgemtl"), "-o", str(tmp_path / "out"), "--json"]
    for name, array in frame(5).items():
        np.save(tmp_path / f"{name}.npy", array)
        words += ["--input", f"{name}={tmp_path / f'{name}.npy'}"]
    assert main(words) == 0
    np.savez(tmp_path / "all.npz", **frame(5))
    assert main([*words[:5], "--input", str(tmp_path / "all.npz")]) == 0
    expected = run_onnx(folder / "model.onnx", frame(5))
    for task in READS:
        for stem in ("rgb", "all"):
            actual = np.load(tmp_path / "out" / f"{stem}_{task}.npy")
            np.testing.assert_allclose(actual, expected[task], atol=1e-5)
    capfd.readouterr()
    words[3] = str(tmp_path / "other")
    assert main([*words[:5], "--input", f"rgb={tmp_path / 'rgb.npy'}"]) == 4
    assert "nothing is given for depth, ids, mask, temperature; give NAME=FILE for each of" in capfd.readouterr().err
    assert main([*words[:5], "--input", f"color={tmp_path / 'rgb.npy'}"]) == 2
    assert "NAME of --input NAME=FILE must be one of rgb, depth, ids, mask, temperature" in capfd.readouterr().err


def test_the_native_runner(folder: Path, tmp_path: Path) -> None:
    runner = [str(native.build(tmp_path / "edgemtl_run"))]
    program = native.extract(folder / "app.edgemtl", tmp_path / "program")
    actual = native.run(runner, program, frame(7), tmp_path, list(READS))
    for task, expected in run_onnx(folder / "model.onnx", frame(7)).items():
        np.testing.assert_allclose(actual[task], expected, atol=1e-5)
        assert actual[task].dtype == expected.dtype
    with pytest.raises(RuntimeError, match="input depth must be given, which map reads"):
        native.run(runner, program, {"rgb": frame(7)["rgb"]}, tmp_path, ["map"])


def test_int8(folder: Path, tmp_path: Path) -> None:
    """The integers of the CPU are those of the law: the self-test has no tolerance for the map."""
    options = CompileOptions(precision="int8", calibration=folder / "frames", threads=1)
    compile_model(folder / "model.onnx", options, tmp_path / "app.edgemtl")
    with Session.open(tmp_path / "app.edgemtl", threads=1) as session:
        assert all(result.passed for result in session.selftest())
        for seed in (20, 21):
            expected = run_onnx(folder / "model.onnx", frame(seed))
            actual = session.run(list(READS), frame(seed))
            noise = ((actual["map"] - expected["map"]) ** 2).mean()
            assert 10 * np.log10(expected["map"].var() / noise) > 25
            assert (actual["labels"] == expected["labels"]).mean() > 0.8


def test_what_a_task_does_not_read_is_said(folder: Path, capfd: pytest.CaptureFixture) -> None:
    assert main(["bundle", "info", str(folder / "app.edgemtl"), "--json"]) == 0
    manifest = json.loads(capfd.readouterr().out)["manifest"]
    assert [(of["name"], of["dtype"], of["bounds"]) for of in manifest["inputs"]] == [
        ("rgb", "float32", None),
        ("depth", "float32", None),
        ("ids", "int64", [-9, 8]),
        ("mask", "bool", None),
        ("temperature", "float32", None),
    ]
    assert "map: input ids, mask, temperature not read" in manifest["notes"]


def test_a_batch_that_the_model_fixes(tmp_path: Path) -> None:
    text = """<ir_version: 10, opset_import: ["" : 21]>
    g (float[2,3,6,6] images, float[4] row) => (float[2,5] y)
    {   a = Conv<strides = [2, 2]>(images, w)
        b = Relu(a)
        p = MaxPool<kernel_shape = [2, 2]>(b)
        m = GlobalAveragePool(p)
        f = Flatten(m)
        c = Mul(f, row)
        y = MatMul(c, k) }"""
    rng = np.random.default_rng(1)
    model = onnx.parser.parse_model(text)
    for name, shape in (("w", (4, 3, 2, 2)), ("k", (4, 5))):
        model.graph.initializer.append(numpy_helper.from_array(rng.standard_normal(shape).astype(np.float32), name))
    onnx.save(model, tmp_path / "m.onnx")
    compile_model(tmp_path / "m.onnx", CompileOptions(threads=1), tmp_path / "a.edgemtl")
    given = {"images": rng.standard_normal((2, 3, 6, 6)).astype(np.float32), "row": np.arange(4, dtype=np.float32)}
    with Session.open(tmp_path / "a.edgemtl", threads=1) as session:
        np.testing.assert_allclose(session.run("y", given), run_onnx(tmp_path / "m.onnx", given)["y"], atol=1e-5)
        with pytest.raises(InputError, match=r"images must have the shape \[2, 3, 6, 6\], not \[1, 3, 6, 6\]"):
            session.run("y", given | {"images": given["images"][:1]})
