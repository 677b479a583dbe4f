"""Which experts are fetched before their gate has decided."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from edgemtl import frontend, partition
from edgemtl.codegen.fpga.prefetch import MOST_IMAGES, choose, prefetch_lists
from edgemtl.hw.spec import read_spec
from edgemtl.lowering.execute import run_steps
from edgemtl.operators import QRouter, Values
from edgemtl.processor import resolve
from edgemtl.quantize.quantised_model import Quantised, quantise
from examples.smooth_images import smooth_images
from tests.support.boards import LENIENT, export
from tests.support.frames import frames
from tests.support.models import small_config

ENGINE = read_spec("zcu104").engine
CONFIG = small_config(head_channels=(12, 8, 6))
IMAGES = frames(smooth_images((1, 3, *CONFIG.image), 8))


@pytest.fixture(scope="module")
def quantised(tmp_path_factory: pytest.TempPathFactory) -> Quantised:
    model = frontend.read_model(export(tmp_path_factory.mktemp("model"), CONFIG))
    tasks = partition.partition(model, ["semseg", "depth"], "exact")
    return quantise(model, tasks, resolve("cpu-a53"), {str(i): x for i, x in enumerate(IMAGES)}, LENIENT)


def used(quantised: Quantised, task: str) -> tuple[str, np.ndarray]:
    """The gate's buffer and, counted from the router's logits, tokens of each expert [images, experts]."""
    steps, counts, gates = quantised.integers[task].steps, [], set()
    for image in IMAGES:

        def watch(index: int, values: Values, outputs: Mapping[str, np.ndarray]) -> None:
            if isinstance(steps[index].operator, QRouter):
                gates.add(steps[index]["logits"].buffer)
                logits = values["logits"]
                chosen = np.argsort(-logits.astype(int), axis=1, kind="stable")[:, : steps[index].operator.top_k]
                counts.append(np.bincount(chosen.reshape(-1), minlength=logits.shape[1]))

        run_steps(steps, image, watch)
    (gate,) = gates
    return gate, np.array(counts)


def test_experts_used_in_half_of_the_images_the_busiest_first(quantised: Quantised) -> None:
    found = prefetch_lists(quantised.integers, IMAGES, ENGINE)
    for task in ("semseg", "depth"):
        gate, counts = used(quantised, task)
        often = [e for e in range(counts.shape[1]) if (counts[:, e] > 0).sum() * 2 >= len(IMAGES)]
        assert found[task] == {gate: tuple(sorted(often, key=lambda e: (-counts[:, e].sum(), e)))}
        assert found[task][gate]


def test_the_ring_has_room_for_one_more(quantised: Quantised) -> None:
    weights = 2 * 24 * 20
    expert = weights + 8 * (20 + 24)
    for size, most in ((0, 0), (expert, 0), (2 * expert - 1, 0), (2 * expert, 1), (3 * expert, 2)):
        small = replace(ENGINE, weight_ring_bytes=size)
        found = prefetch_lists(quantised.integers, IMAGES, small)
        assert all(len(experts) <= most for held in found.values() for experts in held.values())
        assert any(len(experts) == most for held in found.values() for experts in held.values())


def test_without_images_there_are_none(quantised: Quantised) -> None:
    assert prefetch_lists(quantised.integers, [], ENGINE) == {"semseg": {}, "depth": {}}


def test_no_more_images_than_needed(quantised: Quantised, monkeypatch: pytest.MonkeyPatch) -> None:
    runs = []
    monkeypatch.setattr("edgemtl.codegen.fpga.prefetch.run_steps", lambda steps, image, watch: runs.append(image))
    prefetch_lists({"semseg": quantised.integers["semseg"]}, IMAGES * 5, ENGINE)
    assert len(runs) == MOST_IMAGES
    prefetch_lists({"none": SimpleNamespace(steps=())}, IMAGES, ENGINE)
    assert len(runs) == MOST_IMAGES


def test_choice() -> None:
    tokens = np.array([[5, 0, 1, 9], [0, 0, 3, 0], [0, 0, 2, 9], [5, 1, 0, 0]])
    assert choose(tokens, 4) == (3, 0, 2)
    assert choose(tokens, 2) == (3, 0)
    assert choose(tokens, 0) == ()
