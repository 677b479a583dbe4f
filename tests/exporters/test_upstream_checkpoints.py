"""Checkpoints as M3ViT's trainer and torch's wrappers leave them: what is read, what is noted, what is refused."""

from collections import OrderedDict

import pytest
import torch
from safetensors.torch import save_file

from edgemtl.errors import CheckpointError
from edgemtl.exporters.checkpoints import load_checkpoint, read_checkpoint, save_checkpoint
from tests.exporters.small import TASKS, small_config, small_model


def refusal(path, config):
    with pytest.raises(CheckpointError) as caught:
        load_checkpoint(path, config)
    return str(caught.value).replace(f"{path.parent}/", "")


def assert_same(model, expected):
    state = expected.state_dict()
    assert list(model.state_dict()) == list(state)
    assert all(torch.equal(tensor, state[name]) for name, tensor in model.state_dict().items())


def wrapped(model):
    return OrderedDict((f"module.{name}", value) for name, value in model.state_dict().items())


def test_what_training_alone_uses_is_left_out_and_said(tmp_path):
    model = small_model()
    state = wrapped(model)
    state["module.tam_model0.layers0.0.weight"] = torch.ones(4, 4, 3, 3)
    state["module.tam_model2.layers4.semseg.0.bias"] = torch.ones(4)
    state["module.decoders.semseg.output_level_0.weight"] = torch.ones(5, 4, 1, 1)
    torch.save({"epoch": 3, "state_dict": state}, tmp_path / "m.pth.tar")
    loaded = read_checkpoint(tmp_path / "m.pth.tar", model.config)
    assert_same(loaded.model, model)
    assert loaded.notes == (
        "weights are those under state_dict",
        "left out tam_model0.layers0.0.weight, tam_model2.layers4.semseg.0.bias, "
        "decoders.semseg.output_level_0.weight: used in training only",
    )


def test_many_names_are_counted(tmp_path):
    model = small_model()
    state = wrapped(model) | {f"module.tam_model0.{i}": torch.ones(1) for i in range(201)}
    torch.save(state, tmp_path / "m.pth")
    (note,) = read_checkpoint(tmp_path / "m.pth", model.config).notes
    assert note.endswith("tam_model0.5 and 195 more: used in training only")


@pytest.mark.parametrize("name", ["tam_modelx.weight", "decoders.semseg.output_levels.weight", "backbone.tam_model0.w"])
def test_names_like_those_are_not_left_out(tmp_path, name):
    model = small_model()
    torch.save(wrapped(model) | {name: torch.ones(1)}, tmp_path / "m.pth")
    assert refusal(tmp_path / "m.pth", model.config).endswith(f"unexpected (1): {name}")


@pytest.mark.parametrize(
    "prefix", ["module.", "module.module.", "_orig_mod.", "module._orig_mod.", "_orig_mod.module."]
)
@pytest.mark.parametrize("kind", ["pth", "safetensors"])
def test_wrappers_before_names(tmp_path, prefix, kind):
    model, path = small_model(), tmp_path / f"m.{kind}"
    state = {f"{prefix}{name}": value for name, value in model.state_dict().items()}
    torch.save(state, path) if kind == "pth" else save_file(state, path)
    assert_same(load_checkpoint(path, model.config), model)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64, torch.float8_e4m3fn])
def test_other_floats_become_float32_and_it_is_said(tmp_path, dtype):
    model = small_model()
    state = {n: v.to(dtype) if v.is_floating_point() else v for n, v in model.state_dict().items()}
    torch.save(state, tmp_path / "m.pth")
    loaded = read_checkpoint(tmp_path / "m.pth", model.config)
    count = sum(v.is_floating_point() for v in state.values())
    assert loaded.notes == (f"{count} of {count} parameters were {dtype}, and become float32",)
    for name, tensor in loaded.model.state_dict().items():
        assert torch.equal(tensor, state[name].to(tensor.dtype))


def test_infinite_after_the_conversion_is_refused(tmp_path):
    model = small_model()
    state = dict(model.state_dict()) | {"backbone.cls_token": torch.full((1, 1, 12), 1e39, dtype=torch.float64)}
    torch.save(state, tmp_path / "m.pth")
    assert "backbone.cls_token (must be finite, not NaN or infinite)" in refusal(tmp_path / "m.pth", model.config)


def test_tensors_that_share_memory_get_their_own(tmp_path):
    model = small_model()
    state = dict(model.state_dict())
    flat = torch.cat([v.reshape(-1) for v in state.values() if v.is_floating_point()])
    at, views = 0, {}
    for name, value in state.items():
        if value.is_floating_point():
            views[name] = flat[at : at + value.numel()].view(value.shape)
            at += value.numel()
    qkv = "backbone.blocks.0.attn.qkv.weight"
    views[qkv] = state[qkv].T.contiguous().T
    torch.save(state | views, tmp_path / "m.pth")
    loaded = load_checkpoint(tmp_path / "m.pth", model.config)
    assert_same(loaded, model)
    assert all(t.is_contiguous() and t.untyped_storage().nbytes() == t.nbytes for t in loaded.state_dict().values())
    save_checkpoint(loaded, tmp_path / "again.safetensors", {})
    assert_same(load_checkpoint(tmp_path / "again.safetensors"), model)


def test_two_state_dicts_in_one_file(tmp_path):
    state = dict(small_model().state_dict())
    torch.save({"model": state, "state_dict": state}, tmp_path / "m.pth")
    expected = "m.pth must hold one state dict, not one under each of model and state_dict"
    assert refusal(tmp_path / "m.pth", small_config()) == expected


def save_ranks(folder, state, ranks, share=(), changed=lambda rank, name, value: value):
    """A folder as two and more processes write it; `share`: what all of them write besides their experts."""
    folder.mkdir()
    for rank in range(ranks):
        part = OrderedDict()
        for name, value in state.items():
            if ".mlp.experts." in name:
                each = value.shape[0] // ranks
                part[name] = value[rank * each : (rank + 1) * each].clone()
            elif rank == 0 or name in share:
                part[name] = value
        part = OrderedDict((name, changed(rank, name, value)) for name, value in part.items())
        torch.save({"epoch": 1, "state_dict": part}, folder / f"{rank}.pth")


@pytest.mark.parametrize(("ranks", "experts"), [(1, 5), (2, 6), (3, 6), (12, 12)])
def test_ranks_are_joined_in_order(tmp_path, ranks, experts):
    model = small_model(experts=experts)
    save_ranks(tmp_path / "best_model.pth.tar", wrapped(model), ranks, share=("module.backbone.cls_token",))
    (tmp_path / "best_model.pth.tar/log_file.txt").write_text("epoch 1")
    loaded = read_checkpoint(tmp_path / "best_model.pth.tar", model.config)
    assert_same(loaded.model, model)
    files = ", ".join(f"{rank}.pth" for rank in range(ranks))
    note = f"joined {files}: {experts // ranks} of {experts} experts from each, in this order"
    assert loaded.notes[-1] == (note if ranks > 1 else "read 0.pth")


def test_a_dense_model_in_a_folder(tmp_path):
    model = small_model(moe_blocks=())
    save_ranks(tmp_path / "m", wrapped(model), 2)
    assert_same(load_checkpoint(tmp_path / "m", model.config), model)


def test_ranks_that_disagree(tmp_path):
    model = small_model(experts=6)
    spoil = lambda rank, name, value: value + 1 if rank and "pos_embed" in name else value  # noqa: E731
    save_ranks(tmp_path / "m", wrapped(model), 2, share=("module.backbone.pos_embed",), changed=spoil)
    assert refusal(tmp_path / "m", model.config).endswith(
        "1.pth must agree with 0.pth in what both hold, and differs in backbone.pos_embed; "
        "take files of one and the same save"
    )


def test_ranks_with_other_parts(tmp_path):
    model = small_model(experts=6)
    save_ranks(tmp_path / "m", wrapped(model), 2)
    part = torch.load(tmp_path / "m/1.pth")["state_dict"]
    name = "module.backbone.blocks.1.mlp.experts.htoh4.bias"
    torch.save({k: v for k, v in part.items() if k != name} | {"module.extra": torch.ones(1)}, tmp_path / "m/1.pth")
    assert refusal(tmp_path / "m", model.config).endswith(
        "1.pth must hold the experts that 0.pth has; missing backbone.blocks.1.mlp.experts.htoh4.bias; not there extra"
    )
    torch.save(part | {name: part[name][:1]}, tmp_path / "m/1.pth")
    assert "htoh4.bias must have as many experts in every file of " in refusal(tmp_path / "m", model.config)
    torch.save(part | {name: 3}, tmp_path / "m/1.pth")
    assert refusal(tmp_path / "m", model.config).endswith("1.pth must be a dense tensor with a row an expert")


@pytest.mark.parametrize(
    ("names", "text"),
    [
        ([], "and no other, not none; name the file, or give --layout"),
        (["0.pth", "2.pth"], "and no other; 1.pth is missing"),
        (["1.pth"], "and no other; 0.pth is missing"),
        (["0.pth", "00.pth"], "and no other, not 00.pth; name the file, or give --layout"),
        (["best_model.pth.tar", "log"], "and no other, not best_model.pth.tar; name the file, or give --layout"),
        (["l0_qkv_bias.float32.bin"], "and no other, not l0_qkv_bias.float32.bin; name the file, or give --layout"),
    ],
)
def test_folders_that_are_no_checkpoint(tmp_path, names, text):
    folder = tmp_path / "m"
    folder.mkdir()
    for name in names:
        torch.save({}, folder / name)
    rule = "checkpoint folder m must hold a .pth file for each rank, 0.pth, 1.pth .., "
    assert refusal(folder, small_config()) == rule + text


def test_windows_over_ranks_are_refused(tmp_path):
    """Upstream's gate counts from (E - n), its layer from (E / ranks - n): 6 experts of two ranks, windows of 3."""
    model = small_model(routing="window", experts=6, experts_per_task=3, tasks=TASKS[:2])
    save_ranks(tmp_path / "m", wrapped(model), 2)
    assert refusal(tmp_path / "m", model.config) == (
        "m must hold experts of one rank where tasks have windows, not of 2: upstream's gates and experts then "
        "disagree about where a window starts; train with --moe_data_distributed"
    )
    open_ = small_model(routing="window", experts=6, experts_per_task=3, tasks=TASKS[:1])
    save_ranks(tmp_path / "one_task", wrapped(open_), 2)
    assert_same(load_checkpoint(tmp_path / "one_task", open_.config), open_)
