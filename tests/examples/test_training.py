"""Training: the fast experts, mirroring, the schedule, interruption, and what is folded at the end."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from edgemtl.errors import UsageError
from edgemtl.exporters.models import M3ViT, preset
from edgemtl.exporters.models.moe import moe_forward
from examples.rooms import card
from examples.rooms.data import render_pool
from examples.rooms.evaluate import active_macs, expert_overlap, expert_shares, measure_constant, predict, render_views
from examples.rooms.fast import grouped_experts
from examples.rooms.finish import fold_depth_units, fold_edge_threshold
from examples.rooms.losses import class_weights, task_losses, to_batch
from examples.rooms.trainer import Options, Trainer, rate_factor

OPTIONS = Options(steps=4, batch=2, scenes=4, warmup=2, seed=3)
POOL = render_pool(0, 4)


def expert_arguments() -> list[torch.Tensor]:
    torch.manual_seed(5)
    shapes = [(50, 6), (50, 4), (4, 6, 8), (4, 8), (4, 8, 6), (4, 6)]
    return [torch.randn(shape, requires_grad=True) for shape in shapes]


@pytest.mark.parametrize("threshold", [0.0, 0.3])
def test_grouped_experts_agree_with_the_model_in_value_and_gradient(threshold: float) -> None:
    results = []
    for compute in (moe_forward, grouped_experts):
        arguments = expert_arguments()
        y = compute(*arguments, 2, threshold, None)
        y.square().sum().backward()
        results.append([y, *(argument.grad for argument in arguments)])
    for ours, theirs in zip(*results, strict=True):
        torch.testing.assert_close(ours, theirs)


def test_mirroring_twice_changes_nothing_and_once_turns_normals() -> None:
    plain, mirrored = to_batch(POOL), to_batch(POOL, np.array([True, False, True, False]))
    torch.testing.assert_close(mirrored.depth[1::2], plain.depth[1::2])
    torch.testing.assert_close(mirrored.image[::2], plain.image[::2].flip(-1))
    torch.testing.assert_close(mirrored.normals[::2, 0], -plain.normals[::2, 0].flip(-1))
    torch.testing.assert_close(mirrored.normals[::2, 1:], plain.normals[::2, 1:].flip(-1))


def test_losses_are_zero_for_the_truth_and_grow_away_from_it() -> None:
    batch = to_batch(POOL)
    truth = {
        "semseg": torch.nn.functional.one_hot(batch.classes, 8).permute(0, 3, 1, 2) * 60.0,
        "depth": batch.depth,
        "normals": batch.normals * 2,
        "edges": (batch.edges - 0.5) * 60,
    }
    weights = class_weights(POOL.classes, 8)
    assert all(float(loss) < 1e-3 for loss in task_losses(truth, batch, weights).values())
    wrong = task_losses({task: -output for task, output in truth.items()}, batch, weights)
    assert all(float(loss) > 0.1 for loss in wrong.values())


def test_class_weights_average_to_one_over_pixels_and_favour_rare_classes() -> None:
    classes = np.array([0] * 90 + [1] * 10, np.uint8)
    weights = class_weights(classes, 2).numpy()
    assert 0.9 * weights[0] + 0.1 * weights[1] == pytest.approx(1)
    assert weights[1] / weights[0] == pytest.approx(3)


def test_the_rate_warms_up_follows_the_cosine_and_cools_down_to_a_hundredth() -> None:
    options = Options(steps=800, horizon=1100, warmup=100, cooldown=200)
    assert rate_factor(0, options) == pytest.approx(0.01)
    assert rate_factor(100, options) == pytest.approx(1, abs=1e-3)
    assert rate_factor(600, options) == pytest.approx(0.505, abs=1e-3)
    assert rate_factor(700, options) == pytest.approx((0.505 + 0.01) / 2, abs=1e-3)
    assert rate_factor(800, options) == pytest.approx(0.01)


def test_an_interrupted_run_ends_with_the_weights_of_an_uninterrupted_one(tmp_path: Path) -> None:
    straight = Trainer(OPTIONS, POOL)
    straight.run(tmp_path / "straight.pt", 4)
    Trainer(OPTIONS, POOL).run(tmp_path / "parts.pt", 2)
    resumed = Trainer(OPTIONS, POOL)
    resumed.load(tmp_path / "parts.pt")
    resumed.run(tmp_path / "parts.pt", 4)
    assert resumed.step == 4
    for name, value in straight.average.items():
        torch.testing.assert_close(resumed.average[name], value, msg=name)


def test_a_state_of_other_options_is_refused(tmp_path: Path) -> None:
    Trainer(OPTIONS, POOL).save(tmp_path / "state.pt")
    other = Trainer(replace(OPTIONS, rate=0.5), POOL)
    with pytest.raises(UsageError, match=r"must hold a run with the same options, not .*; change --out"):
        other.load(tmp_path / "state.pt")


def test_folding_gives_metres_and_moves_the_edge_threshold_to_zero() -> None:
    torch.manual_seed(1)
    model = M3ViT(preset("demo")).eval()
    views = render_views(70, 2)
    images = [view.image for view in views]
    before = predict(model, images)
    fold_depth_units(model)
    threshold = fold_edge_threshold(model, views)
    after = predict(model, images)
    np.testing.assert_allclose(after["depth"], before["depth"] * 1.3 + 3.4, rtol=1e-4)
    np.testing.assert_allclose(after["edges"], before["edges"] - threshold, atol=1e-5)
    np.testing.assert_array_equal(after["semseg"], before["semseg"])


def test_expert_shares_are_of_each_layer_and_task_and_sum_to_one() -> None:
    layers = expert_shares(M3ViT(preset("demo")).eval(), render_views(70, 2))
    assert len(layers) == 3
    for layer in layers:
        assert list(layer) == ["semseg", "depth", "normals", "edges"]
        assert all(sum(shares) == pytest.approx(1) and len(shares) == 8 for shares in layer.values())


def test_the_overlap_of_experts_is_one_with_itself_symmetric_and_that_of_its_first_layer() -> None:
    model, views = M3ViT(preset("demo")).eval(), render_views(70, 2)
    layers = np.array(expert_overlap(model, views))
    assert layers.shape == (3, 4, 4)
    np.testing.assert_allclose(layers, layers.transpose(0, 2, 1))
    np.testing.assert_allclose(layers[:, range(4), range(4)], 1)
    # The first MoE layer sees the same tokens for every task: count by hand.
    seen: dict[str, torch.Tensor] = {}
    first = model.moe_layers()[0]
    hook = first.register_forward_pre_hook(lambda module, inputs: seen.update(x=inputs[0]))
    predict(model, [view.image for view in views])
    hook.remove()
    tokens = seen["x"].reshape(4, -1, 96)
    chosen = [(tokens[t] @ first.gate[t].w_gate).topk(2).indices.tolist() for t in range(4)]
    common = [len(set(a) & set(b)) / 2 for a, b in zip(chosen[0], chosen[2], strict=True)]
    assert layers[0, 0, 2] == pytest.approx(np.mean(common))


def test_the_best_constant_answer_is_what_the_definitions_say() -> None:
    views = render_views(70, 3)
    scores = measure_constant(views, views)
    depth = np.stack([view.depth for view in views]).astype(np.float64)
    assert scores["depth"]["rmse"] == pytest.approx(depth.std(), rel=1e-4)
    assert scores["edges"]["recall"] == 1
    common = np.bincount(np.stack([view.classes for view in views]).ravel()).argmax()
    share = np.mean([view.classes == common for view in views])
    assert scores["semseg"]["pixel_accuracy"] == pytest.approx(share)


def test_the_dense_baseline_has_the_same_active_macs_but_for_the_gates() -> None:
    moe, dense = active_macs(preset("demo")), active_macs(preset("demo", moe_blocks=()))
    assert moe["gate"] > 0
    assert {**moe, "gate": 0} == dense


def test_the_card_shows_both_models_and_the_constant() -> None:
    scores = {
        "semseg": {"miou": 0.5},
        "depth": {"rmse": 0.4, "delta1": 0.9},
        "normals": {"mean_angle": 10.0},
        "edges": {"f_score": 0.8},
    }
    record = {
        "scores": scores,
        "class_iou": {"floor": 0.9, "wall": 0.8},
        "parameters": 1234,
        "bytes": 5000,
        "macs": {"head": 2_000_000},
        "spent": {"wall_s": 60.0, "cpu_s": 120.0, "fastest_step_s": 0.5},
        "options": OPTIONS.__dict__,
        "moe_blocks": [1],
        "expert_shares": [{"semseg": [0.25, 0.75], "depth": [0.75, 0.25]}],
        "expert_overlap": [[[1.0, 0.125], [0.125, 1.0]]],
    }
    scenes = {"train": 0, "held_out": [100, 200], "threshold": [500, 100], "constant": [0, 600]}
    results = {"models": {"moe": record, "dense": record}, "constant": scores, "scenes": scenes}
    text = card.render(results)
    assert text.count("| 0.500 | 0.400 | 0.900 | 10.00 | 0.800 |") == 3
    assert "Total variation between tasks: semseg-depth 0.50." in text
    assert "have in common: semseg-depth 0.12." in text
    assert "Experts that get 95% of the choices: semseg 2, depth 2." in text
    assert "this report 100-299" in text
