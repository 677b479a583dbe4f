"""Models exported from torch: the whole model's outputs, picks as torch counts them, published costs."""

from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from edgemtl.exporters.models import M3ViT
from edgemtl.exporters.models.presets import PASCAL_CONTEXT, preset
from edgemtl.exporters.to_onnx import export_onnx
from edgemtl.frontend import read_model
from edgemtl.partition import inspect_model, partition
from tests.partition.handmade import images, run
from tests.support.models import build_and_export, moe_configs, small_config
from tests.support.moe_reference import run_reference

CONFIGS = {
    "multi_gate": small_config(depth=3, moe_blocks=(1, 2), class_token=True),
    "window": small_config(routing="window", experts_per_task=3, experts=6, moe_blocks=(0, 1)),
    "task_conditioned": small_config(routing="task_conditioned", task_embedding=6, expert_prune=0.1),
}


@pytest.fixture(scope="module", params=CONFIGS)
def exported(request, tmp_path_factory):
    module, path = build_and_export(CONFIGS[request.param], 1, tmp_path_factory.mktemp("model"))
    return request.param, module, read_model(path)


def _seen(model, count=2):
    return images(count, seed=4, shape=model.inputs[0].shape)


def _names(model):
    return [task.name for task in model.tasks]


def test_every_mode_answers_as_the_whole_model(exported):
    routing, module, model = exported
    seen = _seen(model)
    for mode in ("exact", "calibrated", *(["window"] if routing == "window" else [])):
        made = partition(model, _names(model), mode, seen if mode == "calibrated" else None)
        for image in seen:
            for task, whole in zip(made, run(model.ir, image), strict=True):
                alone = run(task.ir, image)[0]
                np.testing.assert_allclose(alone, whole, rtol=1e-5, atol=2e-6)
                with torch.no_grad():
                    spoken = module(torch.from_numpy(image["image"]), task.task.name).numpy()
                np.testing.assert_allclose(alone, spoken, rtol=1e-4, atol=1e-4)


def test_the_looped_reference_agrees(exported):
    _, _, model = exported
    (image,) = _seen(model, 1)
    task = partition(model, _names(model)[:1], "calibrated", [image])[0]
    np.testing.assert_allclose(run_reference(task.ir, image)[0], run(model.ir, image)[0], rtol=1e-3, atol=1e-4)


def test_picks_are_those_torch_counts(exported):
    _, module, model = exported
    seen = _seen(model, 3)
    made = partition(model, _names(model), "calibrated", seen)
    counts = 0
    for image in seen:
        for task in made:
            with torch.no_grad(), module.recording():
                module(torch.from_numpy(image["image"]), task.task.name)
            counts = counts + module.expert_counts().numpy()
    for index, task in enumerate(made):
        assert task.calibration.picks == tuple(tuple(layer) for layer in counts[:, index].tolist())
        assert task.calibration.max_abs < 1e-5


def test_what_tasks_share_is_the_same_in_each(exported):
    """Down to the names of values: that is how a compiler sees that it is the same."""
    _, _, model = exported
    first, second = ([*task.ir.graph] for task in partition(model, _names(model)[:2], "exact"))
    gate = next(index for index, node in enumerate(first) if node.op_type == "MoE") - 1
    for one, other in zip(first[: gate - 1], second, strict=False):
        assert (one.op_type, one.name) == (other.op_type, other.name)
        assert [v.name for v in one.outputs] == [v.name for v in other.outputs]
        tensors = zip(one.inputs, other.inputs, strict=True)
        assert all(a is b is None or a.const_value is b.const_value for a, b in tensors)


def test_layers_and_pathways_are_in_order(exported):
    routing, _, model = exported
    for task in partition(model, _names(model), "exact"):
        assert [pathway.layer for pathway in task.moe] == list(range(len(CONFIGS[routing].moe_blocks)))
        assert {pathway.total for pathway in task.moe} == {CONFIGS[routing].experts}


@pytest.mark.slow
@settings(max_examples=12, deadline=None, derandomize=True)
@given(config=moe_configs(), seed=st.integers(0, 99))
def test_any_model_is_partitioned_without_loss(config, seed):
    with TemporaryDirectory() as folder:
        _, path = build_and_export(config, seed, Path(folder))
        model = read_model(path)
    (image,) = _seen(model, 1)
    for mode in ("exact", "calibrated"):
        made = partition(model, _names(model), mode, [image] if mode == "calibrated" else None)
        for task, whole in zip(made, run(model.ir, image), strict=True):
            np.testing.assert_allclose(run(task.ir, image)[0], whole, rtol=1e-5, atol=1e-5)
            assert all(len(pathway.experts) >= config.top_k for pathway in task.moe)


def _expected(config, channels):
    """The published way of counting, from the config: encoder by part, and the head."""
    tokens, dim, blocks = config.tokens, config.dim, len(config.moe_blocks)
    rows, columns = config.grid
    attention = config.depth * (4 * tokens * dim * dim + 2 * tokens * tokens * dim)
    head, width = 0, dim
    for stage, outputs in enumerate(config.head_channels):
        head += 4**stage * rows * columns * 9 * width * outputs
        width = outputs
    head += 4 ** (len(config.head_channels) - 1) * rows * columns * width * channels
    return {
        "patch": rows * columns * 3 * config.patch**2 * dim,
        "attention": attention,
        "ffn": (config.depth - blocks) * 2 * tokens * dim * config.mlp_hidden,
        "gates": blocks * tokens * dim * config.experts,
        "experts": blocks * config.top_k * tokens * 2 * dim * config.expert_hidden,
        "head": head,
        "other": 0,
    }


def test_costs_follow_the_formulas(exported):
    routing, _, model = exported
    for task in inspect_model(model).tasks:
        expected = _expected(CONFIGS[routing], task.task.channels)
        if routing == "window":  # three of the six columns
            expected["gates"] //= 2
        assert dict(task.cost.parts) == expected


def test_the_formulas_give_the_published_counts():
    parts = _expected(preset("m3vit_small_pascal_paper"), 21)
    assert round(sum(parts.values()) / 1e9) == 84
    assert round(parts["head"] / 1e9, 1) == 52.0
    assert round((sum(parts.values()) - parts["head"]) / 1e9, 1) == 31.8


@pytest.mark.slow
def test_small_at_reduced_depth(tmp_path):
    config = preset("m3vit_small_pascal_paper", tasks=PASCAL_CONTEXT[:1], depth=2, moe_blocks=(1,), experts=4)
    cost = inspect_model(_random_export(config, tmp_path)).tasks[0].cost
    assert dict(cost.parts) == _expected(config, 21)


@pytest.mark.slow
def test_small_costs_what_is_published(tmp_path):
    config = preset("m3vit_small_pascal_paper", tasks=PASCAL_CONTEXT[:2])
    found = inspect_model(_random_export(config, tmp_path))
    cost = found.tasks[0].cost
    assert dict(cost.parts) == _expected(config, 21)
    assert round(cost.encoder_macs / 1e9, 1) == 31.8
    assert round(cost.head_macs / 1e9, 1) == 52.0
    assert round(cost.macs / 1e9) == 84


@pytest.mark.slow
def test_demo_costs_what_its_recipe_says(tmp_path):
    cost = inspect_model(_random_export(preset("demo"), tmp_path)).tasks[0].cost
    millions = {part: round(count / 1e6, 1) for part, count in cost.parts}
    assert round(cost.macs / 1e6) == 249
    assert (millions["patch"], round(millions["attention"]), round(millions["head"])) == (3.5, 85, 75)


def _random_export(config, folder):
    torch.manual_seed(0)
    path = folder / "model.onnx"
    export_onnx(M3ViT(config), path)
    return read_model(path)
