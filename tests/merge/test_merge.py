"""Real exports merged by the command, then compiled and run, against onnxruntime on the files they come from."""

from pathlib import Path

import numpy as np
import onnx
import pytest

from edgemtl.cli.app import main
from edgemtl.exporters.to_onnx import export_onnx
from edgemtl.frontend import read_model
from edgemtl.partition import inspect_model
from edgemtl.runtime import Session
from examples.smooth_images import smooth_images
from tests.cli.test_verbs import run_json
from tests.support.models import build, small_config
from tests.support.run import random_image, run_onnx
from tests.support.single_tasks import SIZE, Net, Trunk, adapted, export

SHAPE = (1, 3, SIZE, SIZE)


@pytest.fixture(scope="module")
def merged(files: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """semseg and depth, which have one trunk, and normals, whose last block was fine-tuned."""
    path = tmp_path_factory.mktemp("merged") / "all.onnx"
    assert (
        main(["-q", "merge", *(str(files / f"{t}.onnx") for t in ("semseg", "depth", "normals")), "-o", str(path)]) == 0
    )
    return path


def single(files: Path, task: str, image: np.ndarray) -> np.ndarray:
    return run_onnx(files / f"{task}.onnx", {"image": image})["output"]


def signal_to_noise(actual: np.ndarray, expected: np.ndarray) -> float:
    return 10 * np.log10(np.square(expected).sum() / np.square(actual - expected).sum())


def test_outputs_have_the_bits_of_the_files(files, merged):
    onnx.checker.check_model(onnx.load(merged), full_check=True)
    for seed in range(3):
        image = random_image(SHAPE, seed + 10)
        outputs = run_onnx(merged, {"image": image})
        assert list(outputs) == ["semseg", "depth", "normals"]
        for task, output in outputs.items():
            np.testing.assert_array_equal(output, single(files, task, image))


def test_what_is_common_is_stored_and_computed_once(capsys, files, tmp_path):
    names = [files / f"{task}.onnx" for task in ("semseg", "depth")]
    document = run_json(capsys, "merge", *names, "-o", tmp_path / "all.onnx")
    tokens, dim, heads = 16, 32, 5 + 1
    block = tokens * dim * dim * (3 + 1 + 4 + 4) + 2 * tokens * tokens * dim
    assert document["macs"] == tokens * dim * 3 * 8 * 8 + 2 * block + tokens * dim * heads
    assert document["file_macs"] - document["macs"] == document["macs"] - tokens * dim * heads
    assert document["shared_until"] == "/trunk/norm/LayerNormalization"
    sizes = [path.stat().st_size for path in names]
    assert document["file_bytes"] == sum(sizes)
    assert document["model_bytes"] == (tmp_path / "all.onnx").stat().st_size < max(sizes) + 4096
    trunk = 4 * sum(parameter.numel() for parameter in Trunk(0).parameters())
    stored = sum(len(tensor.raw_data) for tensor in onnx.load(tmp_path / "all.onnx").graph.initializer)
    assert trunk + 4 * (heads * dim + heads) <= stored < trunk + 4 * (heads * dim + heads) + 1024


def test_it_says_where_tasks_part_and_what_is_saved(capsys, files, tmp_path):
    names = [str(files / f"{task}.onnx") for task in ("semseg", "depth", "normals")]
    assert main(["merge", *names, "-o", str(tmp_path / "all.onnx")]) == 0
    text = " ".join(capsys.readouterr().out.split())
    assert "all tasks part behind /trunk/blocks/blocks.1/norm2/LayerNormalization" in text
    assert "semseg │ /trunk/norm/LayerNormalization" in text
    assert " MMAC" in text.partition("saves ")[2]


def test_the_compiler_takes_it_as_a_multi_task_model(capsys, files, merged, tmp_path):
    document = run_json(capsys, "inspect", merged)
    assert [task["name"] for task in document["tasks"]] == ["semseg", "depth", "normals"]
    assert run_json(capsys, "check", merged)["supported"]
    run_json(capsys, "compile", merged, "-o", tmp_path / "all.edgemtl")
    run_json(capsys, "compile", merged, "--task", "depth", "-o", tmp_path / "one.edgemtl")
    image = random_image(SHAPE, 3)
    with Session.open(tmp_path / "all.edgemtl") as session, Session.open(tmp_path / "one.edgemtl") as one:
        for task in session.tasks:
            np.testing.assert_allclose(session.run(task, image), single(files, task, image), atol=1e-4)
        np.testing.assert_array_equal(one.run("depth", image), session.run("depth", image))


@pytest.fixture
def images(tmp_path: Path) -> Path:
    (tmp_path / "images").mkdir()
    for number, image in enumerate(smooth_images(SHAPE, 8)):
        np.save(tmp_path / f"images/{number}.npy", image)
    return tmp_path / "images"


def test_int8_of_the_merged_model_is_near_the_files(capsys, files, merged, images, tmp_path):
    arguments = ("--precision", "int8", "--calibration", images)
    run_json(capsys, "compile", merged, *arguments, "-o", tmp_path / "all.edgemtl")
    image = smooth_images(SHAPE, 1, seed=4)[0]
    with Session.open(tmp_path / "all.edgemtl") as session:
        for task in session.tasks:
            assert signal_to_noise(session.run(task, image), single(files, task, image)) > 20


def assert_measured(files: Path, merged: Path, document: dict) -> None:
    """What was reported is no better than onnxruntime says on the first of its images; null means equal bits."""
    image = random_image(SHAPE, 0)
    outputs = run_onnx(merged, {"image": image}, optimise=False)
    for task in document["tasks"]:
        expected = run_onnx(files / f"{task['task']}.onnx", {"image": image}, optimise=False)["output"]
        if task["sqnr_db"] is None:
            np.testing.assert_array_equal(outputs[task["task"]], expected)
        else:
            assert 0 < np.abs(outputs[task["task"]] - expected).max() <= task["max_abs"]
            assert signal_to_noise(outputs[task["task"]], expected) >= task["sqnr_db"] - 0.1


@pytest.mark.parametrize("bits", [8, 4])
def test_differences_are_added_when_it_is_compiled(capsys, files, images, tmp_path, bits):
    names = [files / f"{task}.onnx" for task in ("semseg", "normals", "edges")]
    document = run_json(capsys, "merge", *names, "--deltas", bits, "-o", tmp_path / "all.onnx")
    plain = run_json(capsys, "merge", *names, "-o", tmp_path / "plain.onnx")
    assert document["model_bytes"] < plain["model_bytes"]
    counts = {task["task"]: task["delta_weights"] for task in document["tasks"]}
    assert counts == {"semseg": 0, "normals": 2, "edges": 2}
    assert_measured(files, tmp_path / "all.onnx", document)
    assert all(task["sqnr_db"] > {8: 45, 4: 20}[bits] for task in document["tasks"][1:])
    image = smooth_images(SHAPE, 1, seed=4)[0]
    outputs = run_onnx(tmp_path / "all.onnx", {"image": image})
    int8 = ("int8", ("--calibration", images), 20)
    for precision, arguments, least in (("fp32", (), 100), *([int8] if bits == 8 else [])):
        bundle = tmp_path / f"{precision}.edgemtl"
        run_json(capsys, "compile", tmp_path / "all.onnx", "--precision", precision, *arguments, "-o", bundle)
        with Session.open(bundle) as session:
            for task in session.tasks:
                assert signal_to_noise(session.run(task, image), outputs[task]) > least


def test_weights_within_the_tolerance_are_run_once(capsys, files, tmp_path):
    names = [files / f"{task}.onnx" for task in ("semseg", "normals")]
    document = run_json(capsys, "merge", *names, "--tolerance", 0.05, "-o", tmp_path / "all.onnx")
    assert document["shared_until"] == "/trunk/norm/LayerNormalization"
    near = document["tasks"][1]
    assert near["near_weights"] == 2
    assert near["sqnr_db"] > 20
    assert_measured(files, tmp_path / "all.onnx", document)


def test_a_result_too_far_from_its_file_is_not_written(capsys, files, tmp_path):
    names = [str(files / f"{task}.onnx") for task in ("semseg", "normals")]
    arguments = ["--tolerance", "0.05", "--min-sqnr", "90", "-o", str(tmp_path / "all.onnx")]
    assert main(["-q", "merge", *names, *arguments]) == 1
    assert "task normals must keep a signal-to-noise ratio of 90 dB to" in " ".join(capsys.readouterr().err.split())
    assert not list(tmp_path.iterdir())


def test_the_same_files_give_the_same_bytes(capsys, files, tmp_path, monkeypatch):
    names = [files / f"{task}.onnx" for task in ("semseg", "edges")]
    for name in ("a", "b"):
        run_json(capsys, "merge", *names, "--deltas", 8, "-o", tmp_path / f"{name}.onnx")
    monkeypatch.chdir(files)
    run_json(capsys, "merge", "semseg.onnx", "edges.onnx", "--deltas", 8, "-o", tmp_path / "c.onnx")
    contents = [(tmp_path / f"{name}.onnx").read_bytes() for name in "abc"]
    assert contents[0] == contents[1] == contents[2]


@pytest.mark.slow
def test_single_tasks_of_our_exporter_become_its_multi_task_model(capsys, tmp_path):
    model = build(small_config(), 0)
    for name, tasks in (("whole", None), ("a", ["semseg"]), ("b", ["depth"])):
        export_onnx(model, tmp_path / f"{name}.onnx", tasks=tasks)
    whole = inspect_model(read_model(tmp_path / "whole.onnx")).to_json()
    named = ("--task", f"semseg={tmp_path / 'a.onnx'}", "--task", f"depth={tmp_path / 'b.onnx'}")
    run_json(capsys, "merge", *named, "-o", tmp_path / "all.onnx")
    document = inspect_model(read_model(tmp_path / "all.onnx")).to_json()
    assert {key: document[key] for key in ("inputs", "full", "common")} == {
        key: whole[key] for key in ("inputs", "full", "common")
    }
    keys = ("name", "kind", "channels", "macs", "weight_bytes")
    assert [[t[k] for k in keys] for t in document["tasks"]] == [[t[k] for k in keys] for t in whole["tasks"]]


def test_files_of_other_opsets_batches_and_weight_files(capsys, files, tmp_path):
    """depth as opset 17, as 20 with its weights beside it, and a task for any batch."""
    trunk = Trunk(0)
    export(Net(trunk, 7), tmp_path / "newer.onnx", opset=20)
    proto = onnx.load(export(Net(trunk, 8), tmp_path / "beside.onnx"))
    onnx.save(proto, tmp_path / "beside.onnx", save_as_external_data=True, size_threshold=64, location="weights.bin")
    names = [files / "depth.onnx", files / "any_batch.onnx", tmp_path / "newer.onnx", tmp_path / "beside.onnx"]
    document = run_json(capsys, "merge", *names, "-o", tmp_path / "all.onnx")
    assert document["shared_until"] is not None
    assert document["tasks"][1]["shared_until"] == "/trunk/norm/LayerNormalization"
    sizes = [path.stat().st_size for path in (*names, tmp_path / "weights.bin")]
    assert document["file_bytes"] == sum(sizes)
    image = random_image(SHAPE, 5)
    outputs = run_onnx(tmp_path / "all.onnx", {"image": image}, optimise=False)
    for path in names:
        np.testing.assert_array_equal(outputs[path.stem], run_onnx(path, {"image": image}, optimise=False)["output"])


@pytest.mark.slow
def test_the_other_exporter_of_torch(capsys, tmp_path):
    trunk = Trunk(0)
    for name, net in (("a", Net(trunk, 1)), ("b", Net(trunk, 2)), ("c", Net(adapted(trunk), 3))):
        export(net, tmp_path / f"{name}.onnx", opset=20, dynamo=True)
    names = [tmp_path / f"{name}.onnx" for name in "abc"]
    document = run_json(capsys, "merge", *names, "--deltas", 8, "-o", tmp_path / "all.onnx")
    assert [task["delta_weights"] for task in document["tasks"]] == [0, 0, 2]
    assert document["tasks"][0]["shared_until"] == document["tasks"][1]["shared_until"] != document["shared_until"]
