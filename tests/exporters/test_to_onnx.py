import hashlib
import json
import re
import sys
import tempfile
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from hypothesis import Phase, given, settings

from edgemtl.errors import CheckpointError, ModelError, UsageError
from edgemtl.exporters import parity, to_onnx
from edgemtl.exporters.models import ModelConfig, TaskSpec
from edgemtl.exporters.to_onnx import ExportReport, export_onnx
from edgemtl.frontend.moe_node import MoEAttributes
from tests.support.models import build, moe_configs, small_config
from tests.support.run import run_onnx


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> tuple[torch.nn.Module, ExportReport]:
    model = build(small_config(), 1)
    return model, export_onnx(model, tmp_path_factory.mktemp("export") / "model.onnx")


def test_onnxruntime_runs_the_file_as_it_is(exported) -> None:
    model, report = exported
    image = torch.randn(1, 3, 16, 24, generator=torch.Generator().manual_seed(7))
    with torch.no_grad():
        expected = {name: value.numpy() for name, value in model.forward_all(image).items()}
    found = run_onnx(report.path, {"image": image.numpy()})
    assert list(found) == ["semseg", "depth"]
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], value, atol=1e-5)


def test_reports_what_it_wrote_and_how_well_it_agrees(exported) -> None:
    _, report = exported
    data = report.path.read_bytes()
    assert (report.bytes, report.sha256) == (len(data), hashlib.sha256(data).hexdigest())
    assert (report.external, report.moe_layers) == (None, 2)
    assert [p.task for p in report.parity] == ["semseg", "depth"]
    assert all(p.max_abs_error < 1e-5 < p.max_abs_value and p.ties == 0 for p in report.parity)
    assert report.max_abs_error == {p.task: p.max_abs_error for p in report.parity}


def test_the_file_is_sound_and_describes_itself(exported) -> None:
    model, report = exported
    onnx.checker.check_model(str(report.path), full_check=True)
    proto = onnx.load(report.path)
    assert {o.domain: o.version for o in proto.opset_import} == {"": 20, "edgemtl": 1}
    assert [f.overload for f in proto.functions] == [MoEAttributes(2).overload]
    (entry,) = proto.metadata_props
    config = model.config
    assert entry.key == "edgemtl"
    assert json.loads(entry.value) == {
        "schema_version": 1,
        "model": json.loads(json.dumps(config.to_json(), default=vars)),
        "tasks": [
            {"name": "semseg", "output": "semseg", "kind": "segmentation", "channels": 5},
            {"name": "depth", "output": "depth", "kind": "depth", "channels": 1},
        ],
        "input": {
            "name": "image",
            "mean": list(config.mean),
            "std": list(config.std),
            "resize_filter": "pillow-bilinear",
        },
        "routing": "multi_gate",
    }


def test_nodes_keep_their_module_path_and_nothing_of_the_machine(exported) -> None:
    _, report = exported
    proto = onnx.load(report.path)
    modules = {name for name, _ in exported[0].named_modules()}
    for node in proto.graph.node:
        assert [p.key for p in node.metadata_props] in ([], ["edgemtl.origin"])
        assert all(p.value in modules for p in node.metadata_props)
        assert not node.doc_string
    names = [node.name for node in proto.graph.node]
    assert len(set(names)) == len(names)
    assert [n.name for n in proto.graph.node if n.domain] == [
        "semseg/backbone.blocks.1.mlp/MoE",
        "depth/backbone.blocks.1.mlp/MoE",
    ]
    texts = re.findall(rb"[ -~]{4,}", report.path.read_bytes())
    machine = [str(Path.cwd()), str(Path.home()), sys.prefix, ".py", "site-packages", "torch", "File "]
    assert not [t for t in texts if any(word.encode() in t for word in machine)]


def test_what_tasks_share_is_there_once(exported) -> None:
    proto = onnx.load(exported[1].path)
    kinds = [node.op_type for node in proto.graph.node]
    assert kinds.count("MoE") == 2
    assert [n.name for n in proto.graph.node if "patch_embed" in n.name and n.op_type == "Conv"] == [
        "backbone.patch_embed.proj/Conv"
    ]
    # The attention before the first mixture runs once; there is none after it.
    assert kinds.count("Softmax") == 2
    stacked = [t.name for t in proto.graph.initializer if len(t.dims) == 3 and t.dims[0] == 5]
    assert len(stacked) == 2
    assert all(name.startswith("backbone.blocks.1.mlp.") for name in stacked)


def test_the_same_weights_give_the_same_bytes(exported, tmp_path: Path) -> None:
    model, report = exported
    again = export_onnx(model, tmp_path / "other_name.onnx")
    assert again.path.read_bytes() == report.path.read_bytes()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["other_name.onnx"]


def test_some_tasks_in_the_order_asked_and_the_model_left_as_it_was(tmp_path: Path) -> None:
    model = build(small_config(routing="window", experts_per_task=3, expert_prune=0.3), 2).train()
    computes = [layer.compute for layer in model.moe_layers()]
    report = export_onnx(model, tmp_path / "m.onnx", tasks=["depth"])
    proto = onnx.load(report.path)
    assert [o.name for o in proto.graph.output] == ["depth"]
    assert [f.overload for f in proto.functions] == ["k2_gelu_above0.3_window2to3"]
    assert [n.name for n in proto.graph.node if n.domain] == ["backbone.blocks.1.mlp/MoE"]
    assert all(module.training for module in model.modules())
    assert [layer.compute for layer in model.moe_layers()] == computes


def test_a_task_called_like_the_input_is_refused(tmp_path: Path) -> None:
    model = build(small_config(tasks=(TaskSpec("image", 1, "other"),)), 1)
    with pytest.raises(UsageError, match=r"^a task must not be called image, as the input is; give it another name"):
        export_onnx(model, tmp_path / "m.onnx")
    assert list(tmp_path.iterdir()) == []


def test_large_weights_go_to_a_file_beside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(to_onnx, "EXTERNAL_DATA_BYTES", 1000)
    model = build(small_config(tasks=small_config().tasks[:1]), 3)
    report = export_onnx(model, tmp_path / "m.onnx")
    assert report.external == tmp_path / "m.onnx.data"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["m.onnx", "m.onnx.data"]
    assert report.bytes == sum(p.stat().st_size for p in tmp_path.iterdir())
    image = torch.zeros(1, 3, 16, 24)
    with torch.no_grad():
        expected = model(image, "semseg").numpy()
    np.testing.assert_allclose(run_onnx(report.path, {"image": image.numpy()})["semseg"], expected, atol=1e-5)


def test_routers_that_cannot_decide_are_counted_not_compared(tmp_path: Path) -> None:
    model = build(small_config(tasks=small_config().tasks[:1]), 4)
    for gate in model.moe_layers()[0].gate:
        torch.nn.init.zeros_(gate.w_gate)
    (found,) = export_onnx(model, tmp_path / "m.onnx").parity
    assert found.ties == 6
    assert found.max_abs_error < 1e-5


@pytest.mark.parametrize("tasks", [[], ["normals"], ["depth", "depth"]])
def test_refuses_tasks_it_does_not_have(exported, tasks: list[str], tmp_path: Path) -> None:
    text = f"tasks must be different ones of semseg, depth, not {', '.join(tasks) or 'none'}"
    with pytest.raises(UsageError, match=f"^{text}$"):
        export_onnx(exported[0], tmp_path / "m.onnx", tasks=tasks)


def test_refuses_weights_that_are_not_finite_float32(tmp_path: Path) -> None:
    model = build(small_config(), 1).half()
    with pytest.raises(CheckpointError) as error:
        export_onnx(model, tmp_path / "m.onnx")
    text = "backbone.pos_embed must be float32, not torch.float16; convert the model with .float()"
    assert str(error.value) == text
    model = build(small_config(), 1)
    with torch.no_grad():
        model.backbone.pos_embed[0, 0, 0] = torch.nan
    with pytest.raises(CheckpointError) as error:
        export_onnx(model, tmp_path / "m.onnx")
    assert str(error.value) == "backbone.pos_embed must be finite; some of its values are infinite or not a number"
    assert not list(tmp_path.iterdir())


def test_leaves_nothing_behind_if_onnxruntime_disagrees(
    exported, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parity, "MAX_ERROR", -1.0)
    with pytest.raises(ModelError) as error:
        export_onnx(exported[0], tmp_path / "m.onnx")
    text = str(error.value)
    assert text.startswith("task semseg in onnxruntime must be within -1.0 of torch, not ")
    assert text.endswith(" away; report this model: its export is wrong")
    assert not list(tmp_path.iterdir())


def test_the_folder_must_be_there(exported, tmp_path: Path) -> None:
    with pytest.raises(UsageError) as error:
        export_onnx(exported[0], tmp_path / "none" / "m.onnx")
    assert str(error.value) == f"the folder of {tmp_path / 'none' / 'm.onnx'} must exist; create it first"


def test_margin_is_the_least_change_that_would_matter() -> None:
    logits = torch.log(torch.tensor([[0.5, 0.3, 0.2], [0.41, 0.40, 0.19]]))
    torch.testing.assert_close(parity.margin(logits, 1, 0.0, None), torch.tensor([0.2, 0.01]))
    torch.testing.assert_close(parity.margin(logits, 2, 0.25, None), torch.tensor([0.05, 0.15]))
    normalised, windowed = parity.margin(logits, 2, 0.4, None, True), parity.margin(logits, 1, 0.0, (1, 2))
    torch.testing.assert_close(normalised, torch.tensor([0.025, 0.0938]), atol=1e-3, rtol=0)
    torch.testing.assert_close(windowed, torch.tensor([0.2, 0.3559]), atol=1e-3, rtol=0)
    assert parity.margin(logits, 3, 0.0, None).isinf().all()


@settings(max_examples=2, deadline=None, derandomize=True, database=None, phases=[Phase.generate])
@given(moe_configs())
def test_any_model_exports(config: ModelConfig) -> None:
    with tempfile.TemporaryDirectory() as folder:
        report = export_onnx(build(config, 5), Path(folder) / "m.onnx")
    assert [p.task for p in report.parity] == list(config.task_names)
    assert max(report.max_abs_error.values()) < 1e-4
