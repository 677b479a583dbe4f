"""Models our exporter wrote."""

import hashlib
import json
import tempfile
from pathlib import Path

import onnx
import pytest
from hypothesis import Phase, given, settings

from edgemtl.errors import ModelError, UsageError
from edgemtl.exporters.models import ModelConfig
from edgemtl.frontend import InputSpec, MoELayer, Task, change_kinds, read_model
from tests.support.models import build_and_export, moe_configs
from tests.support.run import assert_same, random_image, run_canonical, run_onnx


def test_reads_what_the_metadata_says(exported: Path) -> None:
    model = read_model(exported)
    assert model.inputs == (InputSpec("image", (1, 3, 16, 24), (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),)
    assert model.tasks == (Task("semseg", "semseg", "segmentation", 5), Task("depth", "depth", "depth", 1))
    names = ["semseg/backbone.blocks.1.mlp/MoE", "depth/backbone.blocks.1.mlp/MoE"]
    assert model.moe == tuple(MoELayer(name, 5, 3, 24, 20) for name in names)
    assert model.notes == ()
    assert model.sha256 == hashlib.sha256(exported.read_bytes()).hexdigest()


@pytest.mark.parametrize("fixture", ["exported", "exported_window"])
def test_computes_what_the_file_computes(fixture: str, request: pytest.FixtureRequest) -> None:
    path = request.getfixturevalue(fixture)
    model = read_model(path)
    image = random_image(model.inputs[0].shape)
    assert_same(run_canonical(model, image), run_onnx(path, {"image": image}))


def test_is_what_the_compiler_expects(exported_window: Path) -> None:
    model = read_model(exported_window)
    assert {(n.domain, n.op_type) for n in model.ir.graph if n.domain} == {("edgemtl", "MoE")}
    values = [value for node in model.ir.graph for value in node.outputs]
    assert all(value.shape is not None and value.shape.is_static() and value.dtype is not None for value in values)
    assert len(model.ir.graph.inputs) == 1
    read = {value for node in model.ir.graph for value in node.inputs}
    assert all(value in read for value in model.ir.graph.initializers.values())
    windows = [tuple(n.attributes["window"].as_ints()) for n in model.ir.graph if n.op_type == "MoE"]
    assert windows == [(0, 3), (2, 3)]
    assert not {"Constant", "Identity", "Dropout", "Split"} & {n.op_type for n in model.ir.graph}


def test_keeps_the_tasks_asked_for(exported: Path) -> None:
    model = read_model(exported, tasks=("depth",))
    assert [task.name for task in model.tasks] == ["depth"]
    assert len(model.moe) == 1
    assert not any(str(name).startswith("decoders.semseg") for name in model.ir.graph.initializers)
    image = random_image(model.inputs[0].shape)
    assert_same(run_canonical(model, image), {"depth": run_onnx(exported, {"image": image})["depth"]})


def test_orders_tasks_as_asked(exported: Path) -> None:
    assert [task.name for task in read_model(exported, tasks=("depth", "semseg")).tasks] == ["depth", "semseg"]


@pytest.mark.parametrize("tasks", [(), ("normals",), ("depth", "depth")])
def test_refuses_tasks_it_does_not_have(exported: Path, tasks: tuple[str, ...]) -> None:
    with pytest.raises(UsageError, match="tasks must be different ones of semseg, depth, not "):
        read_model(exported, tasks=tasks)


@settings(max_examples=2, deadline=None, derandomize=True, database=None, phases=[Phase.generate])
@given(moe_configs())
def test_any_model_comes_back(config: ModelConfig) -> None:
    with tempfile.TemporaryDirectory() as folder:
        _, path = build_and_export(config, 3, Path(folder))
        model = read_model(path)
        image = random_image(model.inputs[0].shape)
        assert_same(run_canonical(model, image), run_onnx(path, {"image": image}))
    assert [task.name for task in model.tasks] == list(config.task_names)
    assert not model.notes
    widths = {(layer.experts, layer.top_k, layer.dim, layer.hidden) for layer in model.moe}
    assert widths == {(config.experts, config.top_k, config.dim, config.expert_hidden)}


def with_metadata(path: Path, folder: Path, text: str) -> Path:
    proto = onnx.load(path)
    proto.metadata_props[0].value = text
    target = folder / "changed.onnx"
    onnx.save(proto, target)
    return target


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('"schema_version":1', '"schema_version":2', "metadata must be of schema version 1, not 2; export again"),
        ('"schema_version":1', '"schema', "metadata 'edgemtl' must be what the exporter writes, not "),
        ('"kind":"depth"', '"kind":"deep"', "metadata 'edgemtl' must be what the exporter writes, not "),
        ('"output":"depth"', '"output":"semseg"', "metadata 'edgemtl' must be what the exporter writes, not "),
        ('"std":[0.229,0.224,0.225]},', '"std":[0.224,0.225]},', "metadata of input image must have 3 means "),
        ('"std":[0.229,0.224,0.225]},', '"std":[0,0.224,0.225]},', "metadata of input image must have 3 means "),
        (
            '"resize_filter":"pillow-bilinear"',
            '"resize_filter":"area"',
            "metadata of input image must have a resize_filter of pillow-bilinear, pillow-bicubic, torch-bilinear, not",
        ),
        ('"kind":"depth"', '"classes":"cat","kind":"depth"', "must be what the exporter writes, not "),
        ('"kind":"depth"', '"classes":["a"],"kind":"depth"', "metadata of task depth must have 0 class names, not 1;"),
        (
            '"kind":"segmentation"',
            '"classes":["a"],"kind":"segmentation"',
            "metadata of task semseg must have 5 class names, not 1; export again",
        ),
    ],
)
def test_refuses_damaged_metadata(exported: Path, tmp_path: Path, old: str, new: str, message: str) -> None:
    text = onnx.load(exported).metadata_props[0].value
    assert old in text
    with pytest.raises(ModelError) as error:
        read_model(with_metadata(exported, tmp_path, text.replace(old, new)))
    assert message in str(error.value)


def test_what_the_metadata_says_of_classes_filter_and_kind(exported: Path, tmp_path: Path) -> None:
    text = onnx.load(exported).metadata_props[0].value
    names = ["wall", "floor", "door", "lamp", "chair"]
    text = text.replace('"kind":"segmentation"', f'"classes":{json.dumps(names)},"kind":"segmentation"')
    text = text.replace("pillow-bilinear", "torch-bilinear").replace('"kind":"depth"', '"kind":"classification"')
    model = read_model(with_metadata(exported, tmp_path, text))
    assert model.inputs[0].resize_filter == "torch-bilinear"
    assert model.tasks[0].classes == tuple(names)
    assert (model.tasks[1].kind, model.tasks[1].classes) == ("other", ())
    assert any("task depth: recorded as classification, which is one axis of at least 2" in n for n in model.notes)
    assert not any("task depth: " in note for note in change_kinds(model, {"depth": "depth"}).notes)


def test_a_file_without_a_filter_has_the_default(exported: Path, tmp_path: Path) -> None:
    text = onnx.load(exported).metadata_props[0].value.replace('"resize_filter":"pillow-bilinear",', "")
    assert read_model(with_metadata(exported, tmp_path, text)).inputs[0].resize_filter == "pillow-bilinear"
