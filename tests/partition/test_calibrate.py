"""Picks against counting by hand, and what calibration says of itself against doing it."""

import numpy as np
import pytest

from edgemtl.frontend.moe_node import MoEAttributes, moe_nodes
from edgemtl.partition import partition
from tests.partition.handmade import images, run, two_tasks
from tests.support.moe_reference import run_reference


def _picked_by_hand(model, task, image):
    """Experts every token of the task's layer picks, one token at a time, from logits onnxruntime gives."""
    watched = model.ir.clone()
    node = [*moe_nodes(watched)][task]
    watched.graph.outputs.append(node.inputs[1])
    held = MoEAttributes.from_node(node)
    first, size = held.window or (0, 8)
    counts = [0] * 8
    for row in run(watched, image)[-1]:
        ranked = sorted(range(first, first + size), key=lambda expert, row=row: (-row[expert], expert))
        for expert in ranked[: held.k]:
            counts[expert] += 1
    return counts


@pytest.mark.parametrize("gate", ["multi", "window", "masked"])
def test_picks_are_those_counted_by_hand(gate):
    model, seen = two_tasks(gate, seed=5), images(3, seed=1)
    for index, task in enumerate(partition(model, ["t0", "t1"], "calibrated", seen)):
        counts = np.sum([_picked_by_hand(model, index, image) for image in seen], axis=0)
        assert task.calibration.picks == (tuple(counts.tolist()),)
        assert task.moe[0].experts == tuple(np.flatnonzero(counts).tolist())
        assert task.calibration.images == 3


def test_what_is_dropped_is_said_and_gone():
    (task,) = partition(two_tasks("multi", seed=5), ["t0"], "calibrated", images(1))
    kept, gone = task.moe[0].experts, sorted(set(range(8)) - set(task.moe[0].experts))
    (node,) = moe_nodes(task.ir)
    assert gone
    assert MoEAttributes.from_node(node).experts == kept
    assert [value.shape.numpy()[0] for value in node.inputs[2:]] == [len(kept)] * 4
    assert node.inputs[1].shape.numpy() == (4, 8)
    listed = ", ".join(map(str, gone))
    assert f"{node.name}: experts {listed} dropped, picked on none of 1 images" in task.notes
    assert task.pathway == "calibrated"


def test_an_expert_kept_that_was_never_picked_changes_nothing_but_bytes():
    model, (image, *_) = two_tasks("multi", seed=5), images(1)
    for few, all_ in zip(
        partition(model, ["t0", "t1"], "calibrated", [image]),
        partition(model, ["t0", "t1"], "exact"),
        strict=True,
    ):
        np.testing.assert_array_equal(run_reference(few.ir, image)[0], run_reference(all_.ir, image)[0])


def test_other_images_are_routed_among_the_kept_experts():
    model = two_tasks("multi", seed=5)
    (task,) = partition(model, ["t0"], "calibrated", images(1))
    differs = 0
    for image in images(8, seed=9):
        alone = run(task.ir, image)[0]
        np.testing.assert_allclose(alone, run_reference(task.ir, image)[0], rtol=1e-4, atol=1e-4)
        differs += not np.allclose(alone, run(model.ir, image)[0], atol=1e-4)
    assert differs > 0


def test_the_unseen_share_is_what_leaving_images_out_shows():
    model, seen = two_tasks("multi", seed=5), images(4, seed=2)
    (task,) = partition(model, ["t0"], "calibrated", seen)
    missed = total = 0
    for left_out, image in enumerate(seen):
        rest = seen[:left_out] + seen[left_out + 1 :]
        (without,) = partition(model, ["t0"], "calibrated", rest)
        counts = _picked_by_hand(model, 0, image)
        missed += sum(n for expert, n in enumerate(counts) if expert not in without.moe[0].experts)
        total += sum(counts)
    assert 0 < missed < total
    assert task.calibration.unseen_share == missed / total
    share = f"{missed / total:.2%} of an image's picks"
    assert f"leaving each image out in turn, {share} go to experts the other images never pick" in task.notes


def test_one_image_says_nothing_of_others():
    (task,) = partition(two_tasks("multi"), ["t0"], "calibrated", images(1))
    assert task.calibration.unseen_share is None
    loss = f"max abs {task.calibration.max_abs:.1e}, mean abs {task.calibration.mean_abs:.1e}"
    assert task.notes[-1] == f"calibrated and exact outputs differ by {loss} on the 1 calibration images"


def test_a_window_and_calibration_together():
    model, seen = two_tasks("window", seed=7, k=1), images(1)
    task = partition(model, ["t1"], "calibrated", seen)[0]
    (node,) = moe_nodes(task.ir)
    kept = task.moe[0].experts
    assert set(kept) < {4, 5, 6, 7}
    assert MoEAttributes.from_node(node).experts == tuple(expert - 4 for expert in kept)
    assert node.inputs[1].shape.numpy() == (4, 4)
    np.testing.assert_allclose(run(task.ir, seen[0])[0], run(model.ir, seen[0])[1], rtol=1e-5, atol=1e-5)


def test_a_model_without_experts_is_calibrated_in_peace():
    model, seen = two_tasks("none"), images(2)
    (task,) = partition(model, ["t0"], "calibrated", seen)
    assert (task.moe, task.calibration.picks, task.calibration.unseen_share) == ((), (), None)
    assert task.calibration.max_abs < 1e-6


def test_images_may_come_from_a_generator():
    (task,) = partition(two_tasks("multi"), ["t0"], "calibrated", (image for image in images(2)))
    assert task.calibration.images == 2
