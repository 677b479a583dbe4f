"""The torch model against the numpy one, and its three ways of running against each other."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from edgemtl.errors import ConfigError
from edgemtl.exporters.models import M3ViT, TaskSpec
from tests.exporters import numpy_model
from tests.exporters.small import ROUTINGS, TASKS, images, small_config, small_model

WINDOWS = ((0, 3), (1, 3), (2, 3))  # 3 of 5 experts for 3 tasks: starts int(i * 2 / 2)


def reference(model, image, task):
    state = {name: value.double().numpy() for name, value in model.state_dict().items()}
    config = model.config
    window = None
    if config.routing == "window":
        window = WINDOWS[task] if len(config.tasks) == 3 else (0, config.experts_per_task)
    return numpy_model.run(state, config, image.double().numpy(), task, window)


@pytest.mark.parametrize("overrides", ROUTINGS.values(), ids=ROUTINGS.keys())
@torch.no_grad()
def test_each_task_equals_the_numpy_model(overrides):
    model = small_model(**overrides)
    (image,) = images(model.config)
    for task, name in enumerate(model.config.task_names):
        expected = reference(model, image, task)
        assert np.abs(expected).max() > 0.1
        np.testing.assert_allclose(model(image[None], name)[0], expected, atol=2e-5 * np.abs(expected).max())


@pytest.mark.parametrize("overrides", ROUTINGS.values(), ids=ROUTINGS.keys())
@torch.no_grad()
def test_all_tasks_at_once_equal_one_by_one(overrides):
    model = small_model(**overrides)
    batch = images(model.config, 3)
    together = model.forward_all(batch)
    assert list(together) == list(model.config.task_names)
    for task in model.config.tasks:
        alone = model(batch, task.name)
        assert alone.shape == (3, task.channels, *model.config.image)
        torch.testing.assert_close(together[task.name], alone, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("overrides", ROUTINGS.values(), ids=ROUTINGS.keys())
@torch.no_grad()
def test_a_batch_equals_frame_by_frame(overrides):
    model = small_model(**overrides)
    batch = images(model.config, 3)
    for name in model.config.task_names:
        frames = torch.cat([model(frame[None], name) for frame in batch])
        torch.testing.assert_close(model(batch, name), frames, atol=1e-5, rtol=1e-4)


@given(rows=st.integers(1, 5), columns=st.integers(1, 9), token=st.booleans())
@settings(max_examples=15, deadline=None)
@torch.no_grad()
def test_any_number_of_tokens(rows, columns, token):
    model = small_model(image=(8 * rows, 8 * columns), class_token=token)
    (image,) = images(model.config)
    expected = reference(model, image, 0)
    np.testing.assert_allclose(model(image[None], "semseg")[0], expected, atol=5e-5 * max(1, np.abs(expected).max()))


@torch.no_grad()
def test_dense_model_runs_its_trunk_once_for_all_tasks():
    model = small_model(moe_blocks=())
    calls = []
    model.backbone.blocks[0].attn.register_forward_hook(lambda *_: calls.append(1))
    model.forward_all(images(model.config))
    assert len(calls) == 1


@torch.no_grad()
def test_trunk_before_the_first_mixture_sees_each_image_once():
    model = small_model(moe_blocks=(1, 2))
    rows = []
    for block in model.backbone.blocks:
        block.attn.register_forward_hook(lambda _, args, __: rows.append(args[0].shape[0]))
    model.forward_all(images(model.config, 2))
    assert rows == [2, 2, 2 * len(TASKS)]


def test_unknown_task():
    model = small_model()
    with pytest.raises(ConfigError, match=r"^task must be one of semseg, depth, normals, not 'edges'$"):
        model(images(model.config), "edges")


@pytest.mark.parametrize("name", ["keys", "training"])
def test_task_name_torch_uses_itself(name):
    config = small_config(tasks=(TaskSpec(name, 1, "other"),))
    with pytest.raises(
        ConfigError, match=rf"^task name must not be one torch.nn.ModuleDict uses itself, not '{name}'$"
    ):
        M3ViT(config)
