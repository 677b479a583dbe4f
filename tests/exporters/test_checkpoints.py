"""Checkpoints: every layout that is read, every file that is refused and how it says so."""

import json
import os
import pickle
import zipfile

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from edgemtl.errors import CheckpointError
from edgemtl.exporters.checkpoint_files import read_metadata
from edgemtl.exporters.checkpoints import (
    load_checkpoint,
    save_checkpoint,
    upstream_windows,
)
from edgemtl.exporters.models import TaskSpec
from tests.exporters.small import ROUTINGS, images, small_config, small_model


class RunsCode:
    def __init__(self, trace):
        self.trace = trace

    def __reduce__(self):
        return os.system, (f"touch {self.trace}",)


def refusal(path, config=None):
    """The text of the error `load_checkpoint` raises, without the folder."""
    with pytest.raises(CheckpointError) as caught:
        load_checkpoint(path, config)
    return str(caught.value).replace(f"{path.parent}/", "")


def assert_same(loaded, model):
    assert not loaded.training
    state = model.state_dict()
    assert list(loaded.state_dict()) == list(state)
    for name, tensor in loaded.state_dict().items():
        assert tensor.dtype == state[name].dtype
        assert torch.equal(tensor, state[name]), name
    assert {n: p.requires_grad for n, p in loaded.named_parameters()} == dict.fromkeys(
        (n for n, _ in model.named_parameters()), True
    )


@pytest.mark.parametrize("overrides", ROUTINGS.values(), ids=ROUTINGS.keys())
def test_save_and_load(tmp_path, overrides):
    model = small_model(**overrides).to(memory_format=torch.channels_last)
    save_checkpoint(model, tmp_path / "m.safetensors", {"step": 7, "miou": 0.5})
    loaded = load_checkpoint(tmp_path / "m.safetensors")
    assert loaded.config == model.config
    assert_same(loaded, model)
    stored = read_metadata(tmp_path / "m.safetensors")
    assert stored is not None
    assert stored["metadata"] == {"step": 7, "miou": 0.5}
    with torch.no_grad():
        batch, task = images(model.config), model.config.task_names[0]
        # The weights are equal, but torch may add in another order for another memory format.
        torch.testing.assert_close(loaded(batch, task), model(batch, task), rtol=1e-4, atol=1e-5)
    assert [p.name for p in tmp_path.iterdir()] == ["m.safetensors"]


def test_equal_models_give_equal_bytes(tmp_path):
    for name, keys in (("a.safetensors", "edcba"), ("b.safetensors", "abcde")):
        save_checkpoint(small_model(), tmp_path / name, dict.fromkeys(keys, 1))
    assert (tmp_path / "a.safetensors").read_bytes() == (tmp_path / "b.safetensors").read_bytes()


@pytest.mark.parametrize(
    "wrap",
    [
        lambda state: state,
        lambda state: {"model": state, "optimizer": {"state": {}}, "epoch": 3},
        lambda state: {"state_dict": {f"module.{name}": value for name, value in state.items()}},
        lambda state: {
            "state_dict": {"model": state},
            "best_result": {"miou": np.float64(0.7), "n": np.int64(3)},
        },
    ],
    ids=["plain", "model", "module", "numpy_numbers"],
)
@pytest.mark.parametrize("name", ["m.pth", "m.pt", "checkpoint.pth.tar"])
def test_upstream_pickles(tmp_path, wrap, name):
    model = small_model()
    torch.save(wrap(dict(model.state_dict())), tmp_path / name)
    assert_same(load_checkpoint(tmp_path / name, model.config), model)


def test_numbers_of_old_numpy(tmp_path):
    """numpy 1 pickles its numbers under another module name."""
    model = small_model()
    torch.save({"model": model.state_dict(), "best": np.float64(0.7)}, tmp_path / "new.pth")
    with zipfile.ZipFile(tmp_path / "new.pth") as new, zipfile.ZipFile(tmp_path / "old.pth", "w") as old:
        for record in new.infolist():
            data = new.read(record)
            if record.filename.endswith("data.pkl"):
                assert b"numpy._core.multiarray" in data
                data = data.replace(b"numpy._core.multiarray", b"numpy.core.multiarray")
            old.writestr(record, data)
    assert_same(load_checkpoint(tmp_path / "old.pth", model.config), model)


def test_half_precision_becomes_float32(tmp_path):
    model = small_model().half()
    torch.save(model.state_dict(), tmp_path / "m.pth")
    assert_same(load_checkpoint(tmp_path / "m.pth", model.config), model.float())


def test_given_config_is_used(tmp_path):
    save_checkpoint(small_model(), tmp_path / "m.safetensors", {})
    config = small_config(expert_prune=0.25)
    assert load_checkpoint(tmp_path / "m.safetensors", config).config == config


def test_one_error_names_everything_wrong(tmp_path):
    model = small_model()
    state = dict(model.state_dict())
    for name in ("backbone.pos_embed", "decoders.depth.conv_2.bias"):
        del state[name]
    state["backbone.norm.weight"] = torch.ones(12)
    state["decoders.extra.bias"] = torch.ones(1)
    state["backbone.cls_token"] = torch.ones(1, 1, 13)
    state["backbone.blocks.0.norm1.bias"] = "none"
    state["backbone.blocks.0.norm1.weight"] = torch.ones(12, dtype=torch.int64)
    state["backbone.blocks.0.norm2.weight"] = torch.ones(12) * float("nan")
    state["backbone.blocks.0.norm2.bias"] = torch.ones(12).to_sparse()
    state["backbone.blocks.0.attn.proj.bias"] = torch.empty(12, device="meta")
    state["decoders.depth.norm.bias"] = torch.ones(12, dtype=torch.complex64)
    state["decoders.depth.norm.weight"] = torch.full((12,), 1e300, dtype=torch.float64)
    state["decoders.depth.syncbn_fc_0.running_var"] = -torch.ones(7)
    torch.save(state, tmp_path / "m.pth")
    assert refusal(tmp_path / "m.pth", model.config) == (
        "m.pth must hold exactly the parameters of its model; "
        "missing (2): backbone.pos_embed [1, 7, 12], decoders.depth.conv_2.bias [1]; "
        "unexpected (2): backbone.norm.weight, decoders.extra.bias; "
        "wrong (9): backbone.cls_token (must be [1, 1, 12], not [1, 1, 13]), "
        "backbone.blocks.0.norm1.weight (must be torch.float32, not torch.int64), "
        "backbone.blocks.0.norm1.bias (must be a tensor, not str), "
        "backbone.blocks.0.attn.proj.bias (must have values, and has a shape only), "
        "backbone.blocks.0.norm2.weight (must be finite, not NaN or infinite), "
        "backbone.blocks.0.norm2.bias (must be dense, not torch.sparse_coo), "
        "decoders.depth.norm.weight (must be finite, not NaN or infinite), "
        "decoders.depth.norm.bias (must be torch.float32, not torch.complex64), "
        "decoders.depth.syncbn_fc_0.running_var (must not be negative)"
    )


def test_every_single_missing_parameter_is_noticed(tmp_path):
    model = small_model()
    for name in model.state_dict():
        state = {other: tensor for other, tensor in model.state_dict().items() if other != name}
        torch.save(state, tmp_path / "m.pth")
        assert f"; missing (1): {name} [" in refusal(tmp_path / "m.pth", model.config)


def test_code_is_refused_and_not_run(tmp_path):
    code = RunsCode(tmp_path / "trace")
    torch.save({"model": {"a": code}}, tmp_path / "m.pth")
    (tmp_path / "raw.pth").write_bytes(pickle.dumps(code, protocol=2))
    rule = "must hold tensors and plain values only, not posix.system; save it again from model.state_dict()"
    for name in ("m.pth", "raw.pth"):
        assert refusal(tmp_path / name, small_config()) == f"{name} {rule}"
    assert not (tmp_path / "trace").exists()
    pickle.loads(pickle.dumps(code))
    assert (tmp_path / "trace").exists()


@pytest.mark.parametrize("damage", [lambda b: b"", lambda b: b"abc" * 99, lambda b: b[: len(b) // 2]])
@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("m.pth", "m.pth must be a PyTorch checkpoint; it is damaged or something else"),
        ("m.safetensors", "m.safetensors must be a whole safetensors file: "),
    ],
)
def test_damaged_files(tmp_path, damage, name, text):
    model, path = small_model(), tmp_path / name
    if name == "m.pth":
        torch.save(model.state_dict(), path)
    else:
        save_checkpoint(model, path, {})
    path.write_bytes(damage(path.read_bytes()))
    assert refusal(path, model.config).startswith(text)
    if name == "m.safetensors":
        with pytest.raises(CheckpointError, match="must be a whole safetensors file: "):
            read_metadata(path)


def test_not_a_state_dict(tmp_path):
    torch.save([torch.ones(1)], tmp_path / "m.pth")
    assert refusal(tmp_path / "m.pth", small_config()) == "m.pth must hold a dict of tensors, not list"


def test_same_tensor_twice(tmp_path):
    torch.save({"a": torch.ones(1), "module.a": torch.ones(1)}, tmp_path / "m.pth")
    expected = "m.pth must hold each tensor once, not with and without module.: a"
    assert refusal(tmp_path / "m.pth", small_config()) == expected


def test_no_such_file(tmp_path):
    expected = "checkpoint must be a file or a folder of rank files, and m.pth is neither"
    assert refusal(tmp_path / "m.pth") == expected


def test_wrong_extension(tmp_path):
    (tmp_path / "m.onnx").write_bytes(b"x")
    expected = "checkpoint must end in one of .pth, .pt, .pth.tar, .safetensors, not 'm.onnx'"
    assert refusal(tmp_path / "m.onnx") == expected
    with pytest.raises(CheckpointError, match=r"^checkpoint must be saved as .safetensors, not 'm.pth'$"):
        save_checkpoint(small_model(), tmp_path / "m.pth", {})


def test_config_is_needed_where_the_file_has_none(tmp_path):
    model = small_model()
    torch.save(model.state_dict(), tmp_path / "m.pth")
    save_file(dict(model.state_dict()), tmp_path / "m.safetensors")
    for name in ("m.pth", "m.safetensors"):
        expected = f"{name} must carry its model config, and it does not; give the config"
        assert refusal(tmp_path / name) == expected
    assert_same(load_checkpoint(tmp_path / "m.safetensors", model.config), model)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (
            lambda d: d.update(schema_version=2),
            "m.safetensors must have schema_version 1, not 2; save it again",
        ),
        (lambda d: d.pop("metadata"), "m.safetensors must carry an object metadata; save it again"),
        (lambda d: d.update(model=3), "m.safetensors must carry an object model; save it again"),
        (
            lambda d: d["model"].update(heads=5),
            "m.safetensors must carry a valid model config: dim must be a multiple of heads (5), not 12",
        ),
    ],
)
def test_bad_metadata(tmp_path, change, text):
    path = tmp_path / "m.safetensors"
    save_checkpoint(small_model(), path, {})
    size = int.from_bytes(path.read_bytes()[:8], "little")
    document = json.loads(json.loads(path.read_bytes()[8 : 8 + size])["__metadata__"]["edgemtl"])
    change(document)
    save_file(load_file(path), path, metadata={"edgemtl": json.dumps(document)})
    assert refusal(path) == text


def test_metadata_that_is_not_json(tmp_path):
    save_file({"a": torch.ones(1)}, tmp_path / "m.safetensors", metadata={"edgemtl": "{"})
    assert refusal(tmp_path / "m.safetensors").startswith("m.safetensors must be a whole safetensors file: ")


def test_what_cannot_be_written_leaves_nothing(tmp_path):
    path = tmp_path / "m.safetensors"
    for metadata in ({"loss": float("nan")}, {"loss": torch.ones(1)}):
        with pytest.raises(CheckpointError, match=r"m.safetensors cannot be written: "):
            save_checkpoint(small_model(), path, metadata)
    with pytest.raises(CheckpointError, match=r"m.safetensors cannot be written: "):
        save_checkpoint(small_model(), tmp_path / "absent" / "m.safetensors", {})
    assert list(tmp_path.iterdir()) == []


def test_a_failed_save_keeps_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "m.safetensors"
    save_checkpoint(small_model(), path, {})
    before = path.read_bytes()

    def fail(*_):
        raise OSError("disk full")

    monkeypatch.setattr("edgemtl.paths.os.replace", fail)
    with pytest.raises(CheckpointError, match=r"m.safetensors cannot be written: disk full$"):
        save_checkpoint(small_model(seed=1), path, {})
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["m.safetensors"]


def windows_config(experts, size, tasks):
    specs = tuple(TaskSpec(f"t{i}", 1, "other") for i in range(tasks))
    return small_config(tasks=specs, routing="window", experts=experts, experts_per_task=size)


def test_upstream_windows_add_up_their_starts():
    assert upstream_windows(windows_config(16, 8, 2)) == ((0, 8), (8, 16))
    assert upstream_windows(windows_config(16, 8, 3)) == ((0, 8), (4, 12), (12, 20))
    assert upstream_windows(windows_config(6, 2, 1)) == ((0, 2),)


def test_upstream_windows_past_the_experts_are_refused(tmp_path):
    config = windows_config(16, 8, 3)
    model = small_model(tasks=config.tasks, routing="window", experts=16, experts_per_task=8)
    torch.save(model.state_dict(), tmp_path / "m.pth")
    assert refusal(tmp_path / "m.pth", config) == (
        "m.pth must keep its tasks' windows within experts 0..15, not 0..7, 4..11, 12..19: "
        "upstream adds up the starts; train with evenly spaced windows"
    )
    save_checkpoint(model, tmp_path / "m.safetensors", {})
    assert_same(load_checkpoint(tmp_path / "m.safetensors", config), model)


@pytest.mark.parametrize("tasks", range(1, 7))
def test_upstream_windows_that_fit_are_ours(tasks):
    """So a checkpoint that is not refused routes the same way here."""
    for experts in range(2, 20):
        for size in range(2, experts + 1):
            config = windows_config(experts, size, tasks)
            upstream = upstream_windows(config)
            if upstream[-1][1] <= experts:
                ours = [config.window(i) for i in range(tasks)]
                assert [(first, first + count) for first, count in ours] == list(upstream)
