"""A model that classifies and segments, from torch through every verb, against torch."""

import json
import warnings
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from edgemtl.cli.app import main
from edgemtl.exporters.models import TaskSpec
from tests.cli.test_errors import assert_fails
from tests.cli.test_verbs import run_json
from tests.support.models import TASKS, build_and_export, small_config

HEIGHT, WIDTH, CLASSES = 16, 24, 7
NAMES = [f"scene {index}" for index in range(CLASSES)]
NORMALISATION = ("--mean", "0.5,0.5,0.5", "--std", "0.25,0.25,0.25")
INT8 = ("--precision", "int8", "--calibration", "data/images", "--min-sqnr", "5")


class Mixed(nn.Module):
    """A trunk with a map, scores of classes, and scores of every other rank."""

    def __init__(self) -> None:
        super().__init__()
        self.trunk = nn.Sequential(nn.Conv2d(3, 16, 3, 2, 1), nn.ReLU(), nn.Conv2d(16, 16, 3, 2, 1), nn.ReLU())
        self.segments = nn.Conv2d(16, 5, 1)
        self.classes = nn.Linear(16 * HEIGHT // 4 * WIDTH // 4, CLASSES)

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        features = self.trunk(image)
        scores = self.classes(features.flatten(1))
        return self.segments(features), scores, scores[0], scores[None], scores.sum()


OUTPUTS = ["semseg", "scene_class", "vector", "deep", "number"]


@pytest.fixture(scope="module")
def torch_model() -> Mixed:
    torch.manual_seed(3)
    return Mixed().eval()


@pytest.fixture(scope="module")
def model(torch_model: Mixed, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model") / "mixed.onnx"
    image = torch.zeros(1, 3, HEIGHT, WIDTH)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's own, about its own ways
        torch.onnx.export(
            torch_model,
            (image,),
            path,
            dynamo=True,
            opset_version=20,
            input_names=["image"],
            output_names=OUTPUTS,
            external_data=False,
            verbose=False,
        )
    return path


@pytest.fixture(scope="module")
def bundle(model: Path) -> Path:
    path = model.with_suffix(".edgemtl")
    assert main(["-q", "compile", str(model), *NORMALISATION, "-o", str(path)]) == 0
    return path


@pytest.fixture
def data(in_folder: Path) -> Path:
    """Twelve pictures of the model's size."""
    rng = np.random.default_rng(4)
    Path("data/images").mkdir(parents=True)
    for index in range(12):
        coarse = Image.fromarray(rng.integers(0, 256, (4, 6, 3), np.uint8))
        coarse.resize((WIDTH, HEIGHT)).save(f"data/images/{index:02}.png")
    return Path("data")


def scores_of(torch_model: Mixed, path: Path) -> np.ndarray:
    pixels = torch.from_numpy(np.array(Image.open(path, formats=("PNG",)))).permute(2, 0, 1)[None] / 255
    with torch.inference_mode():
        return torch_model((pixels - 0.5) / 0.25)[1][0].numpy()


def write_labels(task: str, rows: list[tuple[str, object]]) -> None:
    Path("data", task).mkdir(exist_ok=True)
    lines = "".join(f"{image},{label}\n" for image, label in rows)
    Path("data", task, "labels.csv").write_text(f"image,class\n{lines}")


def test_run_writes_arrays_of_every_rank_and_the_best_classes(capsys, torch_model, bundle, data):
    document = run_json(capsys, "run", bundle, "--input", "data/images", "-o", "out")
    assert len(document["written"]) == 12 * len(OUTPUTS)
    suffixes = {task: {Path(f).suffix for f in Path("out").glob(f"*_{task}.*")} for task in OUTPUTS}
    assert suffixes == {
        "semseg": {".npy", ".png"},
        "scene_class": {".npy", ".json"},
        "vector": {".npy"},
        "deep": {".npy"},
        "number": {".npy"},
    }
    for path in sorted(Path("data/images").iterdir()):
        top = json.loads(Path("out", f"{path.stem}_scene_class.json").read_text())["top"]
        scores = scores_of(torch_model, path)
        assert [item["class"] for item in top] == np.argsort(-scores, kind="stable")[:5].tolist()
        np.testing.assert_allclose([item["score"] for item in top], np.sort(scores)[:-6:-1], atol=1e-4)
        assert all("name" not in item for item in top)


def test_eval_counts_top_1_and_top_5(capsys, torch_model, bundle, data):
    paths = sorted(Path("data/images").iterdir())
    labels = [index % CLASSES for index in range(len(paths))]
    write_labels(
        "scene_class", [(p.name if i % 2 else p.stem, c) for i, (p, c) in enumerate(zip(paths, labels, strict=True))]
    )
    (task,) = run_json(capsys, "eval", bundle, "--data", "data", "--task", "scene_class")["tasks"]
    scores = [scores_of(torch_model, path) for path in paths]
    ranks = [int((s > s[label]).sum()) for s, label in zip(scores, labels, strict=True)]
    expected = {"top1": np.mean([r < 1 for r in ranks]), "top5": np.mean([r < 5 for r in ranks])}
    assert 0 < expected["top5"] < 1
    assert (task["kind"], task["images"], task["metrics"]) == ("classification", 12, pytest.approx(expected))


def test_maps_and_classes_are_evaluated_together(capsys, bundle, data):
    run_json(capsys, "run", bundle, "--input", "data/images", "-o", "out")
    Path("data/semseg").mkdir()
    for path in Path("out").glob("*_semseg.npy"):
        np.save(f"data/semseg/{path.stem[:2]}.npy", np.load(path)[0].argmax(0))
    best = {p.stem[:2]: json.loads(p.read_text())["top"][0]["class"] for p in Path("out").glob("*_scene_class.json")}
    write_labels("scene_class", list(best.items()))
    tasks = run_json(capsys, "eval", bundle, "--data", "data", "--task", "semseg", "--task", "scene_class")["tasks"]
    assert [task["metrics"] for task in tasks] == [{"miou": 1, "pixel_accuracy": 1}, {"top1": 1, "top5": 1}]


@pytest.mark.parametrize("verb", [("bench", "--runs", "2", "--warmup", "0"), ("selftest",), ("bundle", "info")])
def test_no_rank_breaks_a_verb(capsys, bundle, verb):
    split = 2 if verb[0] == "bundle" else 1
    document = run_json(capsys, *verb[:split], bundle, *verb[split:])
    assert (
        {task["task"] for task in document["tasks"]} == set(OUTPUTS) if "tasks" in document else "manifest" in document
    )


def test_profile_and_compare_take_every_rank(capsys, model, bundle, data):
    inputs = ("--input", "data/images/00.png")
    document = run_json(capsys, "profile", bundle, "--device", "cpu", *inputs, "--runs", "2", "-o", "report")
    assert [task["task"] for task in document["tasks"]] == OUTPUTS
    for task in OUTPUTS:
        arguments = ("--model", model, "--task", task, *inputs, *NORMALISATION, "--report", f"{task}.html")
        found = run_json(capsys, "compare", "onnx", "fp32", *arguments)
        assert min(layer["sqnr_db"] or 999 for layer in found["layers"]) > 80


def test_classes_have_names_where_the_model_records_them(capsys, model, data):
    described = onnx.load(model)
    task = {"name": "scene", "output": "scene_class", "kind": "classification", "channels": CLASSES, "classes": NAMES}
    image = {"name": "image", "mean": [0.5] * 3, "std": [0.25] * 3, "resize_filter": "torch-bilinear"}
    text = json.dumps({"schema_version": 1, "tasks": [task], "input": image})
    onnx.helper.set_model_props(described, {"edgemtl": text})
    onnx.save(described, "named.onnx")
    run_json(capsys, "compile", "named.onnx", "--task", "scene", "-o", "named.edgemtl")
    manifest = run_json(capsys, "bundle", "info", "named.edgemtl")["manifest"]
    assert manifest["tasks"][0]["classes"] == NAMES
    assert manifest["inputs"][0]["resize_filter"] == "torch-bilinear"
    (written,) = run_json(capsys, "run", "named.edgemtl", "--input", "data/images/00.png", "-o", "out")["written"]
    top = json.loads(Path(written["classes"]).read_text())["top"]
    assert [item["name"] for item in top] == [NAMES[item["class"]] for item in top]
    run_json(capsys, "run", "named.edgemtl", "--input", "data/images", "-o", "out2")
    best = {p.stem[:2]: json.loads(p.read_text())["top"][0]["name"] for p in Path("out2").glob("*.json")}
    write_labels("scene", list(best.items()))
    assert run_json(capsys, "eval", "named.edgemtl", "--data", "data")["tasks"][0]["metrics"]["top1"] == 1


@pytest.mark.parametrize("target", ["cpu", "zcu104"])
def test_int8_and_a_board_classify_as_float_does(capsys, torch_model, model, data, target):
    device = ("--device", "sim") if target == "zcu104" else ()
    tasks = ("--task", "semseg", "--task", "scene_class")
    run_json(capsys, "compile", model, *NORMALISATION, *tasks, "--target", target, *INT8, "-o", "int8.edgemtl")
    assert run_json(capsys, "selftest", "int8.edgemtl", *device)["passed"]
    run_json(capsys, "run", "int8.edgemtl", *device, "--input", "data/images", "-o", "out")
    assert len(list(Path("out").glob("*_semseg.png"))) == 12
    for path in sorted(Path("data/images").iterdir()):
        expected, found = scores_of(torch_model, path), np.load(f"out/{path.stem}_scene_class.npy")[0]
        assert np.abs(found - expected).max() < 0.15 * np.ptp(expected)
    run_json(
        capsys, "profile", "int8.edgemtl", "--device", device[-1] if device else "cpu", "--input", path, "-o", "report"
    )


def test_the_class_token_of_our_own_models(capsys, data):
    """A head of classes beside one of segments, exported, on a board."""
    config = small_config(
        head_channels=(12, 8, 6), class_token=True, tasks=(TASKS[0], TaskSpec("scene", CLASSES, "classification"))
    )
    own, path = build_and_export(config, 0, Path())
    run_json(capsys, "compile", path, "--target", "zcu104", *INT8, "-o", "own.edgemtl")
    run_json(capsys, "run", "own.edgemtl", "--device", "sim", "--input", "data/images/00.png", "-o", "out")
    pixels = torch.from_numpy(np.array(Image.open("data/images/00.png"))).permute(2, 0, 1)[None] / 255
    mean, std = (torch.tensor(values)[:, None, None] for values in (config.mean, config.std))
    with torch.inference_mode():
        expected = own((pixels - mean) / std, "scene")[0].numpy()
    top = json.loads(Path("out/00_scene.json").read_text())["top"]
    assert expected[top[0]["class"]] > expected.max() - 0.15 * np.ptp(expected)


def test_kinds_that_a_shape_forbids_are_refused(capsys, model, in_folder):
    text = "--kind semseg=classification must be of an output with one axis of at least 2 classes, and all others 1"
    assert_fails(capsys, 2, text, "compile", model, "--kind", "semseg=classification", "-o", "a.edgemtl")
    text = "--kind vector=depth must be of an output with [1, C, height, width] with C = 1, not [7]; leave it out"
    assert_fails(capsys, 2, text, "check", model, "--kind", "vector=depth")


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (None, "scene_class/labels.csv: must be there, with the columns image,class"),
        ("", "must have the columns image,class, named in the first line, and no others"),
        ("00,1\n", "must have the columns image,class, named in the first line, and no others"),
        ("image,class\n00,1,2\n", "must have the columns image,class, named in the first line, and no others"),
        ("image,class\n00,1\n00,1\n", "each image must be there once, and 00 is again in line 3"),
        ("image,class\n00,cat\n", "a class must be an index, since the model records no names, not 'cat' in line 2"),
        ("image,class\n00,-1\n", "a class must be an index, since the model records no names, not '-1' in line 2"),
        ("image,class\n00,7\n", "a class must be from 0 to 6, not 7; check that the labels belong to this model"),
        ("image,class\n00,1\n00.png,2\n", "must hold one class for image 00.png; it holds two"),
        ("image,class\n01,1\n", "must hold one class for image 00.png; it holds none"),
        ('image,class\n"00,1\n', "must be a readable CSV file in UTF-8"),
        (b"image,class\n\xff\xfe,1\n", "must be a readable CSV file in UTF-8"),
    ],
)
def test_labels_it_refuses(capsys, bundle, data, content, text):
    Path("data/scene_class").mkdir()
    if content is not None:
        Path("data/scene_class/labels.csv").write_bytes(content if isinstance(content, bytes) else content.encode())
    assert_fails(capsys, 1, text, "eval", bundle, "--data", "data", "--task", "scene_class")


def test_pictures_of_one_name_do_not_overwrite_each_other(capsys, bundle, data):
    Image.new("RGB", (WIDTH, HEIGHT)).save("data/images/00.jpg")
    text = "must have another name: its result out/00_semseg.npy is that of data/images/00.jpg; rename one"
    assert_fails(capsys, 2, text, "run", bundle, "--input", "data/images", "-o", "out")
    Path("data/semseg").mkdir()
    text = "images must have different names, since labels go by them, not 00.jpg, 00.png; rename"
    assert_fails(capsys, 1, text, "eval", bundle, "--data", "data", "--task", "semseg")
    assert not Path("out").exists()
